"""Secrets as files in memory."""

import os

from chandlery.runtime.process import RuntimeMount, StepUser
from chandlery.runtime.secrets import LentFiles


def test_a_file_has_the_owner_and_mode_asked_for_and_goes_with_the_step(tmp_path):
    directory = tmp_path / "secrets"
    directory.mkdir()
    with LentFiles(str(directory)) as lent:
        path = lent.add(b"s3cret", uid=12, gid=34, mode=0o440)
        found = os.stat(path)
        assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (12, 34, 0o440)
        assert os.path.ismount(directory)
    assert os.listdir(directory) == []


def test_a_step_reads_it_as_its_user(steps, tmp_path):
    directory = tmp_path / "secrets"
    directory.mkdir()
    (tmp_path / "rootfs/key").touch()
    with LentFiles(str(directory)) as lent:
        mount = RuntimeMount("/key", lent.add(b"s3cret", uid=1000, gid=1001), is_read_only=True)
        assert steps.shell("cat /key", mounts=(mount,), user=StepUser(1000, 1001)).out == "s3cret"
        assert steps.shell("cat /key", mounts=(mount,), user=StepUser(1001, 1001)).code != 0
