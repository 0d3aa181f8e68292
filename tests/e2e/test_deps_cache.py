"""--deps-cache: dependencies in a tar or a directory on a share, for Dockerfiles without cache mounts."""

import os
import re
import shutil
import subprocess
import sys

import pytest

STEP = "FROM busybox\nARG TURN\nRUN {command}\n"


class Share:
    """A directory that machines see, and builds that keep /root/.m2 in it; `machine` names the store."""

    def __init__(self, builder, directory):
        self.builder = builder
        self.directory = directory
        self.turn = 0
        directory.mkdir()
        # a disk that is nearly full must not take away what the next build is to find
        config = builder.directory / "roomy.toml"
        config.write_text('[prune]\nmax-used-space = "100GB"\n')
        builder.env["CHANDLERY_CONFIG"] = str(config)

    def run(self, command, *arguments, machine="a", kind="tar", env=None, dockerfile=STEP):
        self.turn += 1
        store = self.builder.directory / f"store-{machine}"
        if not store.exists():
            shutil.copytree(self.builder.store, store)
        given = ("--network=none", "--root", str(store), "--build-arg", f"TURN={self.turn}", "--deps-cache", f"{kind}:{self.directory}", *arguments)
        return self.builder.build(dockerfile.format(command=f": $TURN; {command}"), *given, env=env)

    def tars(self):
        return sorted(path for path in self.directory.iterdir() if path.name.endswith(".tar.zst"))

    def state(self):
        """What changes when a tar is replaced."""
        return [(path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in self.tars()]


@pytest.fixture
def share(builder, tmp_path):
    return Share(builder, tmp_path / "share")


def add(name, text="jar"):
    return f"mkdir -p /root/.m2/r && echo {text} > /root/.m2/r/{name}"


def has(*names):
    return " && ".join(f"grep -q . /root/.m2/r/{name}" for name in names)


def warnings(done):
    return [item["short"] for item in done.metadata.get("buildx.build.warnings", ())]


def test_another_machine_finds_what_a_step_left_and_the_layer_has_none_of_it(share):
    assert share.run(add("a.jar")).status == 0
    assert len(share.tars()) == 1
    done = share.run(f"{has('a.jar')} && {add('b.jar')}", machine="b")
    assert done.status == 0, done.err
    done = share.run(f"{has('a.jar', 'b.jar')} && touch /kept")
    assert done.status == 0, done.err
    tree = share.builder.tree(
        "", "--root", str(share.builder.directory / "store-a"), "--build-arg", f"TURN={share.turn}", "--deps-cache", f"tar:{share.directory}"
    )
    assert "kept" in tree
    assert not [path for path in tree if "m2" in path]
    assert warnings(done) == []


def test_an_unchanged_tar_is_neither_written_nor_unpacked_again(share):
    share.run(add("a.jar"))
    share.run(has("a.jar"), machine="b")
    # its content is taken away, so that unpacking would fail
    tar = share.tars()[0]
    size = tar.stat().st_size
    with tar.open("r+b") as file:
        file.seek(256)
        file.write(bytes(size - 256))
    before = share.state()
    for machine in "ab":
        done = share.run(f"{has('a.jar')} && echo jar > /root/.m2/r/a.jar", machine=machine)
        assert (done.status, warnings(done)) == (0, []), done.err
        assert done.metadata["chandlery.build"]["bytes_moved"] == 0
    assert share.state() == before


def test_reading_alone_writes_nothing(share):
    share.run(add("a.jar"))
    before = share.state()
    assert share.run(has("a.jar")).status == 0
    assert share.run(has("a.jar"), machine="b").status == 0
    assert share.state() == before


def test_a_step_that_fails_writes_nothing(share):
    share.run(add("a.jar"))
    before = share.state()
    assert share.run(f"{add('bad.jar')} && false").status == 1
    assert share.state() == before
    done = share.run(f"{has('a.jar')} && test ! -e /root/.m2/r/bad.jar")
    assert done.status == 0, done.err
    assert share.run(f"{add('first.jar')} && false", "--cache-scope", "new").status == 1
    assert share.state() == before


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "directory"])
def test_a_damaged_tar_is_a_miss_with_one_warning_and_is_replaced(share, damage):
    share.run(add("a.jar"))
    tar = share.tars()[0]
    data = tar.read_bytes()
    tar.unlink()
    if damage == "directory":
        tar.mkdir()
    else:
        tar.write_bytes({"cut": data[:-3], "flipped": data[:300] + bytes([data[300] ^ 1]) + data[301:], "empty": b""}[damage])
    two_steps = "FROM busybox\nARG TURN\nRUN {command}\nRUN ls /root/.m2/r\n"
    done = share.run(f"test ! -e /root/.m2/r/a.jar && {add('b.jar')}", machine="b", dockerfile=two_steps)
    assert done.status == 0, done.err
    if damage == "directory":
        assert len(warnings(done)) == 2
        return
    assert len(warnings(done)) == 1
    done = share.run(has("b.jar"), machine="c")
    assert (done.status, warnings(done)) == (0, [])


