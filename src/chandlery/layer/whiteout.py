"""How "this is gone from below" is written: in a layer by names, in an overlay by inodes.

    layer (OCI image spec, layer.md "Whiteouts")      overlay upper (kernel: Documentation/filesystems/overlayfs.rst)
    an empty file ".wh.NAME"                          NAME is a character device 0:0, or has the attribute overlay.whiteout
    an empty file ".wh..wh..opq" in a directory       the directory has the attribute overlay.opaque = "y"

Attributes are written as trusted.overlay.*, read in that and in the user.overlay.* form (mounts with `userxattr`).
"""

import os
import stat

from chandlery.linux import xattr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

PREFIX = b".wh."
OPAQUE_NAME = b".wh..wh..opq"
# aufs kept its own files under this prefix; old layers still carry some, and no runtime gives them a meaning
AUFS_PREFIX = b".wh..wh."

OPAQUE_XATTR = "trusted.overlay.opaque"
_OPAQUE_XATTRS = frozenset({OPAQUE_XATTR, "user.overlay.opaque"})
# a renamed directory, a file whose data are below: overlayfs.rst, "redirect_dir" and "Metadata only copy up"
REFERENCES = frozenset(f"{space}.overlay.{kind}" for space in ("trusted", "user") for kind in ("redirect", "metacopy"))
_WHITEOUT_XATTRS = frozenset({"trusted.overlay.whiteout", "user.overlay.whiteout"})


def is_device(status: os.stat_result) -> bool:
    """Whether an inode is overlayfs' whiteout."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_marked_file(status: os.stat_result, attribute_names: "Collection[str]") -> bool:
    """Whether a file is a whiteout in the attribute form (Linux 6.7): empty, with overlay.whiteout set."""
    return status.st_size == 0 and not _WHITEOUT_XATTRS.isdisjoint(attribute_names)


def is_opaque(fd: int, attribute_names: "Collection[str]") -> bool:
    """Whether a directory hides what is below it. The value "x" only says that attribute whiteouts may be inside."""
    return any(xattr.get(fd, name) == b"y" for name in _OPAQUE_XATTRS.intersection(attribute_names))


def make(dir_fd: int, name: bytes) -> None:
    """Write the whiteout of `name` into an overlay upper."""
    os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=dir_fd)


def make_opaque(fd: int) -> None:
    """Make a directory of an overlay upper hide what is below it."""
    xattr.set_value(fd, OPAQUE_XATTR, b"y")
