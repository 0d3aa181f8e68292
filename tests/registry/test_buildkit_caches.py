"""--cache-from and --cache-to between two stores: directories, a fake registry and a real one; tests/conformance has what BuildKit makes of them."""

import base64
import json
import os
import time
from pathlib import Path

import pytest
from tests.fakes.registry import FakeRegistry

from chandlery.config import Settings
from chandlery.engine.request import BuildRequest, BuildResult, CacheKind, CacheSpec, Output, OutputKind
from chandlery.errors import MachineError, RegistryError
from chandlery.events import Warned
from chandlery.wiring import build

DOCKERFILE = "FROM scratch AS one\nCOPY a /a\nCOPY b /b\nFROM scratch\nCOPY c /c\nWORKDIR /w\nCOPY --from=one /a /one\n"
STEPS = 5
OWN = 3
CACHE_ONLY = (Output(OutputKind.CACHE_ONLY),)
PUSH = (Output(OutputKind.IMAGE, options=(("push", "true"),)),)
SIZE = 100_000
CONFIG = "application/vnd.buildkit.cacheconfig.v0"


def spec(text: str) -> CacheSpec:
    fields = dict(part.split("=", 1) for part in text.split(","))
    return CacheSpec(CacheKind(fields.pop("type")), tuple(sorted(fields.items())))