def test_a_deleted_tar_starts_over(share):
    share.run(add("a.jar"))
    share.tars()[0].unlink()
    done = share.run(f"test ! -e /root/.m2/r/a.jar && {add('b.jar')}")
    assert (done.status, warnings(done)) == (0, [])
    assert share.run(has("b.jar"), machine="b").status == 0


def test_credentials_and_files_with_a_lent_secret_are_not_stored(share):
    secret = "correct-horse-battery"
    dockerfile = "FROM busybox\nARG TURN\nRUN --mount=type=secret,id=key --mount=type=secret,id=key,target=/root/.m2/settings.xml {command}\n"
    command = f"cat /root/.m2/settings.xml > /root/.m2/leak; {add('a.jar')}; echo {secret[::-1]} > /root/.m2/settings-security.xml; echo x > /root/.m2/.netrc"
    done = share.run(command, "--secret", "id=key,env=KEY", env={"KEY": secret}, dockerfile=dockerfile)
    assert done.status == 0, done.err
    done = share.run(f'{has("a.jar")} && ls -A /root/.m2 && test "$(ls -A /root/.m2)" = r', machine="b")
    assert done.status == 0, done.out + done.err


def test_a_step_with_mounts_of_its_own_there_keeps_them(share):
    share.run(add("a.jar"))
    for options in ("type=cache,target=/root/.m2", "type=cache,target=/root/.m2/r", "type=tmpfs,target=/root/.m2/"):
        done = share.run("test ! -e /root/.m2/r/a.jar", dockerfile=f"FROM busybox\nARG TURN\nRUN --mount={options} {{command}}\n")
        assert done.status == 0, done.err


def test_branches_read_what_their_main_branch_left(share):
    share.run(add("a.jar"), "--cache-scope", "app@main")
    done = share.run(f"{has('a.jar')} && {add('b.jar')}", "--cache-scope", "app@new", "--cache-fork-from", "app@main", machine="b")
    assert done.status == 0, done.err
    assert len(share.tars()) == 2
    assert share.run("test ! -e /root/.m2/r/b.jar", "--cache-scope", "app@main").status == 0


@pytest.mark.parametrize(("mode", "sees", "writes"), [("off", False, False), ("local", False, False), ("ro", True, False), ("rw", True, True)])
def test_the_cache_mode_overrides(share, mode, sees, writes):
    share.run(add("a.jar"))
    before = share.state()
    look = has("a.jar") if sees else "test ! -e /root/.m2/r/a.jar"
    done = share.run(f"{look} && {add('b.jar')}", machine="b", env={"CHANDLERY_CACHE": mode})
    assert (done.status, warnings(done)) == (0, [])
    assert (share.state() != before) == writes


def test_a_share_that_is_gone_or_full_of_nonsense_fails_no_build(share):
    share.directory.rmdir()
    for kind in ("tar", "dir"):
        done = share.run("true", kind=kind)
        assert (done.status, len(warnings(done))) == (0, 1), done.err
    share.directory.write_text("a file")
    done = share.run("true")
    assert (done.status, len(warnings(done))) == (0, 1)


def test_configuration_can_name_it(share):
    config = share.builder.directory / "machine.toml"
    config.write_text(f'[build]\ndeps-cache = ["tar:{share.directory},target=/opt/deps"]\n')
    done = share.builder.build("FROM busybox\nRUN echo x > /opt/deps/x\n", "--network=none", env={"CHANDLERY_CONFIG": str(config)})
    assert done.status == 0, done.err
    assert len(share.tars()) == 1
    (share.builder.context / "chandlery.toml").write_text('[build]\ndeps-cache = "tar:/mnt"\n')
    assert share.builder.run("build", ".").returncode == 2


@pytest.mark.parametrize("point", ["deps-cache.unpacked", "deps-cache.written", "volume.renamed"])
def test_a_build_killed_in_between_leaves_the_old_tar_or_the_new(share, point):
    share.run(add("a.jar"))
    done = share.run(f"{has('a.jar')} && {add('b.jar')}", machine="b", env={"CHANDLERY_RACE_KILL": point})
    assert done.status == -9
    done = share.run(f"{has('a.jar')} && {add('c.jar')}", machine="b")
    assert (done.status, warnings(done)) == (0, [])
    done = share.run(has("a.jar", "c.jar"), machine="c")
    assert (done.status, warnings(done)) == (0, [])


