"""A writer with credentials for its own scope alone attacks main's caches; main's next image is what it was. Permissions are the registry's, by repository."""

import base64
import json
from io import BytesIO

import pytest
from tests.fakes.registry import FakeRegistry
from tests.registry.test_shared_steps import CACHE_ONLY, DOCKERFILE, STEPS, Farm

from chandlery.buildcache.address import repository_part
from chandlery.buildcache.repository import TAG_PREFIX
from chandlery.config import Settings
from chandlery.errors import AccessDenied
from chandlery.oci import media_type as types
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest, sha256
from chandlery.oci.manifest import Manifest
from chandlery.oci.reference import Reference
from chandlery.volume.key import VolumeKey
from chandlery.volume.protocol import HeadName
from chandlery.volume.remote_registry import RegistryRemote as VolumeRegistry
from chandlery.wiring import connect

MAIN, EVE = "host/team/app@main", "host/team/app@pull/7"
MAIN_REPOSITORY, EVES_REPOSITORY = (f"c/{repository_part(scope)}" for scope in (MAIN, EVE))


@pytest.fixture
def fake():
    with FakeRegistry() as registry:
        registry.access.scheme = "bearer"
        registry.access.users = {"main": ("m", (MAIN_REPOSITORY,)), "eve": ("e", (EVES_REPOSITORY,))}
        yield registry


@pytest.fixture
def credentials(tmp_path, fake):
    def of(name: str) -> dict[str, str]:
        directory = tmp_path / f"docker-{name}"
        directory.mkdir(exist_ok=True)
        pair = base64.b64encode(f"{name}:{fake.access.users[name][0]}".encode()).decode()
        (directory / "config.json").write_text(json.dumps({"auths": {fake.host: {"auth": pair}}}))
        return {"DOCKER_CONFIG": str(directory)}

    return of


@pytest.fixture
def farm(tmp_path, fake):
    return Farm(tmp_path, f"registry://{fake.host}/c/{{scope}}")


@pytest.fixture
def as_main(farm, credentials):
    return lambda machine, **changes: farm.build(machine, **{"scope": MAIN, "environment": credentials("main"), "tags": ("app:1",), **changes})


@pytest.fixture
def eve(fake, credentials, tmp_path):
    client = connect(Settings(credentials("eve"), str(tmp_path / "eve")))
    yield client
    client.close()


def poisoned(fake: FakeRegistry, tag: str) -> tuple[dict, bytes, Descriptor]:
    """Main's manifest under a tag, whose topmost layer is replaced by one of hers; and that layer."""
    manifest = json.loads(fake.manifests[MAIN_REPOSITORY, tag][0])
    entry = json.loads(manifest["annotations"]["chandlery.step.entry"])
    data = b"\0" * 10240
    blob = Descriptor(types.OCI_LAYER, sha256(data), len(data))
    described = {"mediaType": blob.media_type, "digest": str(blob.digest), "size": blob.size_bytes}
    entry["layers"][-1] |= {"diff_id": str(blob.digest), "blob": described}
    manifest["layers"][-1] = described
    manifest["annotations"]["chandlery.step.entry"] = json.dumps(entry)
    return manifest, data, blob


def encoded(manifest: dict) -> Manifest:
    config = Descriptor(manifest["config"]["mediaType"], Digest(manifest["config"]["digest"]), manifest["config"]["size"])
    return Manifest(types.OCI_MANIFEST, config, (), json.dumps(manifest).encode())


def plant(fake: FakeRegistry, eve, at: Reference, theirs: str, mine: str) -> None:
    """Put main's entry under a tag, poisoned, into her repository under another; her own layers may be of another second than main's."""
    manifest, data, blob = poisoned(fake, theirs)
    eve.upload_blob(at, blob, lambda: BytesIO(data))
    for layer in (manifest["config"], *manifest["layers"][:-1]):
        eve.begin_upload(at, mount=(Digest(layer["digest"]), MAIN_REPOSITORY))
    eve.put_manifest(at, mine, encoded(manifest))


