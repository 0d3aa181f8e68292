"""`chandlery volume` between machines: several stores and a directory or a registry that they share."""

import json
import shutil

import pytest

STEP = "FROM busybox\nRUN --mount=type=cache,target=/c mkdir -p /c/d && head -c 6000 /dev/zero > /c/d/{0}.jar && find /c -type f | sort > /list; echo {0}\n"
SCOPE = "team/app@main"


class Machines:
    def __init__(self, builder, archive, address):
        self.builder, self.archive, self.address = builder, archive, address
        self.on("one")

    def on(self, name):
        store = self.builder.directory / name
        is_new = not store.exists()
        self.builder.store = store
        self.builder.env["CHANDLERY_ROOT"] = str(store)
        if is_new:
            assert self.builder.run("load", "-q", "-i", str(self.archive)).returncode == 0
        return self

    def build(self, name, *arguments):
        """A build that adds a jar; the jars that its step saw."""
        out = self.builder.directory / "out"
        shared = ("--cache-remote", self.address, "--cache-scope", SCOPE, "--cache-publish-timeout=60s", "-o", f"type=local,dest={out}")
        done = self.builder.build(STEP.format(name), *shared, *arguments)
        assert done.status == 0, done.err
        return set((out / "list").read_text().split())

    def volume(self, action, *arguments, status=0, remote=True):
        """What a volume command prints with --format json."""
        where = ("--cache-remote", self.address) if remote else ()
        done = self.builder.run("volume", action, *arguments, *where, "--format", "json")
        assert done.returncode == status, done.stdout + done.stderr
        self.err = done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def files(self):
        return {entry["path"] for entry in self.volume("show", "/c", "--files", remote=False) if entry["type"] == "file"}


@pytest.fixture
def machines(builder, busybox_archive):
    return Machines(builder, busybox_archive, f"file://{builder.directory}/share")


def test_push_and_pull_carry_a_volume_through_a_registry(registry, builder, busybox_archive):
    machines = Machines(builder, busybox_archive, f"registry://{registry}/{builder.directory.name.lower()}" + "/{scope}")
    machines.builder.build(STEP.format("a"), "--cache-scope", SCOPE)
    (pushed,) = machines.volume("push", "/c")
    assert (pushed["files"], pushed["scope"]) == (1, SCOPE)
    assert machines.volume("push", "/c")[0]["files"] == 0
    machines.on("two")
    (pulled,) = machines.volume("pull", "/c", "--cache-scope", SCOPE)
    assert (pulled["files"], pulled["size"]) == (1, 6000)
    assert machines.files() == {"d/a.jar"}
    assert machines.volume("pull", f"{SCOPE}:/c")[0]["files"] == 0


def test_pull_takes_place_and_scope_from_the_configuration(machines):
    machines.build("a")
    machines.on("two")
    home = machines.builder.directory / ".config/chandlery"
    home.mkdir(parents=True)
    (home / "chandlery.toml").write_text(f'[build]\ncache-remote = "{machines.address}"\ncache-scope = "{SCOPE}"\n')
    assert machines.volume("pull", "/c", remote=False)[0]["files"] == 1


def test_a_bad_jar_goes_from_what_a_fresh_machine_gets(machines):
    machines.build("bad")
    machines.on("two").build("good")
    (removed,) = machines.volume("rm", "/c", "/c/d/bad.jar")
    assert (removed["files"], removed["not_published"]) == (1, "")
    assert machines.on("three").build("c") == {"/c/d/c.jar", "/c/d/good.jar"}


def test_a_bad_jar_that_only_others_have_is_found_and_goes(machines):
    machines.build("good")
    machines.on("two").build("bad")
    machines.on("one")
    assert machines.files() == {"d/good.jar"}
    machines.volume("rm", "/c", "d/bad.jar")
    assert machines.on("three").build("c") == {"/c/d/c.jar", "/c/d/good.jar"}


def test_a_bad_jar_goes_from_a_machine_that_has_it(machines):
    machines.build("bad")
    machines.on("two").build("good")
    machines.on("three").build("c")
    machines.on("two").volume("rm", "/c", "d/bad.jar")
    assert machines.on("one").build("d") == {"/c/d/c.jar", "/c/d/d.jar", "/c/d/good.jar"}
    machines.on("three").volume("pull", "/c")
    assert machines.files() == {"d/c.jar", "d/d.jar", "d/good.jar"}


def test_a_removal_that_nobody_hears_of_says_so(machines):
    machines.build("bad")
    assert machines.volume("rm", "/c", "d/bad.jar", remote=False)[0]["not_published"] == "there is no place where volumes are shared"
    machines.build("worse")
    shutil.rmtree(machines.builder.directory / "share")
    (machines.builder.directory / "share").write_text("no directory")
    (removed,) = machines.volume("rm", "/c", "d/worse.jar", status=69)
    assert removed["not_published"]
    assert machines.files() == set()


