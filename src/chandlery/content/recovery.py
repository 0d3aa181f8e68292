"""After a power failure: rows whose files may not have reached the disk are dropped.

Snapshots are not fsynced one by one; their rows carry the boot in which they were made until a syncfs has covered them. A row that
still names another boot than this one describes files that nobody can vouch for.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.content.database import Database


def current_boot() -> str:
    """A name for the time since this machine's kernel started."""
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return file.read(36).decode()


def drop_unsynced(db: "Database", boot_id: str) -> list[str]:
    """Remove snapshots left unsynced by an earlier boot, and the records that use them; prune removes their files. Their ids."""
    query = "SELECT id FROM snapshot WHERE boot_id IS NOT NULL AND boot_id <> ?"
    if not db.read(query, (boot_id,)):
        return []
    from chandlery.content.references import records_using

    with db.transaction() as tx:
        lost = {row[0] for row in tx.execute(query, (boot_id,))}
        tx.execute_many("DELETE FROM step_record WHERE key = ?", [(key,) for key in records_using(tx, lost)])
        tx.execute_many("DELETE FROM snapshot WHERE id = ?", [(snapshot,) for snapshot in lost])
    return sorted(lost)
