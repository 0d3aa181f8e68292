"""`DepsCaches`: directories of `--deps-cache`, lent to steps that mount nothing there themselves.

A tar's content is a volume of this machine (volume/deps_tree.py): looked at once a build, lent to steps as an overlay, and written back after a step that
succeeded and changed it. A directory is mounted as it is. Whatever is wrong with the share is told once and fails nothing: the step runs with what there is.
"""

import os
from _thread import allocate_lock

from chandlery.content.session import Session
from chandlery.content.store import Store
from chandlery.errors import ChandleryError
from chandlery.graph.mount import CacheMount, Mount
from chandlery.linux.mount import OverlayOptions
from chandlery.runtime.process import RuntimeMount
from chandlery.values import value
from chandlery.volume import deps_delta, deps_tar, deps_tree
from chandlery.volume.adapters.adapter import MutableName
from chandlery.volume.deps_cache import DepsCache, DepsKind, contains
from chandlery.volume.key import VolumeKey
from chandlery.volume.sharing_rules import forms_of
from chandlery.volume.volumes import Volumes
from chandlery.worker.mounter import Mounter

TYPE_CHECKING = False
if TYPE_CHECKING:
    import contextlib
    from collections.abc import Sequence

    from chandlery.volume.attachment import Attachment
    from chandlery.worker.results import Reporter

ANY_SCOPE = "any"
# a file that was touched is whole in the upper, so that it can be compared
_OVERLAY = OverlayOptions(follows_renames=True)


@value
class DepsPolicy:
    """Which caches, in whose name: `scopes` are read in order, and the first is written. `mode` is CHANDLERY_CACHE: "", off, local, ro or rw."""

    caches: tuple[DepsCache, ...]
    scopes: tuple[str, ...]
    platform: str
    mode: str = ""


class Lent:
    """What one step was lent of one cache. `stubs` are places in it on which the step has mounts of its own."""

    def __init__(self, cache: DepsCache, stubs: tuple[str, ...]) -> None:
        self.cache = cache
        self.stubs = stubs
        # those that nothing is at yet in the directory itself
        self.new_stubs: tuple[str, ...] = ()
        self.attachment: Attachment | None = None


