"""`Store`: the place on this machine where everything is kept, opened.

What `open` promises: the directory exists, is the caller's own and nobody else's to read, lies on a file system that can be an overlay upper,
and its database has this format. Rows that a power failure may have made untrue are gone (recovery.py).
"""

import os

from chandlery.content import faults
from chandlery.content.blobs import BlobStore
from chandlery.content.database import Database
from chandlery.content.layout import DIRECTORIES, StoreLayout
from chandlery.content.recovery import current_boot, drop_unsynced
from chandlery.content.session import Session
from chandlery.errors import StoreError


class Store:
    """Many processes and threads may have one store open. `root` is absolute and free of links."""

    def __init__(self, layout: StoreLayout, db: Database) -> None:
        self.layout = layout
        self.db = db
        self.blobs = BlobStore(layout, db)
        self.boot_id = current_boot()

    @property
    def root(self) -> str:
        return self.layout.root

    @property
    def home(self) -> str:
        """What a copy of this store doesn't have: the boot and the directory that it lives in. A cloned disk or a restored one has another home."""
        found = os.stat(self.root)
        return f"{self.boot_id}:{found.st_dev:x}:{found.st_ino:x}"

    @classmethod
    def open(cls, root: str) -> "Store":
        """Open the store at `root`, made if absent.

        Raises StoreError store.newer, store.foreign-owner, store.read-only, store.damaged, store.busy, store.on-nfs, store.on-overlay or
        store.unsuitable; NoSpace.
        """
        layout = StoreLayout(os.path.realpath(root))
        with faults.translated(layout.root):
            _check_root(layout)
        store = cls(layout, Database(layout.database))
        try:
            drop_unsynced(store.db, store.boot_id)
        except BaseException:
            store.close()
            raise
        return store

    def begin(self) -> Session:
        """A session of this process: its leases and scratch. Close it."""
        return Session(self.layout)

    def close(self) -> None:
        self.db.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_root(layout: StoreLayout) -> None:
    """See that the directory is ours to use, making it if need be. A store that was in use costs two stats and a statvfs."""
    try:
        found = os.stat(layout.root)
    except FileNotFoundError:
        _make_root(layout)
        found = os.stat(layout.root)
    except NotADirectoryError:
        raise _not_a_directory(layout.root) from None
    if found.st_mode & 0o170000 != 0o040000:
        raise _not_a_directory(layout.root)
    if found.st_uid != os.geteuid():
        raise StoreError(
            f"the store at {layout.root} belongs to user {found.st_uid}, not to {os.geteuid()}",
            code="store.foreign-owner",
            hint="run as its owner, or choose another store with --root",
        )
    if os.statvfs(layout.root).f_flag & os.ST_RDONLY:
        raise faults.read_only(layout.root)
    if found.st_mode & 0o077:
        os.chmod(layout.root, 0o700)
    is_made = os.path.exists(layout.database)
    # a device number without a major isn't a disk's: network and stacked file systems have those, and a few good ones
    if not is_made or not os.major(found.st_dev):
        from chandlery.content.suitability import check_file_system

        check_file_system(layout.root)
    if not is_made:
        for name in DIRECTORIES:
            os.makedirs(f"{layout.root}/{name}", 0o700, exist_ok=True)
        from chandlery.content.reserve import set_aside

        set_aside(layout)


def _make_root(layout: StoreLayout) -> None:
    try:
        os.makedirs(os.path.dirname(layout.root), exist_ok=True)
        os.mkdir(layout.root, 0o700)
    except FileExistsError:
        pass
    except PermissionError:
        raise StoreError(
            f"may not make the store at {layout.root}", code="store.denied", hint="choose a directory of your own with --root or CHANDLERY_ROOT"
        ) from None


def _not_a_directory(root: str) -> StoreError:
    return StoreError(f"the store at {root} is not a directory", code="store.not-a-directory", hint="choose another with --root")
