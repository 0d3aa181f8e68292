"""`VolumeSharing`: when a build's volumes are fetched and published. A volume is pulled once a build, when the first step asks for it; what steps
add is published by one thread in the background, so no step waits for it. Nothing that goes wrong here raises: it is told by `warn(code, text, cause)`,
where `cause` is the code of the error behind it.

A pull reads, for each place, the remotes of all scopes that the build reads; what is published goes to the first place that may be written, to the
build's own scope, and is only what none of the others that were read has.
"""

import errno
import threading
import time
from concurrent.futures import Future

from chandlery.errors import AccessDenied, ChandleryError, Unavailable
from chandlery.values import replace, value
from chandlery.volume import notes, publishing, reads, shared
from chandlery.volume.key import VolumeKey
from chandlery.volume.problem import code_of
from chandlery.volume.telling import Telling, Told
from chandlery.volume.tree import EMPTY_VECTOR, VersionVector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from chandlery.content.store import Store
    from chandlery.oci.digest import Digest
    from chandlery.scope import Scopes
    from chandlery.volume.protocol import VolumeRemote
    from chandlery.volume.remote_head import Seen

    Looked = tuple[list[tuple["VolumePlace", str]], tuple[shared.Look, ...]]


@value
class VolumePlace:
    """Where volumes are shared: `remote_of` gives the remote of a volume there, whose key's scope says which scope's, for reading; `publish_to` the same
    for publishing, if that has more patience, or goes on when the build was stopped."""

    name: str
    remote_of: "Callable[[VolumeKey], VolumeRemote]"
    is_writable: bool
    publish_to: "Callable[[VolumeKey], VolumeRemote] | None" = None


@value
class VolumeReport:
    """What one volume of a build moved; linked is what other volumes of this machine had already.

    `sources` are the (place, scope) whose heads were read; `not_published` says why, "" if nothing is missing.
    """

    name: str
    platform: str
    sources: tuple[tuple[str, str], ...] = ()
    files_fetched: int = 0
    bytes_fetched: int = 0
    files_linked: int = 0
    bytes_linked: int = 0
    files_published: int = 0
    bytes_published: int = 0
    left_out: tuple[str, ...] = ()
    not_published: str = ""