class DepsCaches:
    """For one build; safe to share between threads. `close` when no step runs any more."""

    def __init__(self, store: Store, session: Session, mounter: Mounter, policy: DepsPolicy) -> None:
        self._store = store
        self._session = session
        self._mounter = mounter
        self._policy = policy
        self._volumes = Volumes(store)
        self._locks = {cache: allocate_lock() for cache in policy.caches}
        self._seen: set[DepsCache] = set()
        self._is_unsound: set[DepsCache] = set()
        self._told: set[str] = set()

    def lend(self, wanted: "Sequence[Mount]", lent: list[Lent], stack: "contextlib.ExitStack", step: "Reporter", *, starts_empty: bool) -> list[RuntimeMount]:
        """Mounts for a step that wants `wanted` itself, each undone by `stack`. What is added to `lent` is given back with `end` afterwards."""
        mounts: list[RuntimeMount] = []
        for cache in self._policy.caches:
            if self._policy.mode == "off" or _has_own(cache.target, wanted):
                continue
            prefix = cache.target.rstrip("/") + "/"
            item = Lent(cache, tuple([other.target.removeprefix(prefix) for other in wanted if other.target.startswith(prefix)]))
            lent.append(item)
            directory = self._tar(item, stack, step, starts_empty=starts_empty) if cache.kind is DepsKind.TAR else self._directory(item, stack, step)
            if directory:
                mounts.append(RuntimeMount(cache.target, directory))
        return mounts

    def end(self, lent: "Sequence[Lent]", step: "Reporter", *, succeeded: bool, secrets: tuple[bytes, ...]) -> tuple[MutableName, ...]:
        """Keep what a step that succeeded added; `secrets` are the values that steps were lent, and no file with one of them is kept. The mutable names
        that the step may have resolved: of a directory nobody knows."""
        observed: tuple[MutableName, ...] = ()
        for item in lent:
            if item.cache.kind is DepsKind.DIRECTORY:
                _remove_stubs(item.cache.directory, item.new_stubs)
                observed += (MutableName("plain-volume", str(item.cache)),)
            elif item.attachment is not None and not succeeded:
                self._volumes.discard(item.attachment)
            elif item.attachment is not None:
                observed += self._keep(item.cache, item.attachment, step, forms_of(secrets))
        return observed

    def close(self) -> None:
        self._volumes.forget(self._session)
        self._volumes.settle()

    def _tar(self, item: Lent, stack: "contextlib.ExitStack", step: "Reporter", *, starts_empty: bool) -> str:
        key = self._key(item.cache)
        try:
            with self._locks[item.cache]:
                if item.cache not in self._seen:
                    self._seen.add(item.cache)
                    self._look(item.cache, key, step)
            item.attachment = self._volumes.attach(key, self._session, starts_empty=starts_empty, stubs=item.stubs)
        except (ChandleryError, OSError) as failure:
            self._warn(step, f"--deps-cache {item.cache} is not used: {_sentence(failure)}")
            return ""
        taken = item.attachment
        return stack.enter_context(self._mounter.overlay(taken.lowers, upper=taken.upper, work=taken.work, options=_OVERLAY))

    def _look(self, cache: DepsCache, key: VolumeKey, step: "Reporter") -> None:
        if self._policy.mode == "local":
            return
        if not os.path.isdir(cache.directory):
            self._warn(step, f"--deps-cache {cache}: {cache.directory} is not a directory; this build goes on without it")
            return
        found = deps_tree.take_in(self._store, self._session, key, tuple([self._path(cache, scope) for scope in self._policy.scopes]))
        step.moved(found.size_bytes)
        if found.problems:
            self._is_unsound.add(cache)
            self._warn(step, f"--deps-cache {cache}: {found.problems[0]}; dependencies are fetched again, and the tar is replaced")

    def _directory(self, item: Lent, stack: "contextlib.ExitStack", step: "Reporter") -> str:
        path = item.cache.directory
        if self._policy.mode == "local":
            return ""
        if not os.access(path, os.R_OK | os.X_OK) or not os.path.isdir(path):
            self._warn(step, f"--deps-cache {item.cache}: {path} is no directory that can be read; this build goes on without it")
            return ""
        is_writable = os.access(path, os.W_OK)
        if is_writable and self._policy.mode != "ro":
            item.new_stubs = tuple([stub for stub in item.stubs if not os.path.lexists(f"{path}/{stub}")])
            return path
        if not is_writable:
            self._warn(step, f"--deps-cache {item.cache}: {path} can't be written here (is root squashed?); what this build adds to it is lost")
        scratch = self._session.scratch("d")
        os.mkdir(f"{scratch}/u")
        os.mkdir(f"{scratch}/w")
        return stack.enter_context(self._mounter.overlay((path,), upper=f"{scratch}/u", work=f"{scratch}/w"))

    def _keep(self, cache: DepsCache, attachment: "Attachment", step: "Reporter", forms: tuple[bytes, ...]) -> tuple[MutableName, ...]:
        key = self._key(cache)
        try:
            deps_delta.reduce(attachment.upper, attachment.lowers, forms)
        except OSError as failure:
            self._volumes.discard(attachment)
            self._warn(step, f"--deps-cache {cache}: what the step added is not kept: {failure}")
            return ()
        report = self._volumes.commit(attachment, succeeded=True)
        if report.warning:
            self._warn(step, report.warning)
        if self._policy.mode in ("local", "ro") or not os.path.isdir(cache.directory):
            return report.observed
        try:
            path = self._path(cache, self._policy.scopes[0])
            written = deps_tree.save(self._store, self._session, key, path, always=cache in self._is_unsound)
        except (ChandleryError, OSError) as failure:
            self._warn(step, f"--deps-cache {cache} was not written: {_sentence(failure)}")
            return report.observed
        step.moved(written)
        self._is_unsound.discard(cache)
        return report.observed

    def _key(self, cache: DepsCache) -> VolumeKey:
        return VolumeKey(self._policy.scopes[0], str(cache), self._policy.platform)

    def _path(self, cache: DepsCache, scope: str) -> str:
        return f"{cache.directory}/{deps_tar.file_name(scope, cache.target, self._policy.platform)}"

    def _warn(self, step: "Reporter", message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            step.warn("deps-cache.warning", message)


def _has_own(target: str, wanted: "Sequence[Mount]") -> bool:
    """Whether a step mounts something of its own at a target, or a cache around or inside it."""
    return any(
        item.target.rstrip("/") == target or (isinstance(item, CacheMount) and (contains(item.target, target) or contains(target, item.target)))
        for item in wanted
    )


def _remove_stubs(directory: str, stubs: tuple[str, ...]) -> None:
    """Take away the empty files and directories on which the runtime mounted something; another machine's step may have put something there meanwhile."""
    for stub in stubs:
        path = f"{directory}/{stub}"
        try:
            if os.path.isdir(path):
                os.rmdir(path)
            elif os.lstat(path).st_size == 0:
                os.unlink(path)
        except OSError:
            continue


def _sentence(failure: Exception) -> str:
    if isinstance(failure, ChandleryError):
        return failure.message
    if isinstance(failure, OSError) and failure.strerror:
        # the second name of a rename: the first is a temporary one
        return f"{failure.strerror}: {failure.filename2 or failure.filename}"
    return str(failure)
