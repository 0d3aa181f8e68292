"""What runs, what doesn't, and what comes of it: parallel stages, content keys, lost snapshots, two processes, reproducibility."""

import hashlib
import shutil
import threading
import time

import pytest

TWO_STAGES = "FROM busybox AS one\nRUN echo 1 > /1\nFROM busybox AS two\nRUN sleep 0.3; echo 2 > /2\nFROM scratch\nCOPY --from=one /1 /\nCOPY --from=two /2 /\n"


def test_unused_stages_do_not_run(builder):
    done = builder.build("FROM busybox AS unused\nRUN false\nFROM busybox AS other\nRUN false\nFROM busybox\nRUN true\n")
    assert done.status == 0
    assert done.ran == {"RUN true"}


def test_independent_stages_run_at_the_same_time(builder):
    stages = "".join(f"FROM busybox AS s{number}\nRUN sleep 1; echo {number} > /f\n" for number in range(6))
    copies = "FROM scratch\n" + "".join(f"COPY --from=s{number} /f /{number}\n" for number in range(6))
    started = time.monotonic()
    assert builder.build(stages + copies, "--network=none").status == 0
    assert time.monotonic() - started < 3.5


def test_a_rebuilt_step_with_the_same_output_rejoins_the_chain(builder):
    text = "FROM busybox\nRUN date > /dev/null; echo same > /f\nRUN cat /f > /g\nCOPY a /a\nRUN echo end > /end\n"
    builder.write({"a": "A"})
    first = builder.build(text)
    second = builder.build(text.replace("date >", "date -u >"))
    third = builder.build(text.replace("date >", "date -u >"))
    assert first.ran >= {"RUN cat /f > /g", "COPY a /a", "RUN echo end > /end"}
    assert second.ran == {"RUN date -u > /dev/null; echo same > /f"}
    assert third.ran == set()
    assert third.image_id == second.image_id


def test_what_follows_a_copy_of_the_same_content_is_cached(builder):
    text = "FROM busybox AS make\nCOPY src /src\nRUN echo built > /out\nFROM busybox\nCOPY --from=make /out /out\nRUN cat /out > /a\nRUN cat /a > /b\n"
    builder.write({"src": "one"})
    first = builder.build(text)
    builder.write({"src": "two"})
    second = builder.build(text)
    assert second.ran == {"COPY src /src", "RUN echo built > /out"}
    assert second.image_id == first.image_id


def test_a_filter_runs_what_follows_only_if_the_content_changed(builder):
    same = TWO_STAGES.replace("echo 1 > /1", "echo 1 > /1; sleep 0")
    builder.build(same)
    done = builder.build(same, "--no-cache-filter=one")
    assert done.ran == {"RUN echo 1 > /1; sleep 0"}
    changing = TWO_STAGES.replace("echo 1 > /1", "cat /proc/sys/kernel/random/uuid > /1")
    builder.build(changing)
    done = builder.build(changing, "--no-cache-filter", "one")
    assert done.ran == {"RUN cat /proc/sys/kernel/random/uuid > /1", "COPY --from=one /1 /", "COPY --from=two /2 /"}


def test_an_image_from_cache_has_the_same_id(builder):
    builder.write({"a": "A"})
    text = "FROM busybox\nCOPY a /a\nRUN cat /a > /b\nENV x=1\nWORKDIR /w\n"
    first = builder.build(text).image_id
    time.sleep(1.1)
    assert builder.build(text).image_id == first
    assert builder.build(text, "--no-cache").image_id != first