class VolumeSharing:
    """For one build. A volume's key here has the scope that the build writes. `secrets` gives the values lent to steps so far; `machine` is what others are
    told that this one is called. `down` are places that can't be reached, and why, as whoever uses them finds out: told once, and not waited for again."""

    def __init__(
        self,
        store: "Store",
        places: tuple[VolumePlace, ...],
        scopes: "Scopes",
        *,
        warn: "Callable[[str, str, str], None]",
        secrets: "Callable[[], tuple[bytes, ...]]" = tuple,
        machine: str = "",
        down: dict[str, str] | None = None,
    ) -> None:
        self._machine = machine
        self._write_reads: Callable[[], object] = tuple
        self._told: dict[VolumeKey, Told] = {}
        self._store, self._places, self._scopes, self._warn, self._secrets = store, places, scopes, warn, secrets
        self._target = next((place for place in places if place.is_writable), None)
        self._turn = threading.Condition()
        self._pulled: dict[VolumeKey, threading.Lock] = {}
        self._ahead: dict[VolumeKey, Future[Looked]] = {}
        self._reports: dict[VolumeKey, VolumeReport] = {}
        # of each volume: what other places and scopes have, what the place to publish to showed last, packs that are not what their names say
        self._elsewhere: dict[VolumeKey, VersionVector] = {}
        self._seen: dict[VolumeKey, Seen] = {}
        self._broken: dict[VolumeKey, set[Digest]] = {}
        self._down = down if down is not None else {}
        self._untaken: dict[str, str] = {}
        # what is to be published, and whether only to tell what was read
        self._waiting: list[tuple[VolumeKey, bool]] = []
        self._running: tuple[VolumeKey, bool] | None = None
        self._thread: threading.Thread | None = None

    def pull_once(self, key: VolumeKey) -> None:
        """Bring a volume up to date at its first use; other users of the same volume wait for that."""
        with self._turn:
            is_first = key not in self._pulled
            lock = self._pulled.setdefault(key, threading.Lock())
            if is_first:
                lock.acquire()
        if not is_first:
            with lock:
                return
        try:
            self._pull(key)
        finally:
            lock.release()

    def look_ahead(self, key: VolumeKey) -> None:
        """Read the heads for a pull that may come soon, unless that has begun; nothing is said of what goes wrong, since nobody may need it."""
        with self._turn:
            if key in self._pulled or key in self._ahead:
                return
            ahead = self._ahead[key] = Future()
        try:
            ahead.set_result(self._look(key))
        except BaseException as broken:
            ahead.set_exception(broken)

    def hear(self, key: VolumeKey, scopes: "Iterable[str]") -> tuple[str, ...]:
        """Keep what builds of these scopes told of their reads of the volume (hearing.py); those that have none. Raises RegistryError, OSError."""
        from chandlery.volume import hearing

        return hearing.hear(self._store, key, {scope: [place.remote_of(replace(key, scope=scope)) for place in self._places] for scope in scopes})

    def publish_later(self, key: VolumeKey) -> None:
        """Publish what a volume has then, soon; returns at once."""
        self._enqueue(key, only_tells=False)

    def tell_reads(self, keys: "Iterable[VolumeKey]") -> None:
        """At the end: let others know what was read of these volumes, once a day."""
        for key in keys:
            self._enqueue(key, only_tells=True)

    def before_publishing(self, write_reads: "Callable[[], object]") -> None:
        """`write_reads` writes down what this build's steps have read so far."""
        self._write_reads = write_reads

    def _enqueue(self, key: VolumeKey, *, only_tells: bool) -> None:
        with self._turn:
            if self._target is None or (key, only_tells) in self._waiting:
                return
            self._waiting.append((key, only_tells))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="chandlery-publish", daemon=True)
                self._thread.start()

    def close(self, timeout_s: float | None) -> tuple[str, ...]:
        """Wait for what is still on its way; the names of volumes that were not published in time, of which the user is warned."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._turn:
            while self._waiting or self._running is not None:
                left_s = None if deadline is None else deadline - time.monotonic()
                if left_s is not None and left_s <= 0:
                    break
                self._turn.wait(left_s)
            late = (*([self._running] if self._running else []), *self._waiting)
            self._waiting.clear()
        names = list(dict.fromkeys(key for key, only_tells in late if not only_tells))
        for key in names:
            why = f"it took longer than {timeout_s:g} s; the next build here publishes it"
            self._note(key, not_published=why)
            self._warn("volume.late", f"what this build added to cache volume {key.name} was not published: {why}", "")
        return tuple(key.name for key in names)

    def report(self) -> tuple[VolumeReport, ...]:
        """Of every volume that was pulled or published so far, in order of first use."""
        with self._turn:
            return tuple(self._reports.values())

    def _pull(self, key: VolumeKey) -> None:
        self._note(key)
        with self._turn:
            ahead = self._ahead.get(key)
        try:
            sources, looks = ahead.result() if ahead is not None else self._look(key)
            if not sources:
                return
            found = shared.pull(self._store, [look.remote for look in looks], key, looks=looks)
        except (ChandleryError, OSError, ValueError) as broken:
            self._warn("volume.not-fetched", f"cache volume {key.name} was not fetched: {broken}", code_of(broken))
            return
        for (place, scope), look in zip(sources, found.looks, strict=True):
            self._take_note(key, place, scope, look)
        if found.warnings:
            others = f" (and {len(found.warnings) - 1} more)" if len(found.warnings) > 1 else ""
            first = found.warnings[0]
            self._warn("volume.not-whole", f"cache volume {key.name} was not fetched whole: {first.text}{others}", first.code)
        self._broken.setdefault(key, set()).update(found.broken)
        read = tuple([(place.name, scope) for (place, scope), look in zip(sources, found.looks, strict=True) if look.names])
        self._note(
            key,
            sources=read,
            files_fetched=found.files_moved,
            bytes_fetched=found.bytes_moved,
            files_linked=found.files - found.files_moved,
            bytes_linked=found.bytes_added - found.bytes_moved,
        )

    def _look(self, key: VolumeKey) -> "Looked":
        """The places and scopes to read from, and what is there."""
        sources = [(place, scope) for place in self._places if place.name not in self._down for scope in self._scopes.reads]
        remotes = [place.remote_of(replace(key, scope=scope)) for place, scope in sources]
        return sources, shared.look_at(self._store, remotes, key) if remotes else ()

    def _take_note(self, key: VolumeKey, place: VolumePlace, scope: str, look: "shared.Look") -> None:
        """Of one place's answer, for the summary and for what is published later."""
        if look.error is not None:
            if place.name not in self._down:
                self._warn("volume.not-fetched", f"cache volume {key.name} was not fetched: {look.error}", code_of(look.error))
            if isinstance(look.error, Unavailable):
                self._down[place.name] = str(look.error)
        elif place is self._target and scope == self._scopes.write:
            if look.seen is not None:
                self._seen[key] = look.seen
        else:
            self._elsewhere[key] = self._elsewhere.get(key, EMPTY_VECTOR).joined(look.vector)

    def _work(self) -> None:
        while True:
            with self._turn:
                if not self._waiting:
                    self._thread = None
                    return
                self._running = key, only_tells = self._waiting.pop(0)
            try:
                self._tell(key) if only_tells else self._publish(key)
            finally:
                with self._turn:
                    self._running = None
                    self._turn.notify_all()

    def _publish(self, key: VolumeKey) -> None:
        target = self._target
        if target is None:
            return
        if (why := self._untaken.get(target.name) or self._down.get(target.name)) is not None:
            self._note(key, not_published=why)
            return
        try:
            done = self._show(target, key, is_reason=False)
        except (ChandleryError, OSError, ValueError) as broken:
            if _is_read_only(broken):
                self._only_read(target, key, broken)
                return
            if isinstance(broken, Unavailable):
                self._untaken[target.name] = str(broken)
            self._note(key, not_published=str(broken))
            self._warn("volume.not-published", f"what this build added to cache volume {key.name} was not published: {broken}", code_of(broken))
            return
        before = self._note(key)
        left_out = tuple(dict.fromkeys((*before.left_out, *done.left_out)))
        self._note(
            key,
            files_published=before.files_published + done.files,
            bytes_published=before.bytes_published + done.bytes_sent,
            left_out=left_out,
            not_published="",
        )
        if done.left_out:
            text = f"{len(done.left_out)} files of cache volume {key.name} hold the value of a secret and were not published: {done.left_out[0]} ..."
            self._warn("volume.holds-secret", text, "")

    def _show(self, target: VolumePlace, key: VolumeKey, *, is_reason: bool) -> publishing.PublishReport:
        """Raises ChandleryError, OSError, ValueError."""
        remote = (target.publish_to or target.remote_of)(key)
        self._write_reads()
        told = self._told.setdefault(key, Told(self._store, key, remote.address))
        done = publishing.publish(
            self._store,
            remote,
            key,
            secrets=self._secrets(),
            elsewhere=self._elsewhere.get(key, EMPTY_VECTOR),
            before=self._seen.get(key),
            broken=frozenset(self._broken.get(key, ())),
            told=Telling(told.since, self._machine, is_reason),
        )
        if done.has_told or is_reason:
            told.note(succeeded=True)
        self._seen[key] = done.seen
        self._broken.pop(key, None)
        return done

    def _tell(self, key: VolumeKey) -> None:
        """Statistics: what goes wrong is silent, and tried again tomorrow."""
        target = self._target
        if target is None or target.name in self._down or target.name in self._untaken:
            return
        told: Told | None = None
        try:
            told = self._told.setdefault(key, Told(self._store, key, (target.publish_to or target.remote_of)(key).address))
            if told.has_tried:
                return
            self._write_reads()
            known = self._seen.get(key)
            if known is not None:
                read = notes.of_reads(reads.load(told.directory), told.since)
                if not read.adds_to(notes.united(map(notes.decode, known.head.notes))):
                    return
            self._show(target, key, is_reason=True)
        except (ChandleryError, OSError, ValueError):
            if told is not None:
                told.note(succeeded=False)

    def _only_read(self, target: VolumePlace, key: VolumeKey, denied: Exception) -> None:
        self._target = None
        self._note(key, not_published=f"{target.name} is only read: {denied}")
        self._warn("volume.read-only", f"cache volumes are only read from {target.name}: scope {key.scope} can't be written ({denied})", code_of(denied))

    def _note(self, key: VolumeKey, **changes: object) -> VolumeReport:
        """The volume's report, with `changes`."""
        with self._turn:
            before = self._reports.get(key) or VolumeReport(key.name, key.platform)
            self._reports[key] = after = replace(before, **changes)
            return after


def _is_read_only(failure: Exception) -> bool:
    """Whether somebody who may not write was told so."""
    return isinstance(failure, AccessDenied | PermissionError) or (isinstance(failure, OSError) and failure.errno == errno.EROFS)
