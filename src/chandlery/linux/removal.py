"""Removing a tree of any depth, with whatever is in it, and nothing outside it.

Works by descriptor and never follows a link. A tree may be deeper than a path may be long, or than a process may have files open:
directories too far down are first moved up. What somebody else removes meanwhile is as good as removed.
"""

import os
import stat

_MAX_DEPTH = 64
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove `path`, a directory or anything else; that it isn't there is fine. The caller makes sure that nothing is mounted below."""
    try:
        os.unlink(path)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise
    _grant(path, None)
    top = os.open(path, _DIRECTORY)
    try:
        while _empty(top, top, 0):
            pass
    finally:
        os.close(top)
    try:
        os.rmdir(path)
    except FileNotFoundError:
        pass


def _empty(directory: int, top: int, depth: int) -> bool:
    """Remove all entries; True if directories were moved to `top`, which then has to be emptied again."""
    has_moved = False
    with os.scandir(directory) as entries:
        names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in names:
        try:
            if not is_directory:
                os.unlink(name, dir_fd=directory)
            elif depth >= _MAX_DEPTH:
                _grant(name, directory)
                os.rename(name, f"deep-{os.urandom(8).hex()}", src_dir_fd=directory, dst_dir_fd=top)
                has_moved = True
            else:
                has_moved |= _remove_directory(name, directory, top, depth)
        except FileNotFoundError:
            pass
    return has_moved


def _remove_directory(name: str, parent: int, top: int, depth: int) -> bool:
    try:
        os.rmdir(name, dir_fd=parent)
        return False
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            return False
    _grant(name, parent)
    inner = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        has_moved = _empty(inner, top, depth + 1)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=parent)
    return has_moved


def _grant(name: str, parent: int | None) -> None:
    """Let an owner who isn't root into a directory that the tree's own modes keep closed."""
    if os.geteuid() != 0 and os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode & 0o700 != 0o700:
        os.chmod(name, 0o700, dir_fd=parent)
