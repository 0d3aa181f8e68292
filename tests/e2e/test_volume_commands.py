"""`chandlery volume`: what one sees of cache volumes, and what one may take out of them."""

import json
import socket

import pytest

FILL = """FROM busybox
RUN --mount=type=cache,target=/c mkdir -p /c/org/a /c/org/b && head -c 9000 /dev/zero > /c/org/a/a.jar && echo sum > /c/org/a/a.jar.sha1 \
 && head -c 7000 /dev/zero > /c/org/b/b.jar
"""
READ = FILL + "RUN --mount=type=cache,target=/c cat /c/org/a/a.jar > /dev/null\n"


@pytest.fixture
def filled(builder):
    done = builder.build(READ)
    assert done.status == 0, done.err
    builder.filled = done
    return builder


def told(builder, *arguments):
    """What a command prints with --format json, object by object."""
    done = builder.run("volume", *arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def code(builder, *arguments):
    done = builder.run("volume", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    return done.stderr.partition("code: ")[2].partition(",")[0]


def age(builder, days):
    """Let everything that this store knows of its volumes be so many days older."""
    import os

    from chandlery.volume import reads

    day = reads.today() - days
    for path in builder.store.glob("volumes/*/*/table.json"):
        os.utime(path, (day * reads.DAY_S, day * reads.DAY_S))
    for path in builder.store.glob("volumes/*/reads"):
        path.write_bytes(b'{"format": 1, "began": %d, "blind": 0}\n' % day)


def test_the_metadata_file_tells_what_each_step_had_of_its_volume(filled):
    steps = {step["name"].partition("] ")[2].rpartition("RUN ")[2][:40]: step.get("volumes") for step in filled.filled.metadata["chandlery.build"]["steps"]}
    first, second = (volumes[0] for volumes in steps.values() if volumes)
    assert (first["files_added"], first["bytes_added"], first["files_served"]) == (3, 16004, 0)
    assert (second["files_added"], second["files_served"], second["bytes_served"]) == (0, 1, 9000)


def test_the_summary_has_one_line_for_a_volume(filled):
    lines = [line for line in filled.filled.err.splitlines() if line.startswith(" volume")]
    assert lines == [" volume  /c: 1 file read (9kB), 3 files added (16kB)"]


def test_rawjson_tells_it_as_an_event(builder):
    done = builder.build(FILL, "--progress=rawjson")
    used = [event for line in done.err.splitlines() if (event := json.loads(line))["event"] == "volume-used"]
    assert [(event["name"], event["added_files"], event["scope"]) for event in used] == [("/c", 3, "machine")]


def test_ls_lists_and_show_explains(filled):
    (row,) = told(filled, "ls")
    assert (row["name"], row["scope"], row["files"], row["size"], row["writers"]) == ("/c", "machine", 3, 16004, 1)
    (shown,) = told(filled, "show", row["id"][:5])
    assert [(use["served_files"], use["added_files"]) for use in shown["history"]] == [(0, 3), (1, 0)]
    assert [(by["files"], by["here"]) for by in shown["by"]] == [(3, True)]
    assert shown["trim"]["files"] == 0
    assert {entry["path"] for entry in told(filled, "show", "/c", "--files") if entry["type"] == "file"} == {
        "org/a/a.jar",
        "org/a/a.jar.sha1",
        "org/b/b.jar",
    }
    text = filled.run("volume", "show", "machine:/c").stdout
    assert "3 files" in text
    assert "A trim would remove what no build read for 30d: nothing" in text


def test_a_store_without_volumes_has_nothing_to_list(builder):
    assert told(builder, "ls") == []
    assert told(builder, "verify") == []
    assert told(builder, "trim", "--all", "--unused-for", "1d") == []


SLIPS = [
    (["show", "/d"], "volume.unknown"),
    (["show", "/c", "--format", "yaml"], "request.bad-format"),
    (["show", "/c", "--unused-for", "soon"], "request.bad-duration"),
    (["trim", "/c"], "request.usage"),
    (["trim", "--unused-for", "3d"], "request.usage"),
    (["trim", "/c", "--all", "--unused-for", "3d"], "request.usage"),
    (["trim", "/c", "--unused-for", "-3d"], "request.bad-duration"),
    (["rm", "/c", "org/a/b.jar"], "volume.no-path"),
    (["rm", "/c", "../etc"], "volume.bad-path"),
    (["rm"], "request.usage"),
    (["fork", "machine", "machine", "/c"], "volume.same-scope"),
    (["fork", "nowhere", "machine", "/c"], "volume.unknown"),
    (["fork", "machine", "/c"], "request.usage"),
    (["verify", "/c", "more"], "request.usage"),
    (["rn", "/c"], "request.unknown-command"),
]


def test_slips_are_answered_and_nothing_is_done(filled):
    assert [code(filled, *arguments) for arguments, _ in SLIPS] == [expected for _, expected in SLIPS]
    assert told(filled, "ls")[0]["files"] == 3


def test_a_path_goes_and_the_next_build_does_without(filled):
    assert filled.run("volume", "rm", "/c", "/c/org/a").returncode == 0
    done = filled.build("FROM busybox\nRUN --mount=type=cache,target=/c find /c -type f > /list\n", "-o", str(filled.directory / "out"))
    assert done.status == 0, done.err
    assert (filled.directory / "out/list").read_text().split() == ["/c/org/b/b.jar"]


def test_a_whole_volume_goes(filled):
    assert filled.run("volume", "rm", "/c").returncode == 0
    assert told(filled, "ls") == []
    assert [path for path in filled.store.glob("objects/*/*") if path.is_file()] == []


def test_a_fork_shares_files_and_goes_its_own_way(filled):
    assert filled.run("volume", "fork", "machine", "feature", "/c").returncode == 0
    assert code(filled, "fork", "machine", "feature", "/c") == "volume.exists"
    assert code(filled, "show", "/c") == "volume.ambiguous"
    assert filled.run("volume", "rm", "feature:/c", "org").returncode == 0
    assert len(told(filled, "show", "machine:/c", "--files")) == 6


def test_trim_takes_what_nobody_read_and_leaves_what_was_read(filled):
    filled.build("FROM busybox\nRUN --mount=type=cache,target=/c cat /c/org/a/a.jar > /dev/null; true 1\n")
    age(filled, 40)
    filled.build("FROM busybox\nRUN --mount=type=cache,target=/c cat /c/org/a/a.jar > /dev/null; true 2\n")
    (planned,) = told(filled, "trim", "/c", "--unused-for", "30d", "--dry-run")
    assert (planned["paths"], planned["files"], planned["size"]) == (["org/b"], 1, 7000)
    assert told(filled, "show", "/c")[0]["trim"]["paths"] == ["org/b"]
    assert told(filled, "ls")[0]["files"] == 3
    assert told(filled, "trim", "--all", "--unused-for", "30d")[0]["paths"] == ["org/b"]
    assert {entry["path"] for entry in told(filled, "show", "/c", "--files")} == {"org", "org/a", "org/a/a.jar", "org/a/a.jar.sha1"}
    assert told(filled, "trim", "/c", "--unused-for", "30d")[0]["files"] == 0


def test_a_build_beside_a_trim_sees_what_it_began_with_and_keeps_what_it_adds(filled):
    age(filled, 40)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(50)
        waits = f"nc 127.0.0.1 {server.getsockname()[1]} < /dev/null; cat /c/org/b/b.jar > /dev/null && echo new > /c/org/b/new"
        with filled.start(f"FROM busybox\nRUN --mount=type=cache,target=/c {waits}\n", "--network=host") as running:
            try:
                step, _ = server.accept()
                with step:
                    done = filled.run("volume", "trim", "/c", "--unused-for", "30d")
                _, errors = running.communicate(timeout=50)
            finally:
                running.kill()
    assert done.returncode == 0, done.stderr
    assert "removed 3 files" in done.stdout
    assert running.returncode == 0, errors
    files = {entry["path"] for entry in told(filled, "show", "/c", "--files") if entry["type"] == "file"}
    assert files == {"org/b/new"}


def test_damage_is_found_dropped_and_gone(filled):
    damaged = next(filled.store.glob("volumes/*/*/fs/org/b/b.jar"))
    content = damaged.read_bytes()
    damaged.write_bytes(b"x" + content[1:-1])
    looked = filled.run("volume", "verify", "--dry-run", "/c")
    assert looked.returncode == 1
    assert "org/b/b.jar" in looked.stdout
    (repaired,) = told(filled, "verify", "/c")
    assert (repaired["damaged"], repaired["dropped"], repaired["remaining"]) == (["org/b/b.jar"], ["org/b/b.jar"], 0)
    assert filled.run("volume", "verify").returncode == 0
    assert {entry["path"] for entry in told(filled, "show", "/c", "--files") if entry["type"] == "file"} == {"org/a/a.jar", "org/a/a.jar.sha1"}


def test_a_lost_layer_is_dropped(filled):
    next(filled.store.glob("volumes/*/*/table.json")).write_text("no table")
    (repaired,) = told(filled, "verify", "/c")
    assert (repaired["lost_layers"], repaired["remaining"]) == (1, 0)
    assert filled.build(READ, "--no-cache=steps").status == 0


def test_a_volume_that_grows_too_large_loses_what_was_read_the_longest_ago(filled):
    config = filled.directory / ".config/chandlery/chandlery.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[volumes]\nmax-size = "20k"\n')
    age(filled, 3)
    done = filled.build("FROM busybox\nRUN --mount=type=cache,target=/c cat /c/org/b/b.jar > /dev/null; head -c 8000 /dev/zero > /c/new\n")
    assert done.status == 0, done.err
    assert [line for line in done.err.splitlines() if line.startswith(" warning")] == [
        " warning cache volume /c was larger than 20 KiB: 2 files (9 KiB) went, those that were read the longest ago"
    ]
    assert {entry["path"] for entry in told(filled, "show", "/c", "--files") if entry["type"] == "file"} == {"new", "org/b/b.jar"}
    done = filled.build("FROM busybox\nRUN --mount=type=cache,target=/c cat /c/org/b/b.jar > /dev/null; true again\n")
    assert "was larger than" not in done.err


@pytest.mark.parametrize(("text", "code"), [("max-size = 'much'", "request.bad-size"), ("most = '1k'", "config.unknown-key")])
def test_a_bad_size_is_refused(builder, text, code):
    config = builder.directory / ".config/chandlery/chandlery.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f"[volumes]\n{text}\n")
    done = builder.build(FILL)
    assert (done.status, done.code or code) == (2, code)
    assert code in done.err


def test_names_of_files_do_nothing_to_the_terminal(builder):
    done = builder.build("FROM busybox\nRUN --mount=type=cache,target=/c touch \"$(printf '/c/a\\033[31m\\nb')\" \"$(printf '/c/\\377')\"\n")
    assert done.status == 0, done.err
    listed = builder.run("volume", "show", "/c", "--files").stdout
    assert [line.rpartition("  ")[2] for line in listed.splitlines()] == ["a\\x1b[31m\\nb", "\\xff"]
    assert {entry["path"] for entry in told(builder, "show", "/c", "--files")} == {"a\x1b[31m\nb", "\udcff"}
