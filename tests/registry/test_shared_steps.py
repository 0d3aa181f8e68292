"""Steps that one machine made, found by another: two stores as two machines, a directory, a fake registry and a real one between them."""

import json
import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from tests.fakes.registry import FakeRegistry

from chandlery.config import Settings
from chandlery.engine.request import BuildRequest, BuildResult, Output, OutputKind
from chandlery.errors import InputError
from chandlery.events import Warned
from chandlery.wiring import build

DOCKERFILE = "FROM scratch\nCOPY a /a\nCOPY b /b\nWORKDIR /w\nCOPY c /c\n"
CACHE_ONLY = (Output(OutputKind.CACHE_ONLY),)
BIG = 300_000
STEPS = 4


class Farm:
    """Machines that share a cache at `address`. `warnings` are the codes that the last build warned with."""

    def __init__(self, tmp_path: Path, address: str) -> None:
        self.tmp_path = tmp_path
        self.address = address
        self.context = tmp_path / "context"
        self.context.mkdir()
        for name in "abc":
            (self.context / name).write_bytes(os.urandom(BIG))
        self.warnings: list[str] = []
        self.result: BuildResult

    def build(self, machine: str, *, scope: str = "main", environment: dict[str, str] | None = None, text: str = DOCKERFILE, **changes) -> BuildResult:
        request = BuildRequest(
            **{
                "context": str(self.context), "dockerfile_text": text, "cache_scope": scope, "cache_remotes": (self.address,),
                "cache_publish_timeout_s": 60.0, **changes,
            }
        )  # fmt: skip
        self.warnings = []

        def sink(event: object) -> None:
            if isinstance(event, Warned):
                self.warnings.append(event.code)

        self.result = build(request, sink=sink, settings=Settings(environment or {}, str(self.tmp_path / machine)))
        return self.result

    def hits(self) -> list[str]:
        return [step.outcome for step in self.result.steps if step.name.startswith("[") and not step.name.startswith("[internal]")]


@pytest.fixture
def fake():
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def shared(tmp_path):
    return Farm(tmp_path, f"file://{tmp_path}/share")


@pytest.fixture
def farm(tmp_path, fake):
    return Farm(tmp_path, f"registry://{fake.host}/cache/steps")


@pytest.fixture(params=["directory", "fake", "real"])
def any_farm(request, tmp_path):
    if request.param == "directory":
        return request.getfixturevalue("shared")
    if request.param == "fake":
        return request.getfixturevalue("farm")
    return Farm(tmp_path, f"registry://{request.getfixturevalue('open_registry').host}/cache/{tmp_path.name.lower()}" + "/{scope}")


def files_of(farm: Farm, part: str) -> list[Path]:
    return sorted(path for path in (farm.tmp_path / "share" / part).rglob("*") if path.is_file())


def test_image_rebuilt_from_the_cache_elsewhere_is_the_same(any_farm):
    first = any_farm.build("one", tags=("app:1",))
    assert first.cache.steps_published == STEPS
    time.sleep(1.1)
    second = any_farm.build("two", tags=("app:1",))
    assert any_farm.hits() == ["cached"] * STEPS
    assert second.config_digest == first.config_digest
    assert any_farm.warnings == []


def test_chain_of_hits_that_nobody_looks_at_moves_no_layer(any_farm):
    any_farm.build("one", outputs=CACHE_ONLY)
    result = any_farm.build("two", outputs=CACHE_ONLY)
    assert any_farm.hits() == ["cached"] * STEPS
    assert result.bytes_moved == 0
    assert not list((any_farm.tmp_path / "two/blobs/sha256").iterdir())


def test_step_after_a_hit_fetches_the_layers_it_stands_on(any_farm):
    any_farm.build("one", outputs=CACHE_ONLY)
    result = any_farm.build("two", text=DOCKERFILE + "COPY a /again\n", tags=("app:1",))
    assert any_farm.hits() == ["cached"] * STEPS + ["done"]
    assert result.bytes_moved > 3 * BIG
    assert result.cache.steps_published == 1


