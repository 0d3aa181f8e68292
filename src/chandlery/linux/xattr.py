"""Extended attributes, never through a link (xattr(7)); and which of them may enter a layer.

A layer carries file capabilities and the user's own attributes. It never carries what belongs to a machine (SELinux labels) or to overlayfs:
`trusted.overlay.redirect` in a stranger's layer would let it choose which lower file shows up where
(kernel: Documentation/filesystems/overlayfs.rst, "redirect_dir").
"""

import errno
import os

OVERLAY_PREFIXES = ("trusted.overlay.", "user.overlay.")
# listxattr(2) and setxattr(2): what a file system or a lack of privilege answers instead of an attribute
_NONE_HERE = frozenset({errno.ENOTSUP, errno.ENODATA, errno.EPERM, errno.EACCES})


def may_enter_layer(name: str) -> bool:
    """Whether an attribute is part of an image."""
    return name == "security.capability" or (name.startswith("user.") and not name.startswith("user.overlay."))


def names(target: str | bytes | int) -> list[str]:
    """The attributes of a path (its link itself) or descriptor; none where the file system has no attributes."""
    try:
        return os.listxattr(target) if isinstance(target, int) else os.listxattr(target, follow_symlinks=False)
    except OSError as refused:
        if refused.errno in _NONE_HERE:
            return []
        raise


def get(target: str | bytes | int, name: str) -> bytes | None:
    """One attribute's value, None if it isn't set."""
    try:
        return os.getxattr(target, name) if isinstance(target, int) else os.getxattr(target, name, follow_symlinks=False)
    except OSError as refused:
        if refused.errno in _NONE_HERE:
            return None
        raise


def set_value(target: str | bytes | int, name: str, value: bytes) -> None:
    """Set one attribute; raises OSError (ENOTSUP where the file system has none)."""
    if isinstance(target, int):
        os.setxattr(target, name, value)
    else:
        os.setxattr(target, name, value, follow_symlinks=False)


def remove(target: str | bytes | int, name: str) -> None:
    """Remove one attribute; that it isn't set is fine."""
    try:
        if isinstance(target, int):
            os.removexattr(target, name)
        else:
            os.removexattr(target, name, follow_symlinks=False)
    except OSError as refused:
        if refused.errno != errno.ENODATA:
            raise


def layer_attributes(target: str | bytes | int) -> dict[str, bytes]:
    """The attributes that enter a layer, sorted by name."""
    kept = sorted(name for name in names(target) if may_enter_layer(name))
    values = {name: get(target, name) for name in kept}
    return {name: value for name, value in values.items() if value is not None}
