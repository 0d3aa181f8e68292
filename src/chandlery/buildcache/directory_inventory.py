"""`DirectoryInventory`: the steps of a shared cache in a directory.

Deleting is safe beside builds: an entry without its blobs is a miss that heals, and a blob is deleted only when no entry names it and nobody has needed it for
a while (publishing finds a blob first and names it later; it renews the blob's time). "Now" is the file server's, not this machine's.
"""

import os
import re
import stat

from chandlery.buildcache.entry import MAX_BYTES
from chandlery.buildcache.inventory import Held, understood
from chandlery.errors import AccessDenied, Unavailable
from chandlery.linux.atomic import TEMP_MARK, temp_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DIGEST = re.compile(rb"sha256:([0-9a-f]{64})")


class DirectoryInventory:
    """`scope` "" is every scope."""

    notes_use = True

    def __init__(self, name: str, directory: str, *, scope: str = "") -> None:
        self.name = name
        self._directory = directory
        self._scope = scope

    def entries(self) -> list[Held]:
        if not os.path.isdir(self._directory):
            raise Unavailable(f"the cache {self.name} is not there", code="cache.unavailable", hint="is it mounted?")
        return [held for held in self._all() if not self._scope or (held.entry is not None and held.entry.scope == self._scope)]

    def delete(self, held: Held) -> bool:
        try:
            if os.stat(held.place).st_mtime != held.last_used_s:
                return False
            os.unlink(held.place)
        except FileNotFoundError:
            return False
        except OSError as refused:
            raise AccessDenied(f"{held.place} can't be deleted: {refused.strerror}", code="cache.delete-refused", hint="use the user who owns it") from refused
        return True

    def sweep(self, left: "Iterable[Held]", *, grace_s: float, dry_run: bool) -> int:
        """Whatever scope was asked for, every entry that is there now keeps its blobs; those of `left` are what would be there after a dry run."""
        named = {blob.rpartition(":")[2] for held in (left if dry_run and not self._scope else self._all()) for blob, _ in held.blobs}
        before_s = self._server_time() - grace_s
        freed = 0
        for path, found in self._files("blobs"):
            name = os.path.basename(path)
            if (name in named and TEMP_MARK not in name) or found.st_mtime >= before_s:
                continue
            freed += found.st_size
            if not dry_run:
                try:
                    os.unlink(path)
                except FileNotFoundError:
                    continue
                except OSError as refused:
                    raise AccessDenied(
                        f"{path} can't be deleted: {refused.strerror}", code="cache.delete-refused", hint="use the user who owns it"
                    ) from refused
        return freed

    def volume_bytes(self) -> int | None:
        return sum(found.st_size for _, found in self._files("volumes"))

    def _all(self) -> "Iterator[Held]":
        for path, found in self._files("steps"):
            if TEMP_MARK in path or not path.endswith(".json"):
                continue
            try:
                with open(path, "rb") as file:
                    raw = file.read(MAX_BYTES + 1)
            except OSError:
                continue
            entry = understood(raw)
            if entry is not None:
                blobs = tuple((str(blob.digest), blob.size_bytes) for blob in entry.blobs)
            else:
                # another version's: whatever may be the name of a blob of it
                blobs = tuple((f"sha256:{name.decode()}", 0) for name in sorted(set(_DIGEST.findall(raw))))
            yield Held(path, entry, len(raw), found.st_mtime, blobs)

    def _files(self, part: str) -> "Iterator[tuple[str, os.stat_result]]":
        pending = [f"{self._directory}/{part}"]
        while pending:
            try:
                with os.scandir(pending.pop()) as listing:
                    for item in listing:
                        found = item.stat(follow_symlinks=False)
                        if stat.S_ISDIR(found.st_mode):
                            pending.append(item.path)
                        elif stat.S_ISREG(found.st_mode):
                            yield item.path, found
            except FileNotFoundError:
                continue
            except OSError as broken:
                raise Unavailable(
                    f"the cache {self.name} can't be read: {broken.strerror}", code="cache.unavailable", hint="use the user who owns it"
                ) from broken

    def _server_time(self) -> float:
        probe = temp_name(f"{self._directory}/time")
        try:
            os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            try:
                return os.stat(probe).st_mtime
            finally:
                os.unlink(probe)
        except OSError as broken:
            raise AccessDenied(f"{self.name} can't be written: {broken.strerror}", code="cache.delete-refused", hint="use the user who owns it") from broken