def test_second_build_elsewhere_finds_everything_at_home(any_farm):
    any_farm.build("one", outputs=CACHE_ONLY)
    any_farm.build("two", tags=("app:1",))
    result = any_farm.build("two", tags=("app:1",))
    assert result.bytes_moved == 0
    assert dict(result.steps[-2].origin)["from"] == "local"


def test_hits_say_where_they_came_from(farm):
    farm.build("one", outputs=CACHE_ONLY)
    steps = farm.build("two", outputs=CACHE_ONLY).steps
    origin = dict(next(step for step in steps if "COPY c" in step.name).origin)
    assert (origin["from"], origin["scope"], origin["writer"]) == (farm.address, "main", os.uname().nodename)
    assert int(origin["bytes"]) > BIG


def test_what_lies_below_a_hit_says_where_it_came_from_though_nobody_asks(farm, fake):
    farm.build("one", outputs=CACHE_ONLY)
    farm.build("two", outputs=CACHE_ONLY)
    fake.seen.clear()
    steps = farm.build("two", outputs=CACHE_ONLY).steps
    here = [dict(step.origin) for step in steps if "COPY" in step.name]
    assert [(origin["from"], int(origin["bytes"]) > 0, int(origin["age_s"]) < 600) for origin in here] == [("local", True, True)] * len(here)
    assert len(here) == 3
    with sqlite3.connect(farm.tmp_path / "two/chandlery.db") as db:
        db.execute("DELETE FROM step_record WHERE name LIKE '%COPY a %'")
    steps = farm.build("two", outputs=CACHE_ONLY).steps
    assert dict(next(step for step in steps if "COPY a" in step.name).origin) == {"from": farm.address, "scope": "main"}
    assert fake.seen == []


def test_push_of_hits_to_the_cache_s_registry_moves_no_layer(farm, fake):
    push = (Output(OutputKind.IMAGE, options=(("push", "true"),)),)
    first = farm.build("one", tags=(f"{fake.host}/app:1",), outputs=push)
    fake.seen.clear()
    second = farm.build("two", tags=(f"{fake.host}/other:1",), outputs=push)
    assert second.image_digest == first.image_digest
    assert sum(seen.size for seen in fake.seen) < 20_000
    assert fake.count("GET", "/blobs/") == 0


def test_rewritten_times_are_the_same_on_both_machines(shared):
    wanted = {"tags": ("app:1",), "build_args": (("SOURCE_DATE_EPOCH", "1700000000"),)}
    first = shared.build("one", **wanted)
    second = shared.build("two", **wanted)
    assert shared.hits() == ["cached"] * STEPS
    assert second.config_digest == first.config_digest


def test_failed_build_has_shared_what_it_finished(farm):
    with pytest.raises(InputError):
        farm.build("one", text=DOCKERFILE.replace("scratch", "scratch AS one") + "FROM one\nCOPY --from=one /nothing /x\n")
    farm.build("two", outputs=CACHE_ONLY)
    assert farm.hits() == ["cached"] * STEPS


# scopes


def test_scopes_don_t_see_each_other_in_one_repository(any_farm):
    any_farm.build("one", scope="a@main", outputs=CACHE_ONLY)
    any_farm.build("two", scope="a@other", outputs=CACHE_ONLY)
    assert any_farm.hits() == ["done"] * STEPS


def test_branch_reads_what_it_forked_from_and_writes_its_own(shared):
    shared.build("one", scope="a@main", outputs=CACHE_ONLY)
    before = files_of(shared, "steps")
    shared.build("two", scope="a@pull/1", cache_fork_from=("a@main",), text=DOCKERFILE + "COPY a /d\n", outputs=CACHE_ONLY)
    assert shared.hits() == ["cached"] * STEPS + ["done"]
    added = set(files_of(shared, "steps")) - set(before)
    assert [json.loads(path.read_text())["scope"] for path in added] == ["a@pull/1"]


def test_scope_guessed_from_a_directory_s_name_stays_here(shared):
    result = shared.build("one", scope="", outputs=CACHE_ONLY)
    assert not (shared.tmp_path / "share").exists()
    assert result.cache is None


# modes


