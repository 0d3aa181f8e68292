"""Removing trees: any depth, any kind of entry, nothing outside."""

import os
import threading

import pytest

from chandlery.linux.removal import remove_tree


def test_what_is_not_there_is_removed(tmp_path):
    remove_tree(str(tmp_path / "no" / "such"))


def test_files_and_links_go_without_what_they_point_to(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(kept)
    (tree / "file").write_text("x")
    os.mkfifo(tree / "pipe")
    (tmp_path / "top").symlink_to(kept)
    remove_tree(str(tree))
    remove_tree(str(tmp_path / "top"))
    assert os.listdir(tmp_path) == ["kept"]
    assert os.listdir(kept) == ["file"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make devices")
def test_whiteouts_and_set_uid_files(tmp_path):
    os.makedirs(tmp_path / "tree" / "sub")
    os.mknod(tmp_path / "tree" / "sub" / "gone", 0o020000, 0)
    (tmp_path / "tree" / "suid").write_text("x")
    os.chmod(tmp_path / "tree" / "suid", 0o4000)
    os.chmod(tmp_path / "tree" / "sub", 0)
    remove_tree(str(tmp_path / "tree"))
    assert os.listdir(tmp_path) == []


def test_a_tree_deeper_than_a_path_may_be_long(tmp_path):
    top = str(tmp_path / "deep")
    os.mkdir(top)
    fd = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    remove_tree(top)
    assert os.listdir(tmp_path) == []


def test_two_may_remove_the_same_tree(tmp_path):
    failures = []

    def run(path):
        try:
            remove_tree(path)
        except OSError as error:
            failures.append(error)

    for turn in range(5):
        path = str(tmp_path / f"t{turn}")
        for number in range(40):
            os.makedirs(f"{path}/{number}/a/b")
            for name in ("x", "y"):
                open(f"{path}/{number}/a/{name}", "w").close()
        threads = [threading.Thread(target=run, args=(path,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert os.listdir(tmp_path) == []
