"""Bad input and broken machines, each with the code of the error that it is."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import pytest
from tests.conformance.outcome import outcome
from tests.e2e.conftest import need

SIMPLE = "FROM busybox\nRUN echo made > /made\n"


# -- what the author of a Dockerfile does


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("FROM busybox\nRUN []\n", "dockerfile.syntax"),
        ("FROM busybox\nRUNN true\n", "dockerfile.unknown-instruction"),
        ("FROM busybox\nRUN --mnt=x true\n", "dockerfile.unknown-flag"),
        ("FROM busybox\nCOPY nope /\n", "context.missing"),
        ("FROM busybox\nCOPY --from=nope /x /\n", "registry."),
        ("FROM localhost:1/nope\nRUN true\n", "registry."),
        ("FROM busybox AS a\nCOPY --from=b /x /\nFROM busybox AS b\nCOPY --from=a /x /\n", "dockerfile.circular"),
        ("FROM --platform=nonsense/a/b/c busybox\n", "dockerfile.platform"),
        ("FROM --platform=linux/s390x busybox\nRUN true\n", ""),
        ("FROM Busybox:UPPER/case\n", ""),
        ("FROM busybox\nRUN --mount=type=ssh true\n", "dockerfile.unsupported"),
        ("FROM busybox\nCOPY --parents a /\n", "dockerfile.unsupported"),
        ("FROM busybox\nCOPY --exclude=x a /\n", "dockerfile.unsupported"),
        ("FROM busybox\nCOPY --chmod=u+x Dockerfile /\n", "dockerfile.unsupported"),
        ("FROM busybox\nADD https://github.com/a/b.git /\n", "dockerfile.unsupported"),
        ("FROM busybox\nRUN --security=insecure true\n", "dockerfile.unsupported"),
        ("FROM busybox\nRUN --device=a true\n", "dockerfile.unsupported"),
    ],
)
def test_a_bad_dockerfile_is_an_error_at_its_line(builder, text, code):
    done = builder.build(text, env={"HTTPS_PROXY": "http://127.0.0.1:9"})
    assert done.status != 0
    assert done.code.startswith(code or done.code)
    assert done.code not in ("", "internal")
    assert "Dockerfile:" in done.err


@pytest.mark.parametrize(
    ("context", "code"), [("/does/not/exist", "context.missing"), ("Dockerfile", "context.missing"), ("https://127.0.0.1:1/x.tar", "context.http")]
)
def test_a_bad_context(builder, context, code):
    assert builder.build(SIMPLE, context=context).code == code


def test_a_missing_dockerfile(builder):
    assert builder.build("").code == "context.no-dockerfile"


def test_a_file_that_can_not_be_read_is_named(builder):
    builder.write({"a": "A"})
    (builder.context / "loop").symlink_to("loop")
    assert builder.build("FROM busybox\nCOPY loop /\n").code in ("context.missing", "copy.link-loop")


def test_a_context_that_changes_while_it_is_read(builder):
    """Either the build sees one state of the file, whole, or it says that the context changed."""
    big = builder.context / "big"
    stop = threading.Event()

    def rewrite() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            big.write_bytes(b"%08d" % number * 400_000)

    big.write_bytes(b"%08d" % 0 * 400_000)
    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        codes = set()
        for _ in range(6):
            done = builder.build("FROM scratch\nCOPY big /big\n", "-o", f"type=local,dest={builder.directory}/out")
            codes.add(done.code)
            if not done.code:
                data = (builder.directory / "out/big").read_bytes()
                assert data == data[:8] * (len(data) // 8)
    finally:
        stop.set()
        writer.join()
    assert codes <= {"", "context.changed"}


def test_a_hostile_archive_is_refused(builder):
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("../../../escaped")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    builder.write({"bad.tar": out.getvalue()})
    assert builder.build("FROM scratch\nADD bad.tar /\n").code == "add.hostile-archive"


# -- what machines lack


@contextlib.contextmanager
def tmpfs(place: Path, options: str):
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk(builder, busybox_archive, tmp_path):
    small = tmp_path / "small"
    with tmpfs(small, "size=24m,mode=0700"):
        env = {"CHANDLERY_ROOT": str(small / "store")}
        assert builder.run("load", "-q", "-i", str(busybox_archive), env=env).returncode == 0
        done = builder.build("FROM busybox\nRUN head -c 60000000 /dev/zero > /big\n", env=env)
        assert done.status in (1, 73)
        assert done.code in ("machine.no-space", "step.failed")
        builder.write({"big": b"\0" * 40_000_000})
        done = builder.build("FROM busybox\nCOPY big /\n", env=env)
        assert (done.status, done.code) == (73, "machine.no-space")
        (builder.context / "big").unlink()
        assert builder.build(SIMPLE, env=env).status == 0, "a full disk must not break the store"
        assert builder.run("verify", env=env).returncode == 0


def test_room_is_made_before_a_build_fails(builder, busybox_archive, tmp_path):
    small = tmp_path / "small"
    with tmpfs(small, "size=40m,mode=0700"):
        env = {"CHANDLERY_ROOT": str(small / "store")}
        assert builder.run("load", "-q", "-i", str(busybox_archive), env=env).returncode == 0
        for number in range(5):
            done = builder.build(f"FROM busybox\nRUN head -c 15000000 /dev/urandom > /big; echo {number}\n", env=env)
            assert done.status == 0, done.err


def test_a_store_that_can_only_be_read(builder, tmp_path):
    place = tmp_path / "ro"
    with tmpfs(place, "size=20m,mode=0700"):
        env = {"CHANDLERY_ROOT": str(place / "store")}
        assert builder.run("images", env=env).returncode == 0
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        assert builder.build(SIMPLE, env=env).code == "store.read-only"


def test_a_newer_store_is_left_alone(builder):
    assert builder.build(SIMPLE).status == 0
    database = sqlite3.connect(builder.store / "chandlery.db")
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    version = database.execute("PRAGMA user_version").fetchone()[0]
    assert version or "meta" in tables
    database.execute(f"PRAGMA user_version = {version + 1000}")
    database.commit()
    database.close()
    before = sorted(path.name for path in builder.store.rglob("*"))
    assert builder.build(SIMPLE).code == "store.newer"
    assert sorted(path.name for path in builder.store.rglob("*") if not path.name.startswith("chandlery.db-")) == [
        name for name in before if not name.startswith("chandlery.db-")
    ]


def test_a_store_on_an_overlay(builder, tmp_path):
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", str(tmp_path / "merged")], check=True)
    try:
        assert builder.build(SIMPLE, env={"CHANDLERY_ROOT": f"{tmp_path}/merged/store"}).code.startswith("store.")
    finally:
        subprocess.run(["umount", str(tmp_path / "merged")], check=True)


def test_no_runtime(builder, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    done = builder.build(SIMPLE, env={"PATH": str(tools)})
    assert (done.status, done.code) == (71, "machine.no-runtime")
    assert builder.build("FROM busybox\nCOPY Dockerfile /\n", env={"PATH": str(tools)}).status == 0
    assert builder.build(SIMPLE + "RUN true\n", env={"CHANDLERY_RUNTIME": "nonsense"}).code.startswith(("machine.", "config.", "request."))


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_either_runtime_builds(builder, runtime):
    need(runtime)
    done = builder.build(SIMPLE + "RUN cat /made\n", env={"CHANDLERY_RUNTIME": runtime})
    assert done.status == 0, done.err


def test_every_way_to_mount_builds_the_same_tree(builder):
    builder.write({"a/b": "B", "a/c": "C"})
    text = (
        "FROM busybox AS one\nRUN mkdir -p /d/e; echo x > /d/e/f; ln /d/e/f /d/g\nCOPY a /d/\n"
        "FROM busybox\nRUN rm -r /var/deep /opt/base; mv /home /house; mkdir /var/deep; echo n > /var/deep/n; chmod 700 /etc; ln -s x /y\n"
        "COPY --from=one /d /copied\nRUN --mount=from=one,source=/d,target=/m --mount=type=cache,target=/c cp -a /m /c/ && cp -a /c/m /again\n"
    )
    trees = {}
    for method in ("fsconfig", "legacy", "copy"):
        trees[method] = builder.tree(text, "--no-cache", env={"CHANDLERY_MOUNT": method})
    assert trees["fsconfig"] == trees["legacy"] == trees["copy"]
    assert builder.build(text, "--no-cache", env={"CHANDLERY_MOUNT": "magic"}).code == "config.bad-value"


def test_a_damaged_database_is_said(builder):
    assert builder.build(SIMPLE).status == 0
    for path in builder.store.glob("chandlery.db*"):
        path.unlink()
    (builder.store / "chandlery.db").write_bytes(b"this is no database" * 1000)
    assert builder.build(SIMPLE).code.startswith("store.")


def test_a_step_that_waits_for_input_does_not_hang(builder):
    started = time.monotonic()
    assert builder.build("FROM busybox\nRUN cat; read x || true\n").status == 0
    assert time.monotonic() - started < 10


def test_a_store_directory_of_others_is_refused_or_closed(builder, tmp_path):
    place = tmp_path / "open"
    place.mkdir(mode=0o777)
    os.chmod(place, 0o777)
    done = builder.run("images", env={"CHANDLERY_ROOT": str(place)})
    assert done.returncode != 0 or (place.stat().st_mode & 0o077) == 0


def test_an_output_that_can_not_be_written(builder):
    assert builder.build(SIMPLE, "-o", "type=oci,dest=/proc/nope/i.tar").code == "request.unwritable"
    assert builder.build(SIMPLE, "-o", "type=local,dest=/proc/nope").code == "request.unwritable"
    assert "request.unwritable" in builder.build(SIMPLE, "--iidfile", "/proc/nope/iid").err


def test_an_interrupted_output_leaves_the_old_one(builder, tmp_path):
    archive = tmp_path / "i.tar"
    assert builder.build(SIMPLE, "-o", f"type=oci,dest={archive}").status == 0
    before = archive.read_bytes()
    assert builder.build("FROM busybox\nRUN false\n", "-o", f"type=oci,dest={archive}").status == 1
    assert archive.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name] == []
    assert outcome(archive)["layers"] == 2


def test_a_registry_that_is_not_there_is_worth_another_try(builder):
    done = builder.build(SIMPLE, "--push", "-t", "127.0.0.1:1/x")
    assert (done.status, done.code) == (75, "registry.unavailable")


def test_a_runtime_that_fails_is_not_the_steps_fault(builder, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    broken = tools / "crun"
    broken.write_text('#!/bin/sh\nif [ "$1" = --version ]; then exec /usr/bin/crun --version; fi\necho broken >&2\nexit 1\n')
    broken.chmod(0o755)
    need("crun")
    done = builder.build(SIMPLE, env={"PATH": f"{tools}:{os.environ['PATH']}", "CHANDLERY_RUNTIME": "crun"})
    assert done.status != 0
    assert done.code not in ("", "internal")
    shutil.rmtree(tools)