def test_read_only_remote_is_read(shared):
    shared.build("one", outputs=CACHE_ONLY)
    before = files_of(shared, "")
    shared.build("two", text=DOCKERFILE + "COPY a /d\n", cache_remotes=(shared.address + ",mode=ro",), outputs=CACHE_ONLY)
    assert shared.hits() == ["cached"] * STEPS + ["done"]
    assert files_of(shared, "") == before


def test_several_are_read_and_the_first_writable_is_written(shared, fake):
    shared.build("one", outputs=CACHE_ONLY)
    shared.build(
        "two", text=DOCKERFILE + "COPY a /d\n", cache_remotes=(shared.address + ",mode=ro", f"registry://{fake.host}/second"), outputs=CACHE_ONLY
    )  # fmt: skip
    assert shared.hits() == ["cached"] * STEPS + ["done"]
    assert len(fake.tags("second")) == 1
    # the entry's whole chain is where the entry is
    assert len([digest for repository, digest in fake.blobs if repository == "second"]) == STEPS + 2


@pytest.mark.parametrize(("mode", "outcome"), [("off", "done"), ("local", "done"), ("ro", "cached"), ("rw", "cached")])
def test_the_environment_overrides_everything(shared, mode, outcome):
    shared.build("one", outputs=CACHE_ONLY)
    before = files_of(shared, "")
    shared.build("two", environment={"CHANDLERY_CACHE": mode}, outputs=CACHE_ONLY)
    assert shared.hits() == [outcome] * STEPS
    assert files_of(shared, "") == before


def test_older_entries_are_misses_and_are_replaced(any_farm):
    any_farm.build("one", outputs=CACHE_ONLY)
    time.sleep(1.1)
    any_farm.build("two", cache_max_age_s=1.0, outputs=CACHE_ONLY)
    assert any_farm.hits() == ["done"] * STEPS
    any_farm.build("three", cache_max_age_s=60.0, outputs=CACHE_ONLY)
    assert any_farm.hits() == ["cached"] * STEPS


# damage and lies


