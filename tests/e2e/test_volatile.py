"""Steps that resolved mutable names: said, reused for a while, and run again after that, here and from what machines share."""

import time

import pytest
from tests.e2e.conftest import text_of

SNAPSHOT = "/c/repository/g/lib/1-SNAPSHOT"
FILES = f"echo r > {SNAPSHOT}/resolver-status.properties; echo '<m/>' > {SNAPSHOT}/maven-metadata-acme.xml"
FETCH = f"mkdir -p {SNAPSHOT}; {FILES}; cat /proc/sys/kernel/random/uuid > {SNAPSHOT}/lib-1-SNAPSHOT.jar"
MOUNT = "RUN --mount=type=cache,id=m2,target=/c"
TEXT = f"FROM busybox\n{MOUNT} {FETCH}; cp {SNAPSHOT}/*.jar /jar\nRUN cat /jar > /used\n"


def observed(done, step: str) -> list[dict]:
    return [item for found in done.metadata["chandlery.build"]["steps"] if step in found["name"] for item in found.get("observed", ())]


@pytest.fixture
def outdated():
    """Flags with which what was resolved before this moment is too old."""

    def wait() -> str:
        time.sleep(1.1)
        return "--volatile-max-age=1s"

    return wait


def test_step_that_took_a_snapshot_says_so(builder):
    done = builder.build(TEXT)
    assert [(item["kind"], item["url"]) for item in observed(done, "--mount")] == [("maven-snapshot", "g:lib:1-SNAPSHOT")]
    assert [item["of"].partition("] ")[2] for item in observed(done, "/used")] == [TEXT.split("\n")[1]]
    assert "g:lib:1-SNAPSHOT" in done.err
    again = builder.build(TEXT)
    assert again.ran == set()
    assert observed(again, "/used")


def test_a_step_that_only_lists_what_a_volume_holds_depends_on_it(builder):
    versions = "/c/cache/download/g/@v"
    builder.build(TEXT)
    builder.build(f"FROM busybox\n{MOUNT} mkdir -p {versions}; echo v1 > {versions}/list\n")
    done = builder.build(f"FROM busybox\n{MOUNT} true\n{MOUNT} ls {SNAPSHOT} > /l\n{MOUNT} ls /c\n")
    own = [[item["url"] for item in observed(done, step) if "of" not in item] for step in ("2/4]", "3/4]", "4/4]")]
    assert own[0] == []
    assert "g:lib:1-SNAPSHOT" in own[1]
    assert "g" in own[2]
    assert "g:lib:1-SNAPSHOT" not in own[2]
    assert [use["files_served"] for step in done.metadata["chandlery.build"]["steps"] for use in step.get("volumes", ())] == [0, 0, 0]


def test_what_stands_on_an_old_snapshot_runs_again(builder, outdated):
    first = text_of(builder.tree(TEXT), "used")
    flag = outdated()
    second = text_of(builder.tree(TEXT, flag), "used")
    assert second != first
    third = builder.tree(TEXT, "--volatile-max-age=1h")
    assert text_of(third, "used") == second


def test_unchanged_output_of_an_outdated_step_renews_what_stands_on_it(builder, outdated):
    text = f"FROM busybox\n{MOUNT} {FETCH}; echo same > /jar\nRUN cat /jar /proc/sys/kernel/random/uuid > /used\nRUN echo end > /end\n"
    first = builder.build(text)
    again = builder.build(text, outdated())
    assert len(again.ran) == 1
    assert again.image_id == first.image_id
    third = builder.build(text)
    assert third.ran == set()
    assert observed(third, "/end")[0]["checked_at"] > observed(first, "/end")[0]["checked_at"] + 1


def test_selection_of_an_outdated_stage_is_found_by_its_content(builder, outdated):
    text = f"FROM busybox AS make\n{MOUNT} {FETCH}; echo same > /jar\nFROM busybox\nCOPY --from=make /jar /\nRUN cat /proc/sys/kernel/random/uuid > /u\n"
    first = builder.build(text)
    again = builder.build(text, outdated())
    assert len(again.ran) == 1
    assert again.image_id == first.image_id


def test_volume_that_holds_a_snapshot_counts_for_whoever_mounts_it(builder):
    builder.build(TEXT)
    done = builder.build(f"FROM busybox\n{MOUNT} cat {SNAPSHOT}/*.jar > /offline\n")
    assert [item["url"] for item in observed(done, "/offline")] == ["g:lib:1-SNAPSHOT"]
    assert not observed(builder.build("FROM busybox\nRUN --mount=type=cache,id=other,target=/c echo x > /c/y\n"), "RUN")


def test_snapshot_that_a_step_did_not_open_does_not_count_for_it(builder):
    builder.build(TEXT.replace("; cp", "; mkdir -p /c/repository/g/rel/1; echo r > /c/repository/g/rel/1/rel-1.jar; cp"))
    assert not observed(builder.build(f"FROM busybox\n{MOUNT} echo nothing > /offline\n"), "/offline")
    assert not observed(builder.build(f"FROM busybox\n{MOUNT} cat /c/repository/g/rel/1/rel-1.jar > /offline\n"), "/offline")
    assert observed(builder.build(f"FROM busybox\n{MOUNT} cat /c/repository/g/rel/1/rel-1.jar {SNAPSHOT}/*.jar > /offline\n"), "/offline")
    assert observed(builder.build(f"FROM busybox\n{MOUNT} cat {SNAPSHOT}/*.jar > /out; touch {SNAPSHOT}/*.jar\n"), "/out")
    assert observed(builder.build(f"FROM busybox\n{MOUNT} mv /c/repository/g /c/else; cat /c/else/lib/*/*.jar > /moved\n"), "/moved")


def test_cache_in_the_step_s_own_layer_is_looked_at(builder):
    done = builder.build(f"FROM busybox\nRUN {FETCH}\n")
    assert observed(done, "RUN")
    done = builder.build("FROM busybox\nRUN mkdir -p /var/lib/apt/lists; echo 1 > /var/lib/apt/lists/x; rm -rf /var/lib/apt/lists/*\n")
    assert [item["kind"] for item in observed(done, "RUN")] == ["apt-release"]


def test_outdated_step_from_another_machine_is_made_anew_and_replaced(builder, tmp_path, busybox_archive, outdated):
    remote = ["--cache-remote", f"file://{tmp_path}/share", "--cache-scope=s", "-o", "type=cacheonly", "--cache-publish-timeout=30s"]
    for machine in ("one", "two", "three"):
        assert builder.run("load", "-q", "-i", str(busybox_archive), env={"CHANDLERY_ROOT": str(tmp_path / machine)}).returncode == 0

    def build(machine: str, *flags: str):
        return builder.build(TEXT, *remote, *flags, env={"CHANDLERY_ROOT": str(tmp_path / machine)})

    build("one")
    assert build("two").ran == set()
    made = build("two", outdated())
    assert len(made.ran) == 2
    found = build("three")
    assert found.ran == set()
    assert observed(found, "/used") == observed(made, "/used")
