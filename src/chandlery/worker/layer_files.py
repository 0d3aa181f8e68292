"""Which layer of a file system a file of its merged view lies in, so that a copy of it can be a link.

The kernel's rules of lookup (Documentation/filesystems/overlayfs.rst): the topmost layer that has the name shows it, unless a directory above the name is
opaque or moved in a higher one. Where that can't be told from names alone, nobody is said to have it.
"""

import os
import stat as modes

from chandlery.linux import xattr
from chandlery.linux.paths import DIRECTORY_NOFOLLOW

_HIDING = frozenset([f"{prefix}{name}" for prefix in xattr.OVERLAY_PREFIXES for name in ("opaque", "redirect")])


def open_parent(layers: tuple[str, ...], directory: str, name: str) -> int:
    """A descriptor of `directory` in the layer (bottom first) whose regular file `name` a merged view shows there; -1 if it is in none, or can't be told."""
    for layer in reversed(layers):
        parent, hides = _look(layer, directory)
        if parent < 0:
            if hides:
                return -1
            continue
        try:
            if modes.S_ISREG(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                return parent
        except FileNotFoundError:
            if not hides:
                os.close(parent)
                continue
        os.close(parent)
        return -1
    return -1


def _look(layer: str, directory: str) -> tuple[int, bool]:
    """A layer's directory, -1 where it has none; and whether what is below the layer is hidden or elsewhere."""
    hides = False
    at = os.open(layer, DIRECTORY_NOFOLLOW)
    for part in directory.split("/") if directory else ():
        try:
            below = os.open(part, DIRECTORY_NOFOLLOW, dir_fd=at)
        except FileNotFoundError:
            return -1, hides
        except OSError:
            return -1, True  # a whiteout, or something else that is no directory
        finally:
            os.close(at)
        at = below
        hides = hides or not _HIDING.isdisjoint(xattr.names(at))
    return at, hides