@pytest.mark.parametrize("damage", ["delete", "flip", "cut"])
def test_damaged_blob_is_a_miss_that_heals(shared, damage):
    first = shared.build("one", tags=("app:1",))
    blob = max(files_of(shared, "blobs"), key=lambda path: path.stat().st_size)
    data = blob.read_bytes()
    blob.unlink()
    if damage != "delete":
        blob.write_bytes(data[: len(data) // 2] if damage == "cut" else bytes([data[0], data[1], data[2] ^ 1]) + data[3:])
    result = shared.build("two", tags=("app:1",))
    assert "cache.lost-layer" in shared.warnings
    assert result.config_digest
    assert "done" in shared.hits()
    third = shared.build("three", tags=("app:1",))
    assert shared.hits() == ["cached"] * STEPS
    assert third.config_digest == result.config_digest != first.config_digest


def test_wrong_bytes_from_a_registry_are_a_miss(farm, fake):
    farm.build("one", outputs=CACHE_ONLY)
    fake.faults.wrong_bytes = True
    farm.build("two", tags=("app:1",))
    assert farm.hits()[-STEPS:] == ["done"] * STEPS
    assert "cache.lost-layer" in farm.warnings


def entries(fake: FakeRegistry) -> dict[str, dict]:
    """By tag."""
    return {tag: json.loads(fake.manifests["cache/steps", tag][0]) for tag in fake.tags("cache/steps") if tag.startswith("s1-")}


def put(fake: FakeRegistry, tag: str, manifest: dict) -> None:
    fake.add_manifest("cache/steps", tag, json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")


def changed(manifest: dict, **changes) -> dict:
    entry = json.loads(manifest["annotations"]["chandlery.step.entry"]) | changes
    annotations = manifest["annotations"] | {"chandlery.step.entry": json.dumps(entry)}
    return manifest | {"annotations": annotations}


def entry_of(manifest: dict) -> dict:
    return json.loads(manifest["annotations"]["chandlery.step.entry"])


@pytest.mark.parametrize("lie", ["swapped", "document", "scope", "other base", "taller", "shorter", "no entry", "nonsense", "wrong types"])
def test_lying_entries_are_misses(farm, fake, lie):
    farm.build("one", outputs=CACHE_ONLY)
    honest = entries(fake)
    layer = {"diff_id": "sha256:" + "1" * 64, "created": "", "created_by": ""}
    others = dict(zip(honest, [*list(honest.values())[1:], next(iter(honest.values()))], strict=True))
    for tag, manifest in honest.items():
        layers = entry_of(manifest)["layers"]
        lies = {
            "swapped": others[tag],
            "document": changed(manifest, document='{"v":1}'),
            "scope": changed(manifest, scope="other"),
            "other base": changed(manifest, layers=[layer, *layers[1:]]),
            "taller": changed(manifest, layers=[*layers, layers[-1]]),
            "shorter": changed(manifest, layers=layers[:-1]),
            "no entry": manifest | {"annotations": {}},
            "nonsense": changed(manifest, layers=17),
            "wrong types": changed(manifest, layers=[{**row, "blob": {**row["blob"], "mediaType": "text/html"}} for row in layers]),
        }
        put(fake, tag, lies[lie])
    farm.build("two", tags=("app:1",))
    assert farm.hits() == ["done"] * STEPS
    assert "cache.bad-entry" in farm.warnings


def test_lie_about_a_layer_s_content_is_found_when_it_is_fetched(farm, fake):
    farm.build("one", outputs=CACHE_ONLY)
    for tag, manifest in entries(fake).items():
        layers = entry_of(manifest)["layers"]
        put(fake, tag, changed(manifest, layers=[{**row, "diff_id": "sha256:" + "2" * 64} for row in layers]))
    farm.build("two", tags=("app:1",))
    assert "done" in farm.hits()
    assert "cache.lost-layer" in farm.warnings


def test_entry_of_a_later_version_is_a_miss_and_left_alone(shared):
    shared.build("one", outputs=CACHE_ONLY)
    for path in files_of(shared, "steps"):
        path.write_text(json.dumps({"format": 2, "news": True}))
    shared.build("two", outputs=CACHE_ONLY)
    assert shared.hits() == ["done"] * STEPS
    assert {path.read_text() for path in files_of(shared, "steps")} == {'{"format": 2, "news": true}'}
    assert shared.warnings == []


# trouble


def test_unreachable_remote_is_told_once_and_costs_the_warm_path_nothing(farm, tmp_path):
    farm.address = "registry://127.0.0.1:1/cache"
    farm.build("one", outputs=CACHE_ONLY)
    assert farm.hits() == ["done"] * STEPS
    assert farm.warnings.count("cache.unavailable") == 1
    assert len(farm.result.cache.unpublished) == STEPS
    farm.build("one", outputs=CACHE_ONLY)
    assert (farm.hits(), farm.warnings) == (["cached"] * STEPS, [])


def test_unusable_directory_is_told_and_nothing_else(shared):
    (shared.tmp_path / "share").write_text("a file")
    shared.build("one", outputs=CACHE_ONLY)
    assert shared.hits() == ["done"] * STEPS
    assert "cache.unpublished" in shared.warnings


@pytest.mark.parametrize("part", ["steps", "blobs"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path), os.mkdir], ids=["pipe", "link", "directory"])
def test_what_is_no_file_in_a_shared_directory_stops_nobody(shared, part, make):
    shared.build("one", outputs=CACHE_ONLY)
    for path in files_of(shared, part):
        path.unlink()
        make(path)
    began = time.monotonic()
    shared.build("two")
    assert "done" in shared.hits()
    assert time.monotonic() - began < 15
    assert shared.warnings, "it is said"
    if make is os.mkfifo:
        assert {"cache.not-a-file", "cache.lost-layer"} & set(shared.warnings)
        shared.build("three")
        assert (shared.hits(), shared.warnings) == (["cached"] * STEPS, [])


def test_rate_limits_are_waited_out(farm, fake):
    farm.build("one", outputs=CACHE_ONLY)
    fake.faults.rate_limits, fake.faults.retry_after = 6, "1"
    farm.build("two", outputs=CACHE_ONLY)
    assert farm.hits() == ["cached"] * STEPS


def test_slow_registry_is_a_miss_after_a_few_seconds(farm, fake):
    farm.build("one", outputs=CACHE_ONLY)
    fake.faults.delay_s = 30.0
    started = time.monotonic()
    farm.build("two", outputs=CACHE_ONLY, cache_publish_timeout_s=0.2)
    assert farm.hits() == ["done"] * STEPS
    assert time.monotonic() - started < 15
    fake.faults.delay_s = 0.0


def test_refused_write_is_told_once_and_reads_go_on(farm, fake):
    farm.build("one", outputs=CACHE_ONLY)
    fake.access.scheme, fake.access.allows_anonymous_pull = "bearer", True
    result = farm.build("two", text=DOCKERFILE + "COPY a /d\nCOPY b /e\n", outputs=CACHE_ONLY)
    assert farm.hits() == ["cached"] * STEPS + ["done"] * 2
    assert farm.warnings.count("cache.read-only") == 1
    assert len(result.cache.unpublished) == 2


def test_immutable_tags_and_refused_deletes_and_cut_connections(farm, fake):
    fake.faults.immutable_tags = fake.faults.refuses_delete = True
    fake.faults.upload_cuts = 2
    first = farm.build("one", tags=("app:1",))
    assert first.cache.unpublished == ()
    fake.faults.cuts = 2
    second = farm.build("two", tags=("app:1",))
    assert (farm.hits(), second.config_digest) == (["cached"] * STEPS, first.config_digest)


def test_blobs_that_are_redirected_are_followed(farm, fake):
    with FakeRegistry() as storage:
        farm.build("one", outputs=CACHE_ONLY)
        storage.blobs.update(fake.blobs)
        fake.faults.redirect_blobs_to = storage.url
        farm.build("two", tags=("app:1",))
        assert farm.hits() == ["cached"] * STEPS
        assert storage.count("GET", "/blobs/") == STEPS


def test_interrupted_publication_shows_nothing_half(farm, fake):
    fake.faults.delay_s = 0.3
    result = farm.build("one", outputs=CACHE_ONLY, cache_publish_timeout_s=0.5)
    assert result.cache.unpublished
    assert "cache.unpublished" in farm.warnings
    fake.faults.delay_s = 0.0
    for manifest in entries(fake).values():
        assert all(("cache/steps", row["digest"]) in fake.blobs for row in manifest["layers"])


def test_first_of_many_writers_wins_and_all_are_served(any_farm):
    farms = [f"writer{number}" for number in range(8)]
    failures: list[BaseException] = []

    def work(machine: str) -> None:
        try:
            request = BuildRequest(
                context=str(any_farm.context), dockerfile_text=DOCKERFILE, cache_scope="main", cache_remotes=(any_farm.address,), outputs=CACHE_ONLY
            )  # fmt: skip
            build(request, settings=Settings({}, str(any_farm.tmp_path / machine)))
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(machine,)) for machine in farms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    digests = {any_farm.build(machine, tags=("app:1",)).config_digest for machine in ("reader1", "reader2")}
    assert any_farm.hits() == ["cached"] * STEPS
    assert len(digests) == 1


def test_files_of_a_shared_directory_have_the_umask_s_modes(shared):
    before = os.umask(0o002)
    try:
        shared.build("one", outputs=CACHE_ONLY)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in files_of(shared, "")} == {0o664}
    assert not [path for path in files_of(shared, "") if ".tmp-" in path.name]


