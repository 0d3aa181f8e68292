"""`Volumes`: what the worker and the CLI call.

    attach    head -> lowers, and an upper of the step's own: snapshot isolation, whatever runs beside it
    commit    upper -> delta -> a layer on top of the head as it then is: nobody's additions are lost, nobody waits
    settle    at the end of a build: heads of many layers are folded, what only this machine has is on the disk, garbage goes

A kill at any line leaves the old head or the new one, and directories that `sweep` removes.
"""

from _thread import allocate_lock

from chandlery.content import faults
from chandlery.errors import MachineError
from chandlery.graph.mount import Sharing
from chandlery.values import replace
from chandlery.volume.deletions import Deletions
from chandlery.volume.key import VolumeKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Thread

    from chandlery.content.session import Session
    from chandlery.content.store import Store
    from chandlery.volume.attachment import Attachment
    from chandlery.volume.committing import CommitReport
    from chandlery.volume.forking import Forked
    from chandlery.volume.head import VolumeRow
    from chandlery.volume.inventory import Damage, VolumeListing, VolumeUsage
    from chandlery.volume.removing import Choose, Removed
    from chandlery.volume.repairing import Repaired
    from chandlery.volume.sharing import VolumeReport, VolumeSharing
    from chandlery.volume.size_limit import SizeLimit
    from chandlery.volume.tree import Entry
    from chandlery.volume.trimming import TrimPlan
    from chandlery.volume.use_book import UseBook