def test_builds_with_a_source_date_are_reproducible_across_stores(builder, busybox_archive, tmp_path):
    builder.write({"a": "A", "d/b": "B"})
    text = "FROM busybox\nCOPY . /all\nRUN mkdir /made; echo x > /made/x; ln /made/x /made/y; touch /etc/new\nWORKDIR /w\nRUN rm /opt/base\n"
    digests = []
    for number in range(2):
        env = {"SOURCE_DATE_EPOCH": "1000000", "CHANDLERY_ROOT": str(tmp_path / f"store{number}")}
        assert builder.run("load", "-q", "-i", str(busybox_archive), env=env).returncode == 0
        archive = tmp_path / f"{number}.tar"
        done = builder.build(text, "--no-cache", "-o", f"type=oci,dest={archive}", env=env)
        assert done.status == 0, done.err
        digests.append((done.image_id, done.metadata["containerimage.digest"], hashlib.sha256(archive.read_bytes()).hexdigest()))
        time.sleep(1.1)
    assert digests[0] == digests[1]


def test_a_snapshot_that_somebody_deleted_is_made_again(builder):
    text = "FROM busybox\nRUN echo one > /one\nRUN cat /one > /two\n"
    builder.build(text)
    for snapshot in (builder.store / "snapshots").iterdir():
        shutil.rmtree(snapshot)
    done = builder.build(text + "RUN cat /two > /three\n")
    assert done.status == 0, done.err
    assert "RUN cat /two > /three" in done.ran


def test_a_snapshot_that_is_missed_while_pushing_is_made_again(builder, registry):
    text = "FROM busybox\nRUN echo pushed > /one\n"
    builder.build(text, "-o", "type=cacheonly")
    for snapshot in (builder.store / "snapshots").iterdir():
        shutil.rmtree(snapshot)
    done = builder.build(text, "--push", "-t", f"{registry}/revoked:1")
    assert done.status == 0, done.err
    assert builder.run("pull", f"{registry}/revoked:1").returncode == 0


@pytest.mark.parametrize("damage", ["delete", "change"])
def test_a_blob_that_was_lost_or_damaged_between_builds_is_made_again(builder, tmp_path, damage):
    text = "FROM busybox\nRUN echo exported > /one\n"
    spec = f"type=oci,dest={tmp_path}/a.tar"
    first = builder.build(text, "-o", spec)
    blobs = [path for path in (builder.store / "blobs/sha256").iterdir() if path.read_bytes()[:2] == b"\x1f\x8b"]
    assert blobs
    for blob in blobs:
        data = blob.read_bytes()
        blob.unlink()
        if damage == "change":
            blob.write_bytes(data[:-20] + b"x" * 20)
    second = builder.build(text, "-o", spec)
    assert second.status == 0, second.err
    assert second.image_id == first.image_id


def test_two_processes_that_want_the_same_step_run_it_once(builder, tmp_path):
    counted = tmp_path / "extra"
    counted.mkdir()
    text = "FROM busybox\nRUN --mount=type=cache,id=count,target=/c echo x >> /c/ran; sleep 1\nRUN --mount=type=cache,id=count,target=/c cp /c/ran /ran\n"
    done: list[int] = []

    def one() -> None:
        process = builder.start(text)
        process.communicate(timeout=60)
        done.append(process.returncode)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [0, 0, 0]
    tree = builder.tree(text)
    assert "'x\\n'" in tree["ran"]


def test_the_same_step_twice_in_one_build_runs_once(builder):
    text = (
        "FROM busybox AS a\nRUN --mount=type=cache,id=twice,target=/c echo x >> /c/x; cp /c/x /x\n"
        "FROM busybox AS b\nRUN --mount=type=cache,id=twice,target=/c echo x >> /c/x; cp /c/x /x\n"
        "FROM scratch\nCOPY --from=a /x /1\nCOPY --from=b /x /2\n"
    )
    tree = builder.tree(text)
    assert "'x\\n'" in tree["1"]
    assert tree["1"] == tree["2"]


def test_a_failed_step_keeps_what_came_before_it(builder):
    done = builder.build("FROM busybox\nRUN echo kept > /f\nRUN exit 7\n")
    assert (done.status, done.code) == (1, "step.failed")
    assert builder.build("FROM busybox\nRUN echo kept > /f\nRUN true\n").ran == {"RUN true"}
