"""Mount points that a step needs and its file system lacks: made before it runs, and gone from its layer afterwards.

What is mounted somewhere needs a file or directory there. One that we made is removed again when the step left it as it was, and its
parent's times are put back unless the step changed the parent itself. A directory that overlayfs copied up only because of us is taken
out of the upper too. Mount points inside another mount of the step (a secret in a cache volume) are made in what is mounted there.
Paths are resolved as the step would, never out of its root.
"""

import os
import stat

from chandlery.errors import MachineError
from chandlery.runtime import footprint
from chandlery.runtime.bundle import RUNTIME_TARGETS
from chandlery.runtime.footprint import Footprint
from chandlery.runtime.process import RuntimeMount
from chandlery.values import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_LINKS = 40


@value
class _Made:
    """An entry that we made: `parent` and `name` below `root`, and what identifies it."""

    root: str
    parent: str
    name: str
    inode: int
    is_directory: bool


class MountStubs:
    """The mount points of one run of one step. `mounts` are the step's, with the targets that its links lead to."""

    def __init__(self, rootfs: str, mounts: "Sequence[RuntimeMount]", *, upper: str = "") -> None:
        """Make what is missing. `upper` is the overlay's upper behind `rootfs`, if there is one."""
        self._rootfs = rootfs
        self._footprint = Footprint(rootfs, upper)
        self._made: list[_Made] = []
        for target in RUNTIME_TARGETS:
            self._make(rootfs, target, is_directory=True)
        placed: list[RuntimeMount] = []
        for mount in mounts:
            placed.append(self._place(mount, placed))
        self.mounts = tuple(placed)
        self._footprint.settle()

    def remove(self) -> None:
        """Take away what we made and the step left alone. Call it when the step has ended, while its root is still mounted."""
        unchanged = self._footprint.unchanged()
        for made in reversed(self._made):
            _remove_made(made)
        self._footprint.restore_times(unchanged)

    def clean_upper(self) -> None:
        """Take directories out of the upper that are there only because we made something in them. Call it when the root is unmounted."""
        self._footprint.clean_upper()

    def _place(self, mount: RuntimeMount, earlier: "Sequence[RuntimeMount]") -> RuntimeMount:
        """Make the mount's point, in the root or in the earlier mount that covers it."""
        is_directory = mount.kind == "tmpfs" or os.path.isdir(mount.source)
        target = os.path.normpath(mount.target)
        if _is_within(target, RUNTIME_TARGETS):
            return mount
        covering = [other for other in earlier if _is_within(target, (other.target,))]
        if not covering:
            return replace(mount, target=self._make(self._rootfs, target, is_directory=is_directory))
        cover = max(covering, key=lambda other: len(other.target))
        if cover.kind == "bind" and os.path.isdir(cover.source):
            inner = self._make(cover.source, "/" + os.path.relpath(target, cover.target), is_directory=is_directory)
            return replace(mount, target=os.path.normpath(cover.target + inner))
        return mount

    def _make(self, root: str, target: str, *, is_directory: bool) -> str:
        """Make `target` below `root` and its missing parents; where it really is, after its links."""
        try:
            return self._walk(root, target, is_directory=is_directory)
        except OSError as error:
            raise MachineError(
                f"can't make a mount point at {target}: {error.strerror}", code="machine.mount-point", hint="is the path below it a directory?"
            ) from error

    def _walk(self, root: str, target: str, *, is_directory: bool) -> str:
        pending = [part for part in reversed(target.split("/")) if part not in ("", ".")]
        here: list[str] = []
        links = 0
        while pending:
            part = pending.pop()
            if part == "..":
                here = here[:-1]
                continue
            path = "/".join([*here, part])
            found = footprint.stat_or_none(root, path)
            if found is None:
                self._footprint.approach(root, "/".join(here))
                self._create(root, "/".join(here), part, is_directory=bool(pending) or is_directory)
            elif stat.S_ISLNK(found.st_mode):
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(40, os.strerror(40), path)
                text = footprint.read_link(root, path)
                here = [] if text.startswith("/") else here
                pending += [piece for piece in reversed(text.split("/")) if piece not in ("", ".")]
                continue
            here.append(part)
        return "/" + "/".join(here)

    def _create(self, root: str, parent: str, name: str, *, is_directory: bool) -> None:
        fd = footprint.open_directory(root, parent)
        try:
            if is_directory:
                os.mkdir(name, 0o755, dir_fd=fd)
                os.chmod(name, 0o755, dir_fd=fd)
            else:
                os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=fd))
            inode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_ino
        finally:
            os.close(fd)
        self._made.append(_Made(root, parent, name, inode, is_directory))
        if is_directory:
            self._footprint.made(root, f"{parent}/{name}" if parent else name)


def _is_within(target: str, places: "Sequence[str]") -> bool:
    """Of names alone, both normalised: which mount of ours covers which, no question of containment."""
    return any(target == place or target.startswith(place.rstrip("/") + "/") for place in places)


def _remove_made(made: _Made) -> None:
    """Unless the step replaced it or put something into it."""
    try:
        fd = footprint.open_directory(made.root, made.parent)
    except OSError:
        return  # the step removed it, or made a link of it
    try:
        found = os.stat(made.name, dir_fd=fd, follow_symlinks=False)
        if found.st_ino != made.inode:
            return
        if made.is_directory and stat.S_ISDIR(found.st_mode):
            os.rmdir(made.name, dir_fd=fd)
        elif stat.S_ISREG(found.st_mode) and found.st_size == 0:
            os.unlink(made.name, dir_fd=fd)
    except OSError:
        return  # it isn't empty, or it is gone
    finally:
        os.close(fd)
