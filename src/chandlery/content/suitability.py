"""Whether the store's file system can do what a store needs: be the upper of an overlay, and lock across the processes that use it.

https://docs.kernel.org/filesystems/overlayfs.html, "Upper and lower layers": an upper must keep trusted.* or user.* attributes and say in
readdir what is a directory, "so NFS is not suitable".
"""

import os

from chandlery.errors import StoreError
from chandlery.linux import filesystem

_NETWORK = {
    filesystem.NFS: "NFS",
    filesystem.SMB: "SMB",
    filesystem.SMB2: "SMB",
    filesystem.CIFS: "SMB",
    filesystem.AFS: "AFS",
    filesystem.CEPH: "Ceph",
}
_PROBE = "overlay.chandlery-probe"


def check_file_system(root: str) -> None:
    """Raises StoreError store.on-nfs (any network file system), store.on-overlay, store.unsuitable (no extended attributes)."""
    refuse_type(filesystem.type_of(root), root)
    if not _keeps_attributes(root):
        raise StoreError(
            f"the file system of {root} keeps no extended attributes, which layers need",
            code="store.unsuitable",
            hint="choose a directory on a local disk (ext4, xfs, btrfs) with --root or CHANDLERY_ROOT",
        )


def refuse_type(kind: int, root: str) -> None:
    """The part that only needs the f_type of statfs(2)."""
    if kind in _NETWORK:
        raise StoreError(
            f"{root} is on {_NETWORK[kind]}, which can't hold the layers of containers",
            code="store.on-nfs",
            hint="choose a directory on a local disk with --root or CHANDLERY_ROOT",
        )
    if kind == filesystem.OVERLAY:
        raise StoreError(
            f"{root} is on an overlay file system (that of a container?), on which no other overlay can be made",
            code="store.on-overlay",
            hint="mount a volume of the host there, or choose a directory on a real disk with --root or CHANDLERY_ROOT",
        )


def _keeps_attributes(root: str) -> bool:
    for name in ("trusted." + _PROBE, "user." + _PROBE):
        try:
            os.setxattr(root, name, b"y")
            os.removexattr(root, name)
            return True
        except PermissionError:
            continue
        except OSError:
            return False
    return False
