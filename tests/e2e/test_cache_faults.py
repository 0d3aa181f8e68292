"""Shared caches that fall silent, refuse or lie, as a user meets them: the build goes on in bounded time, and its metadata file says what was wrong by code."""

import contextlib
import json
import socket
import time

import pytest
from tests.fakes.registry import FakeRegistry

STEP = (
    "FROM busybox\nRUN --mount=type=cache,target=/c --mount=type=cache,target=/d"
    " mkdir -p /c/j && head -c 6000 /dev/zero > /c/j/{0}.jar && touch /d/{0}; echo {0}\n"
)
SCOPE = "team/app@main"
# a host that never answered is waited for 4.5 s, by all together; the rest is the build and a loaded machine
LONGEST_S = 15.0


def shared(address):
    return ("--cache-remote", address, "--cache-scope", SCOPE)


def codes(done):
    """(what happened, why) of each warning."""
    return sorted((item["code"], item.get("cause", "")) for item in done.metadata.get("chandlery.warnings", ()))


@contextlib.contextmanager
def silent(kind):
    """A port behind which nobody answers: connections are taken and nothing is said, or packets are dropped since the backlog is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(128 if kind == "never answers" else 0)
        if kind == "drops packets":
            for _ in range(4):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(server.getsockname())
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["never answers", "drops packets"])
def test_a_remote_that_says_nothing_costs_some_seconds_once_and_one_warning(builder, kind):
    with silent(kind) as host:
        began = time.monotonic()
        done = builder.build(STEP.format("a"), *shared(f"registry://{host}/cache"), env={"CI": "1"})
        took_s = time.monotonic() - began
    assert done.status == 0, done.err
    assert done.ran
    assert took_s < LONGEST_S
    assert codes(done) == [("cache.unavailable", "")]


def test_a_remote_that_falls_silent_during_a_build_is_given_up_when_the_build_has_waited_long_enough(builder):
    with FakeRegistry() as fake:
        address = f"registry://{fake.host}/cache"
        assert builder.build(STEP.format("a"), *shared(address)).status == 0
        metadata = builder.directory / "late.json"
        step = "FROM busybox\nRUN --mount=type=cache,target=/c echo is-$((40+2)); sleep 1; head -c 6000 /dev/zero > /c/late.jar\n"
        process = builder.start(step, *shared(address), "--cache-publish-timeout=2s", "--metadata-file", str(metadata))
        said = ""
        while "is-42" not in said:
            said += (line := process.stderr.readline())
            assert line, said
        fake.faults.delay_s = 300.0
        began = time.monotonic()
        _, rest = process.communicate(timeout=60)
        took_s = time.monotonic() - began
        fake.released.set()
    assert process.returncode == 0, said + rest
    # 1 s of the step, 2 s of patience, and what ends the requests that are under way
    assert took_s < 20
    found = {item["code"] for item in json.loads(metadata.read_text())["chandlery.warnings"]}
    assert found == {"cache.unpublished", "volume.late"}


FAULTS = {
    "read-only": ("is_read_only", True, {("cache.read-only", ""), ("cache.unpublished", ""), ("volume.read-only", "registry.denied")}),
    "full": ("is_full", True, {("cache.unpublished", ""), ("volume.not-published", "registry.unavailable")}),
    "lies": ("wrong_bytes", True, {("cache.lost-layer", ""), ("volume.not-whole", "registry.wrong-digest")}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_registry_does_wrong_is_told_by_code(builder, busybox_archive, fault):
    name, setting, expected = FAULTS[fault]
    with FakeRegistry() as fake:
        address = f"registry://{fake.host}/cache"
        assert codes(builder.build(STEP.format("a"), *shared(address), "--cache-publish-timeout=60s")) == []
        builder.env["CHANDLERY_ROOT"] = str(builder.directory / "two")
        assert builder.run("load", "-q", "-i", str(busybox_archive)).returncode == 0
        setattr(fake.faults, name, setting)
        done = builder.build(
            STEP.format("a") + "RUN --mount=type=cache,target=/c head -c 6000 /dev/zero > /c/more.jar\n", *shared(address), "--cache-publish-timeout=60s"
        )
    assert done.status == 0, done.err
    assert set(codes(done)) == expected


def test_a_failed_build_says_whose_caches_it_used_and_why(builder):
    address = f"file://{builder.directory}/share"
    done = builder.build("FROM busybox\nRUN false\n", *shared(address))
    assert done.code == "step.failed"
    assert f" cache   scope {SCOPE} (--cache-scope)\n" in done.err
    done = builder.build("FROM busybox\nRUN false\n", "--cache-remote", address)
    assert "scope local/context (guessed from the directory's name" in done.err
    assert " cache " not in builder.build("FROM busybox\nRUN false\n").err