class Volumes:
    """The cache volumes of one store. Safe to share between threads; other processes may use the same store."""

    def __init__(self, store: "Store", sharing: "VolumeSharing | None" = None, *, reads: tuple[str, ...] = (), limit: "SizeLimit | None" = None) -> None:
        """`reads` are the scopes that a build reads, in order; a volume that its own scope doesn't have yet begins as that of the first that has it here."""
        self._store = store
        self._limit = limit
        self._sharing = sharing
        if sharing is not None:
            sharing.before_publishing(self._write_book)
        self._reads = reads
        self._begun: set[VolumeKey] = set()
        self._beginning = allocate_lock()
        self._deletions = Deletions()
        self._lock = allocate_lock()
        self._folding: dict[str, Thread] = {}
        self._book: UseBook | None = None
        self._counted: set[VolumeKey] = set()

    def attach(
        self,
        key: VolumeKey,
        session: "Session",
        *,
        sharing: Sharing = Sharing.SHARED,
        mode: int = 0o755,
        uid: int = 0,
        gid: int = 0,
        seed_directory: str | None = None,
        starts_empty: bool = False,
        read_only: bool = False,
        plain: bool = False,
        stubs: tuple[str, ...] = (),
        on_wait: "Callable[[float], None] | None" = None,
    ) -> "Attachment":
        """Lend a volume to a step; end it with `commit` or `discard`, after the overlay was unmounted.

        `mode`, `uid` and `gid` are for the root of a new volume, which is filled from `seed_directory` if given. `starts_empty` shows
        nothing of what is there (--no-cache). `stubs` are paths in the volume on which the caller mounts something of its own. A locked
        volume is waited for; `on_wait(seconds)` is called meanwhile, and ends the waiting by raising. Raises StoreError, NoSpace.
        """
        from chandlery.volume import attaching

        request = attaching.AttachRequest(
            key, sharing, mode, uid, gid, seed_directory, starts_empty, is_read_only=read_only, is_plain=plain, stubs=stubs, on_wait=on_wait
        )
        if not plain and not starts_empty:
            self.fetch(key)
        with faults.translated(self._store.root):
            return attaching.attach(self._store, session, request, self._deletions)

    def fetch(self, key: VolumeKey) -> None:
        """Bring a volume up to date with what others published, once a build; whoever comes second waits for the first. Raises nothing."""
        if self._reads:
            with self._beginning:
                if key not in self._begun:
                    self._begun.add(key)
                    self._begin(key)
        if self._sharing is not None:
            self._sharing.pull_once(key)

    def look_ahead(self, key: VolumeKey) -> None:
        """Read what `fetch` will begin with. Raises nothing."""
        if self._sharing is not None:
            self._sharing.look_ahead(key)

    def hear(self, key: VolumeKey, scopes: tuple[str, ...]) -> tuple[str, ...]:
        """Keep what builds of other scopes told of their reads of a volume; the scopes that have none. Raises RegistryError volume.not-heard."""
        with faults.translated(self._store.root):
            return self._sharing.hear(key, scopes) if self._sharing is not None else scopes

    def _begin(self, key: VolumeKey) -> None:
        from chandlery.volume import forking

        try:
            with faults.translated(self._store.root):
                forking.begin(self._store, key, self._reads)
        except (MachineError, OSError, ValueError):
            # it begins empty, or as somebody else just began it
            pass

    def commit(self, attachment: "Attachment", *, succeeded: bool, step: str = "") -> "CommitReport":
        """Keep what a step added, whether it succeeded or not; once, after the unmount and when none of its processes is left.

        Raises nothing: a volume never makes a build fail. What went wrong is the report's `warning`. `step` is what the step is called.
        """
        from chandlery.volume import committing

        try:
            with faults.translated(self._store.root):
                report = committing.commit(self._store, attachment, self._deletions, succeeded=succeeded)
        except (MachineError, OSError, ValueError) as error:
            report = committing.CommitReport(warning=f"what this step added to cache volume {attachment.key.name} was not kept: {error}")
            committing.throw_away(attachment)
        finally:
            attachment.release()
        if not attachment.plain_directory:
            use = self._use_book().note(attachment, report, step=step, succeeded=succeeded, fetched=self._fetched(attachment.key))
            report = replace(report, use=use)
        if self._sharing is not None and report.generation:
            self._sharing.publish_later(attachment.key)
        if report.layers > committing.MOST_LAYERS:
            self._fold_in_background(attachment.volume_id)
        return report

    def _use_book(self) -> "UseBook":
        from chandlery.volume.use_book import UseBook

        with self._lock:
            if self._book is None:
                self._book = UseBook(self._store)
            return self._book

    def _write_book(self) -> tuple[str, ...]:
        return self._book.write() if self._book is not None else ()

    def _fetched(self, key: VolumeKey) -> tuple[int, int]:
        """The files and bytes that came for a volume in this build, counted for the first step that had it."""
        if self._sharing is None:
            return 0, 0
        with self._lock:
            if key in self._counted:
                return 0, 0
            self._counted.add(key)
        report = next((report for report in self._sharing.report() if (report.name, report.platform) == (key.name, key.platform)), None)
        return (report.files_fetched, report.bytes_fetched) if report is not None else (0, 0)

    def discard(self, attachment: "Attachment") -> None:
        """End an attachment and keep nothing of it."""
        from chandlery.volume import committing

        attachment.release()
        committing.throw_away(attachment)

    def publish(self, key: VolumeKey) -> None:
        """Show others what a volume holds, soon; `close` waits for it."""
        if self._sharing is not None:
            self._sharing.publish_later(key)

    def reports(self) -> "tuple[VolumeReport, ...]":
        """What was moved of which volume so far."""
        return self._sharing.report() if self._sharing is not None else ()

    def close(self, timeout_s: float | None) -> "tuple[VolumeReport, ...]":
        """Wait, at most so long (None: as long as it takes), for what is being published. What of which volume was shared in this build."""
        if self._sharing is None:
            return ()
        if self._book is not None:
            self._sharing.tell_reads(self._book.keys())
        self._sharing.close(timeout_s)
        return self._sharing.report()

    def forget(self, session: "Session") -> None:
        """A build is over: what its steps deleted from volumes is there again for the next."""
        self._deletions.forget(session.id)

    def settle(self) -> None:
        """Finish what needn't be on any step's path: folds under way, statistics, sizes, durability, garbage.

        Safe beside running builds; nothing is lost without it."""
        from chandlery.volume import durability, garbage

        with self._lock:
            threads = list(self._folding.values())
        for thread in threads:
            thread.join()
        used = self._write_book()
        if self._limit is not None:
            self._limit.keep(self._store, used)
        with faults.translated(self._store.root):
            durability.settle(self._store)
            garbage.sweep(self._store)

    def _fold_in_background(self, volume_id: str) -> None:
        import threading

        from chandlery.volume import folding

        def run() -> None:
            try:
                folding.fold_volume(self._store, volume_id)
            except (MachineError, OSError, ValueError):
                # the head is as it was, and the next commit tries again
                pass
            finally:
                with self._lock:
                    del self._folding[volume_id]

        with self._lock:
            if volume_id in self._folding:
                return
            thread = threading.Thread(target=run, name="chandlery-fold", daemon=True)
            self._folding[volume_id] = thread
            thread.start()

    def usage(self) -> "VolumeUsage":
        """How much the volumes, what they share, and their garbage take."""
        from chandlery.volume import inventory

        return inventory.usage(self._store)

    def list(self) -> "tuple[VolumeListing, ...]":
        from chandlery.volume import inventory

        return inventory.listing(self._store)

    def rows(self) -> "tuple[VolumeRow, ...]":
        """Every instance of every volume, in order of name."""
        from chandlery.volume.head import FIND_ALL, volume_row

        return tuple(map(volume_row, self._store.db.read(FIND_ALL)))

    def show(self, key: VolumeKey) -> "tuple[Entry, ...]":
        """What a volume holds, in order of path. Raises StoreError volume.unknown."""
        from chandlery.volume import inventory

        return inventory.show(self._store, key)

    def remove(self, key: VolumeKey) -> int:
        """Remove a volume with all its instances; the bytes it held. Raises StoreError volume.unknown, volume.in-use."""
        from chandlery.volume import inventory

        return inventory.remove(self._store, key)

    def remove_path(self, key: VolumeKey, path: str) -> "Removed":
        """Remove a path and what is below it for good, by a tombstone that every merge honours. Raises StoreError volume.unknown."""
        from chandlery.volume import removing

        with faults.translated(self._store.root):
            return removing.remove_paths(self._store, key, [path.strip("/")])

    def trim(self, key: VolumeKey, choose: "Choose", *, dry_run: bool = False) -> "TrimPlan":
        """Remove what `choose` says of a volume's files, as `remove_path` does; what that is. Raises StoreError volume.unknown."""
        from chandlery.volume import removing

        with faults.translated(self._store.root):
            return (removing.would_trim if dry_run else removing.trim)(self._store, removing.shared_id(self._store, key), choose)

    def free(self) -> None:
        """Give back the space of what was removed. Looks at every file that volumes share."""
        from chandlery.volume import removing

        removing.free(self._store)

    def fork(self, key: VolumeKey, scope: str) -> "Forked":
        """Start the volume of another scope from this one. Raises RequestError volume.exists, volume.same-scope; StoreError volume.unknown."""
        from chandlery.volume import forking

        with faults.translated(self._store.root):
            return forking.fork(self._store, key, scope)

    def repair(self, volume_id: str, damage: "tuple[Damage, ...]") -> "Repaired":
        """Drop here what `verify` found damaged in one instance of a volume. Raises StoreError volume.unknown, volume.busy."""
        from chandlery.volume import repairing

        with faults.translated(self._store.root):
            return repairing.repair(self._store, volume_id, damage)

    def verify(self, key: VolumeKey) -> "tuple[Damage, ...]":
        """Read every file of a volume; what isn't as it was recorded. Raises StoreError volume.unknown."""
        from chandlery.volume import inventory

        return inventory.verify(self._store, key)