# what was made before


def test_steps_from_before_there_was_a_shared_cache_are_shared_by_the_next_build(any_farm):
    first = any_farm.build("one", tags=("app:1",), cache_remotes=())
    second = any_farm.build("one", tags=("app:1",))
    assert any_farm.hits()[-1:] == ["cached"]
    assert second.cache.steps_published == STEPS
    third = any_farm.build("two", tags=("app:1",))
    assert any_farm.hits() == ["cached"] * STEPS
    assert third.config_digest == second.config_digest == first.config_digest


def test_only_what_is_missing_is_sent_and_then_nobody_asks_again(farm, fake):
    farm.build("one", outputs=CACHE_ONLY)
    farm.build("one", outputs=CACHE_ONLY, cache_remotes=(), text=DOCKERFILE + "COPY a /d\n")
    assert farm.build("one", outputs=CACHE_ONLY, text=DOCKERFILE + "COPY a /d\n").cache.steps_published == 1
    fake.seen.clear()
    assert farm.build("one", outputs=CACHE_ONLY, text=DOCKERFILE + "COPY a /d\n").cache.steps_published == 0
    assert fake.seen == []


def test_hits_that_came_from_the_shared_cache_are_not_offered_to_it(farm, fake):
    farm.build("one", outputs=CACHE_ONLY, scope="main")
    farm.build("two", outputs=CACHE_ONLY, scope="branch", cache_fork_from=("main",))
    fake.seen.clear()
    farm.build("two", outputs=CACHE_ONLY, scope="branch", cache_fork_from=("main",))
    assert (farm.hits()[-1:], fake.seen) == (["cached"], [])


