"""`cache ls` and `cache prune` on what builds shared: a directory, a fake registry and a real one."""

import json
import os
import time

import pytest
from tests.fakes.registry import FakeRegistry
from tests.registry.test_shared_steps import CACHE_ONLY, STEPS, Farm, changed, files_of

from chandlery.cli import main


@pytest.fixture
def fake():
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def shared(tmp_path):
    return Farm(tmp_path, f"file://{tmp_path}/share")


@pytest.fixture(params=["directory", "one repository", "repositories", "real"])
def any_farm(request, tmp_path, fake):
    if request.param == "real":
        return Farm(tmp_path, f"registry://{request.getfixturevalue('open_registry').host}/care/{tmp_path.name.lower()}" + "/{scope}")
    places = {
        "directory": f"file://{tmp_path}/share",
        "one repository": f"registry://{fake.host}/cache/steps",
        "repositories": f"registry://{fake.host}/c/{{scope}}",
    }
    return Farm(tmp_path, places[request.param])


@pytest.fixture
def care(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("CHANDLERY_CONFIG", "/none")
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(farm: Farm, *arguments: str) -> tuple[int, str]:
        status = main.main(["cache", *arguments, "--cache-remote", farm.address])
        shown = capsys.readouterr()
        return status, shown.out + shown.err

    return run


def listed(care, farm: Farm, *arguments: str) -> list[dict]:
    status, shown = care(farm, "ls", "--format=json", *arguments)
    assert status == 0, shown
    return [json.loads(line) for line in shown.splitlines()]


def test_steps_are_listed_with_whose_they_are_and_what_they_cost(any_farm, care):
    any_farm.build("one", scope="a@main", outputs=CACHE_ONLY)
    any_farm.build("two", scope="b@main", outputs=CACHE_ONLY)
    found = listed(care, any_farm)
    assert sorted(item["scope"] for item in found) == ["a@main"] * STEPS + ["b@main"] * STEPS
    assert {item["writer"] for item in found} == {os.uname().nodename}
    assert all(item["cost_s"] >= 0 and item["size"] > 0 and item["created_at"] > time.time() - 100 for item in found)
    assert len(listed(care, any_farm, "--cache-scope=a@main")) == STEPS
    status, shown = care(any_farm, "ls")
    assert status == 0
    assert f"{2 * STEPS} steps" in shown
    assert "COPY c /c" in shown


def test_everything_that_was_not_used_for_long_goes_and_builds_go_on(any_farm, care):
    first = any_farm.build("one", tags=("app:1",))
    status, shown = care(any_farm, "prune", "--older-than=0.001s", "--grace=0s")
    assert (status, f"deleted {STEPS} steps" in shown) == (0, True), shown
    assert listed(care, any_farm) == []
    any_farm.build("two", outputs=CACHE_ONLY)
    assert any_farm.hits() == ["done"] * STEPS
    again = any_farm.build("one", tags=("app:1",))
    assert again.config_digest == first.config_digest


def test_size_is_brought_down(any_farm, care):
    any_farm.build("one", outputs=CACHE_ONLY)
    status, shown = care(any_farm, "prune", "--max-size=650kB", "--dry-run")
    assert (status, len(listed(care, any_farm))) == (0, STEPS)
    status, shown = care(any_farm, "prune", "--max-size=650kB", "--grace=0s", "--verbose")
    assert status == 0, shown
    left = listed(care, any_farm)
    assert 1 <= len(left) < STEPS
    assert max(item["size"] for item in left) < 650_000


def test_no_bound_is_refused(shared, care):
    assert care(shared, "prune")[0] == 2


def test_no_cache_named_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("CHANDLERY_CONFIG", "/none")
    assert main.main(["cache", "ls"]) == 2
    assert "request.no-cache-remote" in capsys.readouterr().err


def test_use_keeps_an_entry(shared, care):
    shared.build("one", outputs=CACHE_ONLY)
    long_ago = time.time() - 10 * 86400
    for path in files_of(shared, "steps"):
        os.utime(path, (long_ago, long_ago))
    shared.build("two", outputs=CACHE_ONLY)
    care(shared, "prune", "--older-than=1d")
    assert len(files_of(shared, "steps")) == STEPS


def test_reader_without_write_leaves_no_mark(shared, care):
    shared.build("one", outputs=CACHE_ONLY)
    long_ago = time.time() - 10 * 86400
    for path in files_of(shared, "steps"):
        os.utime(path, (long_ago, long_ago))
    shared.build("two", outputs=CACHE_ONLY, cache_remotes=(shared.address + ",mode=ro",))
    assert {path.stat().st_mtime for path in files_of(shared, "steps")} == {long_ago}


def test_blobs_that_are_young_or_named_stay(shared, care):
    shared.build("one", outputs=CACHE_ONLY)
    blobs = files_of(shared, "blobs")
    orphan = shared.tmp_path / "share/blobs/sha256/ab" / ("ab" * 32)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_text("somebody is about to name it")
    volume = shared.tmp_path / "share/volumes/x/blobs/1"
    volume.parent.mkdir(parents=True)
    volume.write_text("a volume's")
    care(shared, "prune", "--older-than=10d")
    assert orphan.exists()
    os.utime(orphan, (1, 1))
    os.utime(volume, (1, 1))
    care(shared, "prune", "--older-than=10d")
    assert files_of(shared, "blobs") == blobs
    assert volume.exists()
    assert "Cache volumes beside them: 10B" in care(shared, "ls")[1]


def test_blob_that_is_published_again_is_young_again(shared, care):
    shared.build("one", outputs=CACHE_ONLY)
    for path in files_of(shared, "blobs"):
        os.utime(path, (1, 1))
    for path in files_of(shared, "steps"):
        path.unlink()
    shared.build("one", scope="other", outputs=CACHE_ONLY, no_cache=True)
    care(shared, "prune", "--older-than=10d")
    shared.build("two", scope="other", tags=("app:1",))
    assert shared.hits() == ["cached"] * STEPS


def test_one_scope_s_prune_leaves_the_others_their_blobs(shared, care):
    shared.build("one", scope="a", outputs=CACHE_ONLY)
    shared.build("two", scope="b", outputs=CACHE_ONLY)
    status, shown = care(shared, "prune", "--older-than=0.001s", "--grace=0s", "--cache-scope=a")
    assert status == 0, shown
    shared.build("three", scope="b", tags=("app:1",))
    assert (shared.hits(), shared.warnings) == (["cached"] * STEPS, [])


def test_entries_of_later_versions_stay_with_their_blobs(shared, care):
    shared.build("one", outputs=CACHE_ONLY)
    blob = files_of(shared, "blobs")[0]
    for path in files_of(shared, "steps"):
        path.write_text(json.dumps({"format": 2, "pieces": [f"sha256:{blob.name}"]}))
    for path in files_of(shared, "blobs"):
        os.utime(path, (1, 1))
    status, shown = care(shared, "prune", "--max-size=0", "--older-than=0.001s")
    assert status == 0, shown
    assert len(files_of(shared, "steps")) == STEPS
    assert files_of(shared, "blobs") == [blob]
    assert "entries of other versions" in care(shared, "ls")[1]


def test_build_under_which_everything_goes_makes_it_anew(shared, care):
    """A hit is a promise that can be revoked: entries were read, then blobs are gone."""
    shared.build("one", tags=("app:1",))
    for path in files_of(shared, "blobs"):
        path.unlink()
    result = shared.build("two", tags=("app:1",))
    assert result.config_digest
    assert "done" in shared.hits()


def test_registry_that_refuses_deletes_is_said_once(tmp_path, fake, care):
    farm = Farm(tmp_path, f"registry://{fake.host}/cache/steps")
    farm.build("one", outputs=CACHE_ONLY)
    fake.faults.refuses_delete = True
    fake.seen.clear()
    status, shown = care(farm, "prune", "--older-than=0.001s")
    assert status != 0
    assert "registry.refused" in shown
    assert fake.count("DELETE") == 1


def test_registry_that_lists_nothing_wants_a_scope(tmp_path, fake, care):
    farm = Farm(tmp_path, f"registry://{fake.host}/c/{{scope}}")
    farm.build("one", scope="a@main", outputs=CACHE_ONLY)
    fake.faults.has_no_catalogue = True
    status, shown = care(farm, "ls")
    assert (status, "cache.no-catalogue" in shown) == (2, True)
    assert len(listed(care, farm, "--cache-scope=a@main")) == STEPS


def made_long_ago(fake) -> None:
    """As if all steps had been made 40 days ago."""
    for (repository, tag), (raw, media_type) in list(fake.manifests.items()):
        if tag.startswith("s1-"):
            fake.add_manifest(repository, tag, json.dumps(changed(json.loads(raw), created_at=time.time() - 40 * 86400)).encode(), media_type)


def notes_in(fake) -> list[str]:
    return [tag for _, tag in fake.manifests if tag.startswith("u1-")]


def test_what_was_used_last_goes_last_in_a_registry_too(fake, tmp_path, care):
    farm = Farm(tmp_path, f"registry://{fake.host}/cache/steps")
    farm.build("one", scope="a@main", outputs=CACHE_ONLY)
    farm.build("one", scope="b@main", outputs=CACHE_ONLY, no_cache=True)
    made_long_ago(fake)
    assert notes_in(fake) == []
    fake.seen.clear()
    farm.build("two", scope="a@main", outputs=CACHE_ONLY)
    assert farm.hits() == ["cached"] * STEPS
    assert len([seen for seen in fake.seen if seen.method == "PUT"]) == 1
    fake.seen.clear()
    farm.build("two", scope="a@main", outputs=CACHE_ONLY)
    assert fake.seen == []
    farm.build("three", scope="a@main", outputs=CACHE_ONLY)
    assert len(notes_in(fake)) == 1
    used = {item["scope"]: item["last_used"] for item in listed(care, farm)}
    assert (time.time() - used["a@main"] < 86400, time.time() - used["b@main"] > 30 * 86400) == (True, True)
    assert "deleted 4 steps" in care(farm, "prune", "--older-than=30d")[1]
    assert {item["scope"] for item in listed(care, farm)} == {"a@main"}
    care(farm, "prune", "--max-size=1")
    assert notes_in(fake) == []


def test_branch_that_only_reads_main_tells_of_it_in_its_own_repository(fake, tmp_path, care):
    farm = Farm(tmp_path, f"registry://{fake.host}/c/{{scope}}")
    farm.build("one", scope="a@main", outputs=CACHE_ONLY)
    made_long_ago(fake)
    farm.build("two", scope="a@pr", cache_fork_from=("a@main",), outputs=CACHE_ONLY)
    assert (farm.hits(), farm.warnings) == (["cached"] * STEPS, [])
    assert "deleted 0 steps" in care(farm, "prune", "--older-than=30d")[1]


def test_every_place_knows_when_a_step_was_used(any_farm, care):
    any_farm.build("one", scope="a@main", outputs=CACHE_ONLY)
    any_farm.build("two", scope="a@main", outputs=CACHE_ONLY)
    assert {time.time() - item["last_used"] < 86400 for item in listed(care, any_farm)} == {True}
