"""Whom a step runs as: USER's text against the step's own /etc/passwd and /etc/group.

The rules are Docker's: a name must be known, a number needn't be; a user's supplementary groups count only where no group was named; the
primary group is always one of the supplementary ones, so that a set-gid program or newgrp can't take it away (CVE-2022-36109). The files are
opened inside the root, whatever links the image has. https://docs.docker.com/reference/dockerfile/#user
"""

import os

from chandlery.errors import InputError
from chandlery.linux import paths
from chandlery.runtime.process import StepUser
from chandlery.values import value

_MAX_ID = (1 << 31) - 1
_MAX_FILE_BYTES = 8 << 20


@value
class _Account:
    name: str
    uid: int
    gid: int
    home: str


@value
class _Group:
    name: str
    gid: int
    members: tuple[str, ...]


def resolve(rootfs: str, text: str) -> StepUser:
    """`text` is "user", "user:group" with names or numbers; empty is root. Raises InputError "step.unknown-user"."""
    user_text, _, group_text = text.partition(":")
    accounts, groups = _accounts(rootfs), _groups(rootfs)
    account = _find_account(user_text or "0", accounts)
    if not group_text:
        supplementary = tuple(sorted({group.gid for group in groups if account.name and account.name in group.members} | {account.gid}))
        return StepUser(account.uid, account.gid, supplementary, account.home)
    gid = _find_group(group_text, groups)
    return StepUser(account.uid, gid, (gid,), account.home)


def _find_account(text: str, accounts: list[_Account]) -> _Account:
    for account in accounts:
        if text == account.name:
            return account
    number = _number(text)
    if number is None:
        raise _unknown("user", text, "/etc/passwd")
    known = next((account for account in accounts if account.uid == number), None)
    return known or _Account("", number, 0, "/root" if number == 0 else "/")


def _find_group(text: str, groups: list[_Group]) -> int:
    for group in groups:
        if text == group.name:
            return group.gid
    number = _number(text)
    if number is None:
        raise _unknown("group", text, "/etc/group")
    return number


def _unknown(kind: str, text: str, file_name: str) -> InputError:
    return InputError(
        f"{kind} {text!r} isn't in the image's {file_name}",
        code="step.unknown-user",
        hint=f"create it in an earlier step (RUN {kind}add {text}), or give a number",
    )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text) <= _MAX_ID else None


def _accounts(rootfs: str) -> list[_Account]:
    rows = (line.split(":") for line in _lines(rootfs, "/etc/passwd"))
    return [_Account(row[0], int(row[2]), int(row[3]), row[5] or "/") for row in rows if len(row) > 5 and row[2].isdigit() and row[3].isdigit()]


def _groups(rootfs: str) -> list[_Group]:
    rows = (line.split(":") for line in _lines(rootfs, "/etc/group"))
    return [_Group(row[0], int(row[2]), tuple(row[3].split(","))) for row in rows if len(row) > 3 and row[2].isdigit()]


def _lines(rootfs: str, path: str) -> list[str]:
    root_fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Not to wait where the image has a pipe of that name.
        fd = paths.open_in_root(root_fd, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return []
    finally:
        os.close(root_fd)
    with os.fdopen(fd, "rb") as file:
        return file.read(_MAX_FILE_BYTES).decode("utf-8", "replace").splitlines()