def test_cached_build_out_of_reach_of_the_cache_neither_waits_nor_complains(farm, fake):
    farm.build("one", outputs=CACHE_ONLY, cache_remotes=())
    fake.faults.delay_s = 30.0
    for _ in range(2):
        started = time.monotonic()
        result = farm.build("one", outputs=CACHE_ONLY)
        assert time.monotonic() - started < 8
        assert (farm.warnings, result.cache.unpublished) == ([], ())
    assert len(fake.seen) < 4
    fake.faults.delay_s = 0.0


def test_cached_build_that_may_only_read_does_not_complain(farm, fake):
    farm.build("one", outputs=CACHE_ONLY, cache_remotes=())
    fake.access.scheme, fake.access.allows_anonymous_pull = "bearer", True
    for _ in range(2):
        fake.seen.clear()
        result = farm.build("one", outputs=CACHE_ONLY)
        assert (farm.warnings, result.cache.unpublished) == ([], ())
    assert fake.seen == []


# clocks and versions


def later_made(fake: FakeRegistry, by_s: float) -> None:
    for tag, manifest in entries(fake).items():
        put(fake, tag, changed(manifest, created_at=time.time() + by_s))


def test_entry_of_a_clock_that_is_hours_ahead_is_used(farm, fake):
    farm.build("one", outputs=CACHE_ONLY)
    later_made(fake, 5 * 3600)
    result = farm.build("two", outputs=CACHE_ONLY)
    assert (farm.hits(), farm.warnings) == (["cached"] * STEPS, [])
    assert {dict(step.origin)["age_s"] for step in result.steps if step.origin} == {"0"}


def test_age_limit_holds_for_clocks_that_are_ahead_too(farm, fake):
    farm.build("one", outputs=CACHE_ONLY)
    later_made(fake, 5 * 3600)
    farm.build("two", outputs=CACHE_ONLY, cache_max_age_s=3600.0)
    assert farm.hits() == ["done"] * STEPS
    farm.build("three", outputs=CACHE_ONLY, cache_max_age_s=3600.0)
    assert farm.hits() == ["cached"] * STEPS


def test_versions_that_alternate_on_one_remote_leave_each_other_s_entries_alone(farm, fake):
    farm.build("one", outputs=CACHE_ONLY)
    ours = entries(fake)
    theirs = {tag: changed(manifest, format=2, news=[1]) for tag, manifest in ours.items()}
    for _ in range(2):
        for tag, manifest in theirs.items():
            put(fake, tag, manifest)
        farm.build("two", outputs=CACHE_ONLY, no_cache=True)
        farm.build("three", outputs=CACHE_ONLY)
        assert (entries(fake), farm.warnings) == (theirs, [])
        for tag, manifest in ours.items():
            put(fake, tag, manifest)
        farm.build("four", outputs=CACHE_ONLY)
        assert (farm.hits(), entries(fake)) == (["cached"] * STEPS, ours)


def test_annotations_and_tags_of_a_later_version_stay(farm, fake):
    farm.build("one", outputs=CACHE_ONLY)
    put(fake, "s2-" + "0" * 64, {"schemaVersion": 3})
    farm.build("two", outputs=CACHE_ONLY)
    assert "s2-" + "0" * 64 in fake.tags("cache/steps")
