"""A step that downloads into a tool's cache where nothing is mounted: the build says how much is in the layer, and which mount keeps it."""

import pytest

JAR = "/root/.m2/repository/org/example/lib/1"
DOWNLOAD = "mkdir -p {0} && head -c 3000000 /dev/urandom > {0}/file"
MAVEN = DOWNLOAD.format(JAR)
NPM = DOWNLOAD.format("/root/.npm/_cacache/content-v2/sha512/ab/cd")
ADVICE = "keeps them for other builds"


@pytest.mark.parametrize(("command", "target"), [(MAVEN, "/root/.m2"), (NPM, "/root/.npm")])
def test_the_size_and_the_mount_to_add_are_told_where_the_step_runs_and_not_on_a_hit(builder, command, target):
    first = builder.build(f"FROM busybox\nRUN {command}\n")
    assert first.status == 0, first.err
    assert f"3.0 MB that this step downloaded into {target} are in its layer; --mount=type=cache,target={target} keeps them for other builds" in first.err
    assert ADVICE not in builder.build("").err


def test_each_tool_of_one_step_is_told(builder):
    done = builder.build(f"FROM busybox\nRUN {MAVEN} && {NPM}\n")
    assert [target for target in ("/root/.m2", "/root/.npm") if f"downloaded into {target} " in done.err] == ["/root/.m2", "/root/.npm"]


def test_with_the_mount_that_was_told_nothing_is_left_to_say(builder):
    done = builder.build(f"FROM busybox\nRUN --mount=type=cache,target=/root/.m2 {MAVEN}\n")
    assert done.status == 0, done.err
    assert ADVICE not in done.err


def test_what_the_base_has_and_small_files_are_not_told(builder):
    text = f"FROM busybox\nRUN {MAVEN}\nRUN echo x > {JAR}/x && touch {JAR}/file\nRUN mkdir -p /src && head -c 3000000 /dev/urandom > /src/x\n"
    builder.build("\n".join(text.split("\n")[:2]) + "\n")
    assert ADVICE not in builder.build(text.replace(f" && touch {JAR}/file", "")).err