def test_nothing_of_main_s_can_be_written_and_its_next_image_is_the_same(fake, farm, as_main, eve):
    first = as_main("one")
    assert first.cache.steps_published == STEPS
    at = Reference(fake.host, MAIN_REPOSITORY)
    before = dict(fake.manifests), dict(fake.blobs)
    for tag in [tag for tag in fake.tags(MAIN_REPOSITORY) if tag.startswith(TAG_PREFIX)]:
        manifest, data, blob = poisoned(fake, tag)
        for attack in (
            lambda blob=blob, data=data: eve.upload_blob(at, blob, lambda: BytesIO(data)),
            lambda tag=tag, manifest=manifest: eve.put_manifest(at, tag, encoded(manifest)),
            lambda tag=tag: eve.delete_manifest(at, sha256(fake.manifests[MAIN_REPOSITORY, tag][0])),
        ):
            with pytest.raises(AccessDenied):
                attack()
    assert (dict(fake.manifests), dict(fake.blobs)) == before
    second = as_main("two")
    assert (farm.hits(), second.config_digest, farm.warnings) == (["cached"] * STEPS, first.config_digest, [])


def test_what_she_puts_into_her_own_scope_is_read_by_nobody_else(fake, farm, as_main, eve):
    first = as_main("one")
    at = Reference(fake.host, EVES_REPOSITORY)
    for tag in fake.tags(MAIN_REPOSITORY):
        plant(fake, eve, at, tag, tag)
    second = as_main("two")
    assert (farm.hits(), second.config_digest, farm.warnings) == (["cached"] * STEPS, first.config_digest, [])


def test_entry_that_she_copies_out_of_her_scope_by_name_is_refused(fake, farm, as_main, eve, credentials):
    """Her own build reads her scope first: an entry there that says it is main's is no entry."""
    first = as_main("one")
    farm.build("hers", scope=EVE, environment=credentials("eve"), outputs=CACHE_ONLY)
    at = Reference(fake.host, EVES_REPOSITORY)
    tags = dict(zip(sorted(fake.tags(EVES_REPOSITORY)), sorted(fake.tags(MAIN_REPOSITORY)), strict=False))
    for mine, theirs in tags.items():
        plant(fake, eve, at, theirs, mine)
    result = farm.build("victim", scope=EVE, environment=credentials("eve"), tags=("app:1",), cache_fork_from=(MAIN,))
    assert result.config_digest == first.config_digest


def test_pull_request_reads_main_s_steps_and_adds_to_its_own(fake, farm, as_main, credentials):
    as_main("one")
    before = {key for key in fake.manifests if key[0] == MAIN_REPOSITORY}
    result = farm.build(
        "pull", scope=EVE, environment=credentials("eve"), cache_fork_from=(MAIN,), text=DOCKERFILE + "COPY a /more\n", outputs=CACHE_ONLY
    )  # fmt: skip
    assert farm.hits() == ["cached"] * STEPS + ["done"]
    assert (result.cache.steps_published, farm.warnings) == (1, [])
    assert {key for key in fake.manifests if key[0] == MAIN_REPOSITORY} == before


def test_build_of_hers_that_claims_main_s_scope_can_only_read(fake, farm, as_main, credentials):
    first = as_main("one")
    before = dict(fake.manifests)
    farm.build("hers", scope=MAIN, environment=credentials("eve"), text=DOCKERFILE + "COPY b /more\n", outputs=CACHE_ONLY)
    assert farm.hits() == ["cached"] * STEPS + ["done"]
    assert farm.warnings.count("cache.read-only") == 1
    assert fake.manifests == before
    assert as_main("two").config_digest == first.config_digest


def test_heads_and_tables_of_main_s_volumes_can_t_be_written_or_taken_away(fake, eve, credentials, tmp_path):
    key = VolumeKey(MAIN, "m2", "linux/amd64")
    main = connect(Settings(credentials("main"), str(tmp_path / "main")))
    try:
        theirs = VolumeRegistry(main, Reference(fake.host, MAIN_REPOSITORY), key)
        head = theirs.put_head("w2026-48-aaaa", b'{"format":1}', ())
        hers = VolumeRegistry(eve, Reference(fake.host, MAIN_REPOSITORY), key)
        pack = tmp_path / "pack"
        pack.write_bytes(b"a table of hers")
        before = dict(fake.manifests), dict(fake.blobs)
        with pytest.raises(AccessDenied):
            hers.put_head("w2026-48-eeee", b'{"format":1,"packs":[]}', ())
        with pytest.raises(AccessDenied):
            hers.put_head("w2026-48-aaaa", b'{"format":1,"packs":[]}', ())
        with pytest.raises(AccessDenied):
            hers.put_blob(str(pack), sha256(pack.read_bytes()), 15)
        assert not hers.delete_head(HeadName(head.slot, head.digest))
        assert (dict(fake.manifests), dict(fake.blobs)) == before
        assert theirs.read_head(head) == b'{"format":1}'
    finally:
        main.close()
