"""`apply`: carry out a FileOp (COPY, ADD, heredocs, WORKDIR), writing its diff straight into a new snapshot's upper directory.

Nothing is mounted for it: the base is only read. Actions happen in order, each seeing what those before it made.
"""

import errno
import os

from chandlery.errors import ContextError, InputError, MachineError, NoSpace
from chandlery.graph.op import CopyAction, FileOp, InlineFileAction, MakeDirAction
from chandlery.snapshot.checksum import ViewTree
from chandlery.snapshot.selection import select
from chandlery.snapshot.tree import Entry, Match, resolve
from chandlery.values import value
from chandlery.worker import manifest as manifests
from chandlery.worker.copy_files import Options
from chandlery.worker.copy_tree import TreeCopy
from chandlery.worker.manifest import Manifest
from chandlery.worker.owner import parse_owner
from chandlery.worker.target import ROOT, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from chandlery.source.context import LocalContext
    from chandlery.worker.owner import Owner

_HTTP_MODE = 0o100600
_INLINE_MODE = 0o644


@value
class ViewInput:
    """Another stage's or image's file system, mounted read-only at `root`: owners are kept. `layers` are what is mounted, bottom first."""

    root: str
    layers: tuple[str, ...] = ()


@value
class ContextInput:
    """A local context: files are root's, and must be as they were digested."""

    context: "LocalContext"


@value
class HttpInput:
    """A downloaded file at `path`; `file_name` and `mtime_s` as HttpOp has them."""

    path: str
    file_name: str
    mtime_s: int = 0


Input = ViewInput | ContextInput | HttpInput


@value
class FileOpReport:
    """What was written; `manifest` is to be kept beside the committed snapshot (manifest.write), b"" if there is nothing to keep."""

    files: int
    size_bytes: int
    manifest: bytes = b""
    warnings: tuple[str, ...] = ()


def apply(
    op: FileOp, *, base: str | None, upper: str, inputs: "Mapping[int, Input]", previous: str | None = None, created_ns: int | None = None
) -> FileOpReport:
    """Write the op's diff into `upper`, an empty directory.

    `base` is a read-only view of input 0, None for scratch. `inputs` answers for every index that an action names. `previous` is the directory
    (R/snapshots/<id>/fs) of what the same instruction made before: what didn't change is linked from it. `created_ns` is the time of
    what has none of its own, now if None. Raises InputError (codes copy.*, add.*), ContextError (context.*), NoSpace, MachineError.
    """
    target = Target(base, upper, created_ns=created_ns)
    work = _Work(target, inputs, previous or "")
    try:
        for action in op.actions:
            match action:
                case CopyAction():
                    work.copy(action)
                case InlineFileAction():
                    work.write(action)
                case MakeDirAction():
                    owner = work.owner(action.owner) or ROOT
                    target.make_directories(resolve(target, action.path), owner)
        target.finish()
    except OSError as error:
        raise translated(error, "the files can't be copied") from error
    return FileOpReport(work.files, work.bytes, work.written.encode(), tuple(work.warnings))


