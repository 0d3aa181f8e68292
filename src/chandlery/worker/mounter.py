"""Overlay mounts in a build's scratch, each undone when its block is left. Only in threads whose mount namespace is the build's own."""

import contextlib
import os

from chandlery.content.session import Session
from chandlery.linux import mount
from chandlery.linux.mount import PLAIN, MountMethod, OverlayOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Mounter:
    def __init__(self, session: Session, method: MountMethod) -> None:
        self._session = session
        self._method = method

    @property
    def copies(self) -> bool:
        """Whether the merged directories are copies."""
        return self._method is MountMethod.COPY

    @contextlib.contextmanager
    def overlay(self, lowers: "Sequence[str]", *, upper: str = "", work: str = "", options: OverlayOptions = PLAIN) -> "Iterator[str]":
        """The merged directory of `lowers` (bottom first), writable when there is an `upper`."""
        target = self._session.scratch("m")
        if self._method is MountMethod.COPY:
            with _copied(target, lowers, upper):
                yield target
            return
        mount.mount_overlay(target, lowers, upper=upper, work=work, options=options, method=self._method)
        try:
            yield target
        finally:
            mount.unmount(target)
            os.rmdir(target)

    @contextlib.contextmanager
    def view(self, lowers: "Sequence[str]") -> "Iterator[str]":
        """A read-only look at a file system; a single layer is its own view, unless it could hold whiteouts that nothing is below of."""
        with self.overlay(lowers) as target:
            yield target


@contextlib.contextmanager
def _copied(target: str, lowers: "Sequence[str]", upper: str) -> "Iterator[None]":
    """The same by copying. The upper is filled when the block ends, as an overlay's is complete only when it is unmounted."""
    from chandlery.linux.copied_tree import CopiedTree
    from chandlery.linux.removal import remove_tree

    tree = CopiedTree(target, lowers, upper=upper)
    try:
        yield
        if upper:
            tree.capture()
    finally:
        remove_tree(target)