class Machines:
    """Each name a store. `warnings` are the codes of the last build's."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.context = directory / "context"
        self.context.mkdir()
        for name in "abc":
            (self.context / name).write_bytes(os.urandom(SIZE))
        self.warnings: list[str] = []
        self.result: BuildResult

    def build(
        self, machine: str, *, cache_from: tuple[str, ...] = (), cache_to: tuple[str, ...] = (), environment: dict | None = None, **changes
    ) -> BuildResult:
        request = BuildRequest(
            **{
                "context": str(self.context), "dockerfile_text": DOCKERFILE, "outputs": CACHE_ONLY, "cache_from": tuple(map(spec, cache_from)),
                "cache_to": tuple(map(spec, cache_to)), **changes,
            }
        )  # fmt: skip
        self.warnings = []

        def sink(event: object) -> None:
            if isinstance(event, Warned):
                self.warnings.append(event.code)

        self.result = build(request, sink=sink, settings=Settings(environment or {}, str(self.directory / machine)))
        return self.result

    def hits(self) -> list[str]:
        return [step.outcome for step in self.result.steps if "COPY " in step.name or "WORKDIR " in step.name]


@pytest.fixture
def fake():
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def machines(tmp_path):
    return Machines(tmp_path)


@pytest.fixture(params=["local", "fake", "real"])
def place(request, tmp_path):
    """(where to write, where to read) of one cache."""
    if request.param == "local":
        return f"type=local,dest={tmp_path}/cache", f"type=local,src={tmp_path}/cache"
    host = request.getfixturevalue("fake" if request.param == "fake" else "open_registry").host
    named = f"type=registry,ref={host}/{tmp_path.name.lower()}/cache:1"
    return named, named


# there and back


@pytest.mark.parametrize("form", ["", ",image-manifest=false", ",oci-mediatypes=false", ",compression=zstd,compression-level=3", ",compression=uncompressed"])
def test_the_image_made_from_a_cache_elsewhere_is_the_same(machines, place, form):
    first = machines.build("one", cache_to=(f"{place[0]},mode=max{form}",), outputs=(Output(),), tags=("app:1",))
    time.sleep(1.1)

    second = machines.build("two", cache_from=(place[1],), outputs=(Output(),), tags=("app:1",))

    assert machines.hits() == ["cached"] * STEPS
    assert second.config_digest == first.config_digest
    assert machines.warnings == []
    assert dict(next(step for step in second.steps if "COPY c" in step.name).origin)["from"].startswith(("local:", "registry:"))


def test_a_chain_of_hits_that_nobody_looks_at_moves_no_layer(machines, place):
    machines.build("one", cache_to=(f"{place[0]},mode=max",))

    result = machines.build("two", cache_from=(place[1],))

    assert machines.hits() == ["cached"] * STEPS
    assert result.bytes_moved == 0
    assert not list((machines.directory / "two/blobs/sha256").iterdir())


def test_a_step_after_a_hit_fetches_what_it_stands_on(machines, place):
    machines.build("one", cache_to=(f"{place[0]},mode=max",))

    result = machines.build("two", cache_from=(place[1],), dockerfile_text=DOCKERFILE + "COPY b /again\n", outputs=(Output(),), tags=("app:1",))

    assert machines.hits() == ["cached"] * STEPS + ["done"]
    assert 2 * SIZE < result.bytes_moved < 3 * SIZE


def layers_of(fake: FakeRegistry, repository: str, tag: str = "1") -> list[str]:
    manifest = json.loads(fake.manifests[repository, tag][0])
    return [row["digest"] for row in manifest.get("layers") or manifest["manifests"] if row["mediaType"] != CONFIG]


def test_the_smaller_mode_has_the_result_s_layers_alone(machines, fake):
    machines.build("one", cache_to=(f"type=registry,ref={fake.host}/min:1", f"type=registry,ref={fake.host}/max:1,mode=max"))
    assert (len(layers_of(fake, "min")), len(layers_of(fake, "max"))) == (OWN, STEPS)

    machines.build("two", cache_from=(f"type=registry,ref={fake.host}/min:1",), target="")

    assert machines.hits() == ["cached"] * STEPS


def test_steps_that_a_build_never_came_to_are_exported_too(machines, fake):
    machines.build("one")
    machines.build("one", cache_to=(f"type=registry,ref={fake.host}/max:1,mode=max",))

    assert len(layers_of(fake, "max")) == STEPS


def test_the_same_cache_has_the_same_digest(machines, fake):
    machines.build("one", cache_to=(f"type=registry,ref={fake.host}/cache:1,mode=max",))
    before = fake.manifests["cache", "1"][0]
    fake.seen.clear()

    machines.build("one", cache_to=(f"type=registry,ref={fake.host}/cache:1,mode=max",))

    assert fake.manifests["cache", "1"][0] == before
    assert fake.count("PUT") == fake.count("POST") == 0


def test_layers_that_the_registry_has_are_mounted(machines, fake):
    machines.build("one", cache_to=(f"type=registry,ref={fake.host}/first:1,mode=max",))

    result = machines.build("two", cache_from=(f"type=registry,ref={fake.host}/first:1",), cache_to=(f"type=registry,ref={fake.host}/second:1,mode=max",))

    assert machines.hits() == ["cached"] * STEPS
    assert result.bytes_moved < 20_000
    assert layers_of(fake, "second") == layers_of(fake, "first")


def test_a_directory_keeps_the_caches_of_other_tags(machines):
    to, place = f"type=local,dest={machines.directory}/cache,mode=max", f"type=local,src={machines.directory}/cache"
    machines.build("one", cache_to=(to,))
    machines.build("one", cache_to=(f"{to},tag=other",), dockerfile_text=DOCKERFILE + "COPY b /again\n")
    machines.build("two", cache_from=(place,), dockerfile_text=DOCKERFILE + "COPY b /again\n")
    assert machines.hits() == ["cached"] * STEPS + ["done"]
    machines.build("three", cache_from=(f"{place},tag=other",), dockerfile_text=DOCKERFILE + "COPY b /again\n")
    assert machines.hits() == ["cached"] * (STEPS + 1)

    (entry,) = (row for row in json.loads((machines.directory / "cache/index.json").read_text())["manifests"] if "other" in str(row["annotations"]))
    machines.build("four", cache_from=(f"{place},digest={entry['digest']}",), dockerfile_text=DOCKERFILE + "COPY b /again\n")
    assert machines.hits() == ["cached"] * (STEPS + 1)


# images that carry their cache


@pytest.mark.parametrize("asked", [{"cache_to": ("type=inline",)}, {"build_args": (("BUILDKIT_INLINE_CACHE", "1"),)}])
def test_an_image_carries_its_own_cache(machines, fake, asked):
    first = machines.build("one", outputs=PUSH, tags=(f"{fake.host}/app:1",), **asked)
    time.sleep(1.1)

    second = machines.build("two", outputs=PUSH, tags=(f"{fake.host}/app:2",), cache_from=(f"type=registry,ref={fake.host}/app:1",), **asked)

    assert machines.hits()[-OWN:] == ["cached"] * OWN
    assert second.image_digest == first.image_digest


def test_what_a_base_says_of_its_own_steps_is_not_passed_on(machines, fake):
    machines.build("one", outputs=PUSH, tags=(f"{fake.host}/base:1",), cache_to=("type=inline",))
    machines.build("one", outputs=PUSH, tags=(f"{fake.host}/app:1",), dockerfile_text=f"FROM {fake.host}/base:1\nCOPY b /above\n")

    manifest = json.loads(fake.manifests["app", "1"][0])
    assert "moby.buildkit.cache.v0" not in json.loads(fake.blobs["app", manifest["config"]["digest"]])


def test_steps_on_a_base_are_found_with_the_base_s_layers_below(machines, fake):
    machines.build("one", outputs=PUSH, tags=(f"{fake.host}/base:1",))
    text = f"FROM {fake.host}/base:1\nCOPY b /above\nCOPY c /more\n"
    first = machines.build("one", outputs=(Output(),), tags=("app:1",), dockerfile_text=text, cache_to=(f"type=registry,ref={fake.host}/cache:1",))
    assert len(layers_of(fake, "cache")) == OWN + 2
    time.sleep(1.1)

    second = machines.build("two", outputs=(Output(),), tags=("app:1",), dockerfile_text=text, cache_from=(f"type=registry,ref={fake.host}/cache:1",))

    assert machines.hits()[-2:] == ["cached"] * 2
    assert second.config_digest == first.config_digest


# several, and beside --cache-remote


def test_several_are_asked_in_their_order_and_a_missing_one_is_said(machines, fake):
    machines.build("one", cache_to=(f"type=registry,ref={fake.host}/cache:1,mode=max",))

    machines.build(
        "two", cache_from=(f"type=local,src={machines.directory}/none", f"type=registry,ref={fake.host}/no:1", f"type=registry,ref={fake.host}/cache:1")
    )

    assert machines.hits() == ["cached"] * STEPS
    assert machines.warnings == ["cache.import"] * 2


def test_what_is_here_needs_no_cache_elsewhere(machines, fake):
    machines.build("one")
    machines.build("one", cache_from=(f"type=registry,ref={fake.host}/no:1",))
    assert (machines.hits(), machines.warnings, fake.seen) == (["cached"] * STEPS, [], [])


def test_what_follows_an_imported_step_is_shared_with_all_that_it_stands_on(machines, fake):
    remote = {"cache_remotes": (f"registry://{fake.host}/steps",), "cache_scope": "main", "cache_publish_timeout_s": 60.0}
    text = DOCKERFILE + "COPY b /again\n"
    machines.build("one", cache_to=(f"type=registry,ref={fake.host}/cache:1,mode=max",))
    first = machines.build(
        "two", cache_from=(f"type=registry,ref={fake.host}/cache:1",), dockerfile_text=text, outputs=(Output(),), tags=("app:1",), **remote
    )  # fmt: skip
    assert machines.hits() == ["cached"] * STEPS + ["done"]

    third = machines.build("three", dockerfile_text=text, outputs=(Output(),), tags=("app:1",), **remote)

    assert machines.hits() == ["cached"] * (STEPS + 1)
    assert third.config_digest == first.config_digest


@pytest.mark.parametrize(("mode", "is_read", "is_written"), [("off", False, False), ("local", False, False), ("ro", True, False), ("rw", True, True)])
def test_the_environment_overrides_everything(machines, fake, mode, is_read, is_written):
    machines.build("one", cache_to=(f"type=registry,ref={fake.host}/cache:1,mode=max",))

    place, copy = f"type=registry,ref={fake.host}/cache:1", f"type=registry,ref={fake.host}/copy:1"
    machines.build("two", cache_from=(place,), cache_to=(copy,), environment={"CHANDLERY_CACHE": mode})

    assert machines.hits() == ["cached" if is_read else "done"] * STEPS
    assert (("copy", "1") in fake.manifests) == is_written
    assert ("cache.not-exported" in machines.warnings) != is_written


def test_older_steps_are_misses(machines, fake):
    machines.build("one", cache_to=(f"type=registry,ref={fake.host}/cache:1,mode=max",))
    time.sleep(2.1)
    machines.build("two", cache_from=(f"type=registry,ref={fake.host}/cache:1",), cache_max_age_s=1.0)
    assert machines.hits() == ["done"] * STEPS
    machines.build("three", cache_from=(f"type=registry,ref={fake.host}/cache:1",), cache_max_age_s=600.0)
    assert machines.hits() == ["cached"] * STEPS


# what goes wrong


def test_a_cache_that_can_t_be_written_fails_the_build_unless_that_is_to_be_ignored(machines, fake):
    fake.faults.is_read_only = True
    with pytest.raises(RegistryError):
        machines.build("one", cache_to=(f"type=registry,ref={fake.host}/cache:1",))
    machines.build("one", cache_to=(f"type=registry,ref={fake.host}/cache:1,ignore-error=true",))
    assert machines.warnings == ["cache.not-exported"]
    (machines.directory / "file").write_text("")
    with pytest.raises(MachineError) as raised:
        machines.build("one", cache_to=(f"type=local,dest={machines.directory}/file",))
    assert raised.value.code == "cache.unwritable"


def test_an_unreachable_cache_is_told_once(machines):
    machines.build("one", cache_from=("type=registry,ref=127.0.0.1:1/cache:1",))
    assert (machines.hits(), machines.warnings) == (["done"] * STEPS, ["cache.import"])


def test_a_damaged_layer_is_a_miss(machines, fake):
    machines.build("one", cache_to=(f"type=registry,ref={fake.host}/cache:1,mode=max",))
    for digest in layers_of(fake, "cache"):
        fake.blobs["cache", digest] = bytes(len(fake.blobs["cache", digest]))

    machines.build("two", cache_from=(f"type=registry,ref={fake.host}/cache:1",), outputs=(Output(),), tags=("app:1",))

    assert machines.hits()[-OWN:] == ["done"] * OWN
    assert "cache.lost-layer" in machines.warnings


def test_lost_layers_of_a_cache_are_a_miss(machines, fake):
    machines.build("one", cache_to=(f"type=registry,ref={fake.host}/cache:1,mode=max",))
    for digest in layers_of(fake, "cache"):
        del fake.blobs["cache", digest]
    machines.build("two", cache_from=(f"type=registry,ref={fake.host}/cache:1",), outputs=(Output(),), tags=("app:1",))
    assert machines.hits()[-OWN:] == ["done"] * OWN


def put(fake: FakeRegistry, document: bytes, *, size: int | None = None) -> None:
    """Replace the document of the cache."""
    manifest = json.loads(fake.manifests["cache", "1"][0])
    manifest["config"] |= {"digest": fake.add_blob("cache", document), "size": size or len(document)}
    fake.add_manifest("cache", "1", json.dumps(manifest).encode(), manifest["mediaType"])


HOSTILE = {
    "no json": lambda _: b"no",
    "a list": lambda _: b"[]",
    "deep": lambda _: b"[" * 200_000,
    "circle of layers": lambda d: d | {"layers": [row | {"parent": 0} for row in d["layers"]]},
    "parent out of range": lambda d: d | {"layers": [row | {"parent": 99} for row in d["layers"]]},
    "circle of records": lambda d: d | {"records": [row | {"inputs": [[{"link": 0}]]} for row in d["records"]]},
    "link out of range": lambda d: d | {"records": [row | {"inputs": [[{"link": -3}]]} for row in d["records"]]},
    "empty input": lambda d: d | {"records": [row | {"inputs": [[]]} for row in d["records"]]},
    "layer out of range": lambda d: d | {"records": [row | {"layers": [{"layer": 99}]} for row in d["records"]]},
    "chain out of range": lambda d: d | {"records": [row | {"chains": [{"layers": [99]}]} for row in d["records"]]},
    "wrong types": lambda d: d | {"records": [row | {"layers": 7} for row in d["records"]]},
    "no digests": lambda d: d | {"records": [row | {"digest": "sha256:x"} for row in d["records"]]},
    "huge": lambda d: json.dumps(d).encode() + b" " * (9 << 20),
}


@pytest.mark.parametrize("lie", HOSTILE)
def test_a_hostile_document_is_a_miss_with_one_warning(machines, fake, lie):
    machines.build("one", cache_to=(f"type=registry,ref={fake.host}/cache:1,mode=max",))
    manifest = json.loads(fake.manifests["cache", "1"][0])
    made = HOSTILE[lie](json.loads(fake.blobs["cache", manifest["config"]["digest"]]))
    put(fake, made if isinstance(made, bytes) else json.dumps(made).encode())

    machines.build("two", cache_from=(f"type=registry,ref={fake.host}/cache:1",))

    assert machines.hits() == ["done"] * STEPS
    assert machines.warnings == ["cache.import"]


def test_chains_that_can_t_be_the_step_s_are_misses(machines, fake):
    machines.build("one", cache_to=(f"type=registry,ref={fake.host}/cache:1,mode=max",))
    manifest = json.loads(fake.manifests["cache", "1"][0])
    document = json.loads(fake.blobs["cache", manifest["config"]["digest"]])
    put(fake, json.dumps(document | {"records": [row | {"layers": [], "chains": [{"layers": [0] * 7}]} for row in document["records"]]}).encode())

    machines.build("two", cache_from=(f"type=registry,ref={fake.host}/cache:1",))

    assert machines.hits() == ["done"] * STEPS


@pytest.mark.parametrize("lie", ["not base64", "not records", "other layers", "no rootfs"])
def test_a_hostile_image_is_a_miss_with_one_warning(machines, fake, lie):
    machines.build("one", outputs=PUSH, tags=(f"{fake.host}/app:1",), cache_to=("type=inline",))
    manifest = json.loads(fake.manifests["app", "1"][0])
    config = json.loads(fake.blobs["app", manifest["config"]["digest"]])
    lies = {
        "not base64": {"moby.buildkit.cache.v0": "!"},
        "not records": {"moby.buildkit.cache.v0": base64.b64encode(b'{"a": 1}').decode()},
        "other layers": {"rootfs": {"type": "layers", "diff_ids": config["rootfs"]["diff_ids"][:1]}},
        "no rootfs": {"rootfs": None},
    }
    raw = json.dumps(config | lies[lie]).encode()
    manifest["config"] |= {"digest": fake.add_blob("app", raw), "size": len(raw)}
    fake.add_manifest("app", "1", json.dumps(manifest).encode(), manifest["mediaType"])

    machines.build("two", cache_from=(f"type=registry,ref={fake.host}/app:1",))

    assert machines.hits() == ["done"] * STEPS
    assert machines.warnings == ["cache.import"]


def test_an_image_without_a_cache_is_a_miss_without_a_word(machines, fake):
    machines.build("one", outputs=PUSH, tags=(f"{fake.host}/app:1",))
    machines.build("two", cache_from=(f"type=registry,ref={fake.host}/app:1",))
    assert (machines.hits(), machines.warnings) == (["done"] * STEPS, [])