def test_machines_that_write_at_once_leave_one_whole_tar(share):
    for machine in "abc":
        share.run(add("a.jar"), machine=machine)
    processes = []
    for machine in "abc":
        share.turn += 1
        context = share.builder.directory / f"context-{machine}"
        context.mkdir()
        (context / "Dockerfile").write_text(
            STEP.format(command=f": {machine}; dd if=/dev/urandom of=/root/.m2/r/{machine} bs=1M count=8 2>/dev/null; echo {machine} > /root/.m2/r/who")
        )
        command = [sys.executable, "-m", "chandlery", "build", "--network=none", "--root", str(share.builder.directory / f"store-{machine}")]
        command += ["--deps-cache", f"tar:{share.directory}", str(context)]
        processes.append(subprocess.Popen(command, env=share.builder.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert [path.name for path in share.directory.iterdir()] == [share.tars()[0].name]
    # the last writer's whole tar: what it says it wrote is there, and sound
    done = share.run('cd /root/.m2/r && test "$(stat -c %s "$(cat who)")" = 8388608 && test -s a.jar', machine="d")
    assert (done.status, warnings(done)) == (0, [])


def test_a_directory_is_mounted_as_it_is(share):
    assert share.run(add("a.jar"), kind="dir").status == 0
    assert (share.directory / "r/a.jar").read_text() == "jar\n"
    assert share.run(f"{has('a.jar')} && {add('b.jar')} && false", kind="dir", machine="b").status == 1
    assert sorted(os.listdir(share.directory / "r")) == ["a.jar", "b.jar"]


def test_a_directory_keeps_no_stubs_and_read_only_mode_writes_nothing_to_it(share):
    secret = "FROM busybox\nARG TURN\nRUN --mount=type=secret,id=key,target=/root/.m2/settings.xml {command}\n"
    done = share.run(
        f"grep -q value /root/.m2/settings.xml && {add('a.jar')}", "--secret", "id=key,env=KEY", kind="dir", env={"KEY": "value"}, dockerfile=secret
    )
    assert done.status == 0, done.err
    assert os.listdir(share.directory) == ["r"]
    done = share.run(f"{has('a.jar')} && {add('b.jar')} && {has('b.jar')}", kind="dir", env={"CHANDLERY_CACHE": "ro"})
    assert done.status == 0, done.err
    assert os.listdir(share.directory / "r") == ["a.jar"]


def test_an_image_that_declares_the_place_a_volume_changes_nothing(share):
    base = "FROM busybox AS base\nVOLUME /root/.m2\nFROM base\nARG TURN\nRUN {command}\n"
    assert share.run(add("a.jar"), dockerfile=base).status == 0
    done = share.run(has("a.jar"), machine="b", dockerfile=base)
    assert done.status == 0, done.err


def test_the_interface_for_programs_takes_the_same(share):
    program = (
        "from chandlery import BuildRequest, build\n"
        "from chandlery.graph.op import Network\n"
        f"build(BuildRequest(context='.', network=Network.NONE, deps_caches=('tar:{share.directory}',)))\n"
    )
    share.builder.write({"Dockerfile": f"FROM busybox\nRUN {add('a.jar')}\n"})
    done = subprocess.run([sys.executable, "-c", program], env=share.builder.env, cwd=share.builder.context, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(share.tars()) == 1


def test_renamed_and_rewritten_directories_are_kept_as_the_step_left_them(share):
    share.run("mkdir -p /root/.m2/one /root/.m2/two && echo 1 > /root/.m2/one/f && echo 2 > /root/.m2/two/f && echo 3 > /root/.m2/three")
    command = "cd /root/.m2 && mv one uno && rm -r two && mkdir two && echo 2 > two/f && echo 4 > uno/g && echo 3 > three && cat uno/f two/f"
    assert share.run(command, machine="b").status == 0
    done = share.run('cd /root/.m2 && test "$(cat uno/f uno/g two/f three | tr -d "\\n")" = 1423', machine="c")
    assert done.status == 0, done.err


def test_what_a_project_installed_itself_stays_in_its_scope(share):
    directory = "/root/.m2/repository/org/own/lib/1"
    tracking = "lib-1.jar>="
    command = f"mkdir -p {directory} && echo jar > {directory}/lib-1.jar && echo '{tracking}' > {directory}/_remote.repositories && {add('a.jar')}"
    share.run(command, "--cache-scope", "app@main")
    done = share.run(f"{has('a.jar')} && test -e {directory}/lib-1.jar", "--cache-scope", "app@main", machine="b")
    assert done.status == 0, done.err
    branch = ("--cache-scope", "app@new", "--cache-fork-from", "app@main")
    done = share.run(f"{has('a.jar')} && test ! -e {directory}/lib-1.jar", *branch, machine="c")
    assert done.status == 0, done.err


@pytest.mark.parametrize("scope", [(), ("--cache-scope", "app@main")])
def test_a_failed_step_that_is_run_again_has_it_too(share, scope):
    share.run(add("a.jar"), *scope)
    before = share.state()
    failed = share.run(f"{has('a.jar')} && {add('bad.jar')} && false", *scope)
    build = re.search(r"chandlery run --failed (\w+)", failed.err)[1]
    store = str(share.builder.directory / "store-a")
    done = share.builder.run("run", "--failed", build, "--root", store, "ls", "/root/.m2/r")
    assert (done.returncode, done.stdout) == (0, "a.jar\n"), done.stderr
    assert share.state() == before