def test_trim_is_published_too(machines):
    from tests.e2e.test_volume_commands import age

    machines.build("old")
    age(machines.builder, 40)
    assert machines.volume("trim", "/c", "--unused-for", "30d")[0]["files"] == 1
    assert machines.on("two").build("new") == {"/c/d/new.jar"}


def test_a_trim_hears_of_branches_that_it_is_told_of(machines):
    from tests.e2e.test_volume_commands import age

    machines.build("old")
    shared = (
        "--cache-remote",
        machines.address,
        "--cache-scope=team/app@pr",
        f"--cache-fork-from={SCOPE}",
        "--cache-publish-timeout=60s",
        "-o",
        "type=cacheonly",
    )
    read = machines.on("two").builder.build("FROM busybox\nRUN --mount=type=cache,target=/c cat /c/d/old.jar > /dev/null && touch /c/mine\n", *shared)
    assert read.status == 0, read.err
    machines.on("one")
    age(machines.builder, 40)
    unused = ("trim", "/c", "--unused-for", "30d")
    assert machines.volume(*unused, "--dry-run")[0]["files"] == 1
    assert machines.volume(*unused, "--read-by=team/app@nobody", "--dry-run")[0]["files"] == 1
    assert "team/app@nobody has no cache volume /c" in machines.err
    assert machines.volume(*unused, "--read-by=team/app@pr")[0]["files"] == 0
    assert machines.files() == {"d/old.jar"}


def test_damage_is_fetched_again_from_those_who_have_it(machines):
    machines.build("a")
    damaged = next(machines.builder.store.glob("volumes/*/*/fs/d/a.jar"))
    damaged.write_bytes(b"x" * 5999)
    (repaired,) = machines.volume("verify", "/c")
    assert (repaired["fetched"], repaired["dropped"], repaired["remaining"]) == (["d/a.jar"], [], 0)
    assert machines.files() == {"d/a.jar"}
    assert machines.build("b") == {"/c/d/a.jar", "/c/d/b.jar"}


def test_what_a_pull_of_a_build_brought_is_counted_for_its_step(machines):
    machines.build("a")
    machines.on("two").build("b")
    (shown,) = machines.volume("show", "/c", remote=False)
    assert [(use["fetched_files"], use["added_files"]) for use in shown["history"]] == [(1, 1)]
    assert len(shown["by"]) == 2


def test_a_build_that_fails_tells_what_it_fetched_and_shared(machines):
    machines.build("a")
    step = "FROM busybox\nRUN touch /before\nRUN --mount=type=cache,target=/c cat /c/d/a.jar > /dev/null && head -c 3000 /dev/zero > /c/b.jar && {}\n"
    shared = ("--cache-remote", machines.address, "--cache-scope", SCOPE, "--cache-publish-timeout=60s", "-o", "type=cacheonly")
    failed = machines.on("two").builder.build(step.format("false"), *shared)
    assert failed.status == 1
    assert " volume  /c: 1 file read (6kB), 1 file fetched (6kB), 1 file added (3kB)" in failed.err
    assert "Failed after" in failed.err
    document = failed.metadata
    assert document["chandlery.error"]["code"] == "step.failed"
    (volume,) = document["chandlery.cache"]["volumes"]
    assert (volume["files_fetched"], volume["bytes_fetched"], document["chandlery.cache"]["steps_published"]) == (1, 6000, 1)
    (use,) = next(item["volumes"] for item in document["chandlery.build"]["steps"] if item["outcome"] == "failed")
    assert (use["files_served"], use["files_fetched"]) == (1, 1)
    # what came then is here now
    mended = machines.builder.build(step.format("true"), *shared)
    assert mended.status == 0
    assert " volume  /c: " in mended.err
    assert "fetched" not in mended.err.partition(" volume  /c: ")[2].partition("\n")[0]
    assert machines.volume("ls", "/c", remote=False)[0]["served"] < 0.7


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["pull", "/c"], "request.no-cache-remote"),
        (["push", "/c"], "request.no-cache-remote"),
        (["pull", "/c", "--cache-remote", "file:///tmp"], "volume.no-scope"),
        (["push", "/c", "--cache-remote", "file:///tmp"], "volume.unknown"),
        (["pull", "/c", "--cache-remote", "nowhere", "--cache-scope", "a/b"], "request.bad-cache-remote"),
    ],
)
def test_slips(builder, arguments, code):
    done = builder.run("volume", *arguments)
    assert done.returncode == 2
    assert f"code: {code}" in done.stderr


def test_an_unreachable_place_is_an_error(builder):
    done = builder.run("volume", "pull", "/c", "--cache-scope", "a/b", "--cache-remote", "registry://127.0.0.1:1/cache")
    assert done.returncode == 69
    assert "code: volume.not-fetched" in done.stderr


def test_a_machines_own_volume_is_not_pushed(machines):
    assert machines.builder.build(STEP.format("a")).status == 0
    done = machines.builder.run("volume", "push", "/c", "--cache-remote", machines.address)
    assert done.returncode == 2
    assert "volume fork machine SCOPE /c" in done.stderr
