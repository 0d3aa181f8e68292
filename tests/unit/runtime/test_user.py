import os

import pytest

from chandlery.errors import InputError
from chandlery.runtime import user
from chandlery.runtime.process import StepUser


@pytest.fixture
def rootfs(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nalice:x:1000:1001::/home/alice:/bin/sh\nbroken\n12:x:77:78::/:\n")
    (tmp_path / "etc/group").write_text("root:x:0:\nwheel:x:10:root,alice\nalice:x:1001:alice\nstaff:x:50:alice\n")
    return str(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", StepUser(0, 0, (0, 10), "/root")),
        ("root", StepUser(0, 0, (0, 10), "/root")),
        ("alice", StepUser(1000, 1001, (10, 50, 1001), "/home/alice")),
        ("1000", StepUser(1000, 1001, (10, 50, 1001), "/home/alice")),
        ("alice:staff", StepUser(1000, 50, (50,), "/home/alice")),
        ("alice:99", StepUser(1000, 99, (99,), "/home/alice")),
        ("4242", StepUser(4242, 0, (0,), "/")),
        ("4242:4343", StepUser(4242, 4343, (4343,), "/")),
        ("12", StepUser(77, 78, (78,), "/")),  # a name of digits is a name first
    ],
)
def test_names_and_numbers(rootfs, text, expected):
    assert user.resolve(rootfs, text) == expected


@pytest.mark.parametrize("text", ["bob", "alice:nobody", "-1", "99999999999"])
def test_unknown_names_are_the_authors_to_mend(rootfs, text):
    with pytest.raises(InputError) as caught:
        user.resolve(rootfs, text)
    assert caught.value.code == "step.unknown-user"


def test_without_files_root_and_numbers_do(tmp_path):
    assert user.resolve(str(tmp_path), "") == StepUser(0, 0, (0,), "/root")
    assert user.resolve(str(tmp_path), "5:6") == StepUser(5, 6, (6,), "/")


def test_a_link_stays_in_the_root(rootfs, tmp_path):
    os.rename(tmp_path / "etc/passwd", tmp_path / "accounts")
    os.symlink("/accounts", tmp_path / "etc/passwd")
    assert user.resolve(rootfs, "alice").uid == 1000


def test_a_pipe_is_no_passwd(tmp_path):
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/passwd")
    assert user.resolve(str(tmp_path), "7").uid == 7
