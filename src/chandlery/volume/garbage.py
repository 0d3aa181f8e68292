"""Removing what no head names: layers that were folded into others, uppers of steps that died, volumes without a row, lonely objects.

A directory is garbage when no row names it and nobody has it locked (attachment.py). Both are looked at under the database's write lock, which
`attach` holds while it locks; garbage is moved to the trash there and deleted afterwards. Calling this at any moment breaks no step.
"""

import fcntl
import os

from chandlery.content.names import fresh_name
from chandlery.linux.removal import remove_tree
from chandlery.volume import history, notes, reads
from chandlery.volume.head import FIND_ALL, PLAIN_INSTANCE, volume_row
from chandlery.volume.objects import Objects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.content.store import Store

PLAIN = "plain"
# what lies beside the layers: locks, and what is remembered of how the volume is used
OTHER_FILES = frozenset(
    {
        "lock",
        "commit.lock",
        "fold.lock",
        "tar.lock",
        "tar.json",
        reads.LOCK,
        reads.FILE,
        reads.NEW_FILE,
        history.FILE,
        history.NEW_FILE,
        notes.FILE,
        notes.NEW_FILE,
    }
)


def sweep(store: "Store") -> int:
    """Remove unreferenced layers and volumes; how many."""
    trashed: list[str] = []
    for volume_id in os.listdir(store.layout.volumes):
        if _may_have_garbage(store, volume_id):
            trashed.extend(_sweep_volume(store, volume_id))
    for path in trashed:
        remove_tree(path)
    return len(trashed)


def prune(store: "Store") -> int:
    """`sweep`, and then the objects that only the removed volumes used; how many things went. Looks at every object."""
    removed = sweep(store)
    return removed + Objects(store).sweep()


def to_trash(store: "Store", path: str) -> str:
    """Take a directory out of its place; its name in the trash."""
    trash = f"{store.layout.trash}/{fresh_name()}"
    os.rename(path, trash)
    return trash


def _may_have_garbage(store: "Store", volume_id: str) -> bool:
    """A look without the write lock, so that a store without garbage is swept without stopping anybody."""
    named = _named(store.db.read(FIND_ALL), volume_id)
    return named is None or bool(set(_names(f"{store.layout.volumes}/{volume_id}")) - named - OTHER_FILES)


def _sweep_volume(store: "Store", volume_id: str) -> list[str]:
    directory = f"{store.layout.volumes}/{volume_id}"
    trashed: list[str] = []
    with store.db.transaction(durable=False) as tx:
        named = _named(tx.execute(FIND_ALL), volume_id)
        for name in set(_names(directory)) - (named or set()) - OTHER_FILES:
            if _is_free(f"{directory}/{name}"):
                trashed.append(to_trash(store, f"{directory}/{name}"))
        if named is None and not set(_names(directory)) - OTHER_FILES and os.path.isdir(directory):
            trashed.append(to_trash(store, directory))
    return trashed


def _named(rows: "list[tuple[object, ...]]", volume_id: str) -> set[str] | None:
    """The directories that the volume's row names; None without a row."""
    for row in rows:
        if row[0] == volume_id:
            found = volume_row(row)
            return {PLAIN} if found.instance == PLAIN_INSTANCE else {layer.name for layer in found.head.layers}
    return None


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_free(path: str) -> bool:
    """Whether no step has the directory locked."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