class _Work:
    def __init__(self, target: Target, inputs: "Mapping[int, Input]", previous: str) -> None:
        self.target = target
        self.inputs = inputs
        self.previous = previous
        self.known = manifests.read(previous) if previous else Manifest()
        self.written = Manifest()
        self.files = 0
        self.bytes = 0
        self.warnings: list[str] = []

    def owner(self, text: str) -> "Owner | None":
        return parse_owner(text, self.target, self.warnings.append) if text else None

    def copy(self, action: CopyAction) -> None:
        source = self.inputs[action.input]
        owner = self.owner(action.owner)
        if isinstance(source, HttpInput):
            tree: ViewTree | LocalContext = _HttpTree(source)
            matches = [Match(source.file_name, os.path.basename(source.path))]
            options = Options(owner, action.mode)
        elif isinstance(source, ContextInput):
            tree = source.context
            matches = self._select_context(source.context, action)
            options = Options(owner, action.mode, is_context=True, keeps_all_xattrs=False)
        else:
            tree = ViewTree(source.root)
            matches = [match for pattern in action.sources for match in select(tree, pattern, allows_wildcards=action.allows_wildcards)]
            options = Options(owner, action.mode, layers=source.layers)
        self._copy_matches(action, tree, matches, options)

    @staticmethod
    def _select_context(context: "LocalContext", action: CopyAction) -> list[Match]:
        try:
            return [match for pattern in action.sources for match in select(context, pattern, allows_wildcards=action.allows_wildcards)]
        except InputError as error:
            if error.code != "copy.missing-source":
                raise
            context.digest(action.sources, allows_wildcards=action.allows_wildcards)  # raises context.missing, which says more
            raise

    def _copy_matches(self, action: CopyAction, tree: "ViewTree | LocalContext", matches: list[Match], options: Options) -> None:
        copy = TreeCopy(tree, self.target, options, previous=self.previous, manifest=self.known, written=self.written)
        for match in matches:
            if action.unpacks and self._unpacked(tree, match, action.target, options.owner):
                continue
            copy.copy(match, action.target)
        self.files += copy.files
        self.bytes += copy.bytes

    def _unpacked(self, tree: "ViewTree | LocalContext", match: Match, path: str, owner: "Owner | None") -> bool:
        from chandlery.worker.unpack_archive import is_archive, unpack

        entry = tree.lookup(match.path)
        if entry is None or not entry.is_file or not is_archive(tree.root, match.path):
            return False
        place = resolve(self.target, path)
        self.target.make_directories(place, owner or ROOT)
        files, size = unpack(tree.root, match.path, self.target, place, owner)
        if tree.is_context:
            again = os.stat(os.path.join(tree.root, match.path), follow_symlinks=False)
            if (again.st_mtime_ns, again.st_size, again.st_ino) != (entry.mtime_ns, entry.size, entry.ino):
                raise ContextError(f"{match.path} changed while the build read it", code="context.changed", hint="build again when nothing writes to it")
        self.files += files
        self.bytes += size
        return True

    def write(self, action: InlineFileAction) -> None:
        """A heredoc."""
        owner = self.owner(action.owner) or ROOT
        copy = TreeCopy(ViewTree(self.target.root), self.target, Options(owner, action.mode), written=self.written)
        self.target.begin()
        place = copy.prepare(action.target, action.name, is_directory=False)
        self.target.make_room(place)
        parent, _, name = place.rpartition("/")
        at = self.target.open(parent)
        try:
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=at)
            with open(file, "wb", buffering=0) as out:
                view = memoryview(action.data)
                while view:
                    view = view[out.write(view) :]
                os.fchown(file, *owner)
                os.fchmod(file, _INLINE_MODE if action.mode is None else action.mode)
                os.utime(file, ns=(self.target.created_ns, self.target.created_ns))
        finally:
            os.close(at)
        self.written.remove(parent, name)
        self.files += 1
        self.bytes += len(action.data)


class _HttpTree(ViewTree):
    """A blob as the file that ADD of a URL makes: root's, mode 0600, with the server's modification time."""

    def __init__(self, source: HttpInput) -> None:
        super().__init__(os.path.dirname(source.path))
        self._mtime_ns = source.mtime_s * 1_000_000_000

    def lookup(self, path: str) -> Entry | None:
        entry = super().lookup(path)
        if entry is not None:
            entry.mode, entry.uid, entry.gid, entry.nlink, entry.mtime_ns = _HTTP_MODE, 0, 0, 1, self._mtime_ns
            entry.has_xattrs = False
        return entry


def translated(error: OSError, what: str) -> MachineError:
    """A system call's failure as the error that says who must act."""
    where = f" ({os.fsdecode(error.filename)})" if isinstance(error.filename, str | bytes) else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(f"{what}: the disk is full{where}", hint="free space, or run `chandlery prune`")
    return MachineError(f"{what}: {error.strerror}{where}", code="machine.copy-failed", hint="see that the store's file system is in order")
