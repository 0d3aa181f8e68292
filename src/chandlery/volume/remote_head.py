"""The document under which one writer shows a volume to others: which packs it consists of, and what they cover.

Packs of any number of heads can be united in any order: at each path the larger precedence wins (merge.py), and causally later is always
larger. `absorbed` names the slots whose packs and vectors are in here, so that anybody may delete them. `notes` are texts of notes.py, which nobody needs.

`tables` are copies of small packs' tables of contents, by the sha256 by which the packs are named: with many packs each would cost a request. They are verified
as those in the packs are, and any may be missing. `bundles` hold copies of larger ones.
"""

import base64
from threading import Lock

from chandlery.errors import ChandleryError, NotFound, StoreError
from chandlery.oci import canonical
from chandlery.values import value
from chandlery.volume import bundles, head_room, pack, table_check, tombstones
from chandlery.volume.bundles import Bundle
from chandlery.volume.head import fresh_slot
from chandlery.volume.head_room import HeadRoom
from chandlery.volume.pack import PackRef
from chandlery.volume.problem import Problem, problem_of
from chandlery.volume.protocol import HeadName
from chandlery.volume.tree import EMPTY_VECTOR, FORMAT, VersionVector, check_format, decode_path, decode_vector, encode_path, encode_vector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from chandlery.oci.digest import Digest
    from chandlery.volume.protocol import VolumeRemote
    from chandlery.volume.tombstones import Tombstones

MAX_PACKS = 64
_ROUNDS = 4
# heads that one look reads at most: more than ever compete, unless nothing can be deleted and nobody absorbs
_MOST_HEADS, _READERS = 64, 4
# beyond this heads are read one by one: their documents, too, take memory
_BULKY_BYTES = 512 << 10
_SMALL_BYTES = 16 << 10
_MOST_TABLE_BYTES = 64 << 10
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


@value
class RemoteHead:
    vector: VersionVector = EMPTY_VECTOR
    lamport: int = 0
    packs: tuple[PackRef, ...] = ()
    tombstones: "Tombstones" = ()
    absorbed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tables: tuple[tuple[str, bytes], ...] = ()
    bundles: tuple[Bundle, ...] = ()

    @property
    def blobs(self) -> "tuple[tuple[Digest, int], ...]":
        """What is named, with sizes."""
        packs = tuple([(item.digest, item.size_bytes) for item in self.packs])
        return (*packs, *((bundle.digest, bundle.size_bytes) for bundle in self.bundles))

    @property
    def weight(self) -> int:
        """About how many bytes it takes."""
        vectors = {id(vector): len(vector.seen) for vector in (self.vector, *(item.by for item in self.packs), *(vector for _, vector in self.tombstones))}
        text_bytes = sum(map(len, self.notes)) + sum(len(table) for _, table in self.tables) + sum(len(path) for path, _ in self.tombstones)
        return head_room.weigh_head(sum(vectors.values()) + len(self.tombstones) + len(self.absorbed), text_bytes)


@value
class Seen:
    """What a remote showed: its heads, those that others had absorbed, or that are damaged, and nobody has deleted yet; and what was wrong with others."""

    heads: tuple[tuple[HeadName, RemoteHead], ...] = ()
    leftovers: tuple[HeadName, ...] = ()
    warnings: tuple[Problem, ...] = ()

    @property
    def names(self) -> tuple[HeadName, ...]:
        return tuple([name for name, _ in self.heads])

    @property
    def head(self) -> RemoteHead:
        """The heads, united."""
        merged = RemoteHead()
        for _, head in self.heads:
            merged = united(merged, head)
        return merged


def fresh_head_name(seen: Seen) -> str:
    """A name that nobody uses, later in order than all that were seen, whatever anybody's clock says."""
    last = max((_number(name.slot) for name in seen.names), default=0)
    return f"h{last + 1:010d}-{fresh_slot()}"


def read_all(remote: "VolumeRemote", before: Seen | None = None, names: "list[HeadName] | None" = None) -> Seen:
    """Every head that no other has absorbed. The newest are read first, so where nothing can be deleted a few are read of many.

    One that disappears while it is read was absorbed by another that has appeared: then they are listed again. `before` is what was seen earlier, `names`
    a list that was just made. Raises RegistryError, OSError.
    """
    known = dict(before.heads) if before is not None else {}
    for _ in range(_ROUNDS):
        found = _Reading(remote, known)
        if found.read(names if names is not None else remote.heads()):
            break
        names = None
    return found.seen()


class _Reading:
    def __init__(self, remote: "VolumeRemote", known: "dict[HeadName, RemoteHead]") -> None:
        self._remote, self._known = remote, known
        self._room = HeadRoom(sum(head.weight for head in known.values()))
        self._parsing, self._most_at_once = Lock(), _READERS
        self._heads: dict[HeadName, RemoteHead] = {}
        self._absorbed: set[str] = set()
        self._leftovers: list[HeadName] = []
        self._warnings: list[Problem] = []

    def read(self, listed: "list[HeadName]") -> bool:
        """Whether none disappeared meanwhile."""
        # a name that no writer gives is nobody's head, and couldn't be named as absorbed
        pending = sorted([name for name in listed if table_check.is_slot(name.slot)], key=lambda name: name.slot, reverse=True)
        at_once = 1
        is_stable = True
        while pending and len(self._heads) + len(self._warnings) < _MOST_HEADS:
            batch, pending = pending[:at_once], pending[at_once:]
            for name, found in zip(batch, self._read_batch(batch), strict=True):
                if isinstance(found, RemoteHead):
                    self._heads[name] = self._known[name] = found
                    self._absorbed.update(slot for slot in found.absorbed if _number(slot) < _number(name.slot))
                elif found is not None:
                    self._warnings.append(found)
                else:
                    is_stable = False
            self._leftovers.extend(name for name in pending if name.slot in self._absorbed)
            pending = [name for name in pending if name.slot not in self._absorbed]
            at_once = self._most_at_once
        return is_stable

    def seen(self) -> Seen:
        heads = tuple([(name, head) for name, head in self._heads.items() if name.slot not in self._absorbed])
        leftovers = (*self._leftovers, *(name for name in self._heads if name.slot in self._absorbed))
        return Seen(heads, leftovers, tuple(self._warnings))

    def _read_batch(self, batch: "list[HeadName]") -> "list[RemoteHead | Problem | None]":
        if len(batch) == 1:
            return [self._read_one(batch[0])]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(len(batch)) as pool:
            return list(pool.map(self._read_one, batch))

    def _read_one(self, name: HeadName) -> "RemoteHead | Problem | None":
        """A head; what is wrong with it; or None where it is gone."""
        if name in self._known:
            return self._known[name]
        try:
            document = self._remote.read_head(name)
            if len(document) > _BULKY_BYTES:
                self._most_at_once = 1
            with self._parsing:
                return decode(document, self._room)
        except NotFound:
            return None
        except (ChandleryError, OSError, ValueError, KeyError, TypeError, AttributeError) as broken:
            if name.digest and getattr(broken, "code", "") == "volume.damaged-head":
                # it isn't what its name says, and never will be: who publishes next deletes it
                self._leftovers.append(name)
            return problem_of(broken, f"{name.slot} of {self._remote.name}")


def needed(packs: tuple[PackRef, ...]) -> tuple[PackRef, ...]:
    """Without those that another one was made of; of two that were made of the same at once one is enough, the same one whoever looks."""
    replaced = {mark for item in packs for mark in item.replaces}
    kept: dict[object, PackRef] = {}
    for item in sorted(packs, key=lambda item: item.digest):
        if item.mark not in replaced:
            kept.setdefault((item.by, item.replaces) if item.replaces else item, item)
    # packs that replace each other are nobody's honest work
    return tuple([item for item in packs if any(item is other for other in kept.values())]) or packs


def encode(head: RemoteHead) -> bytes:
    """Raises StoreError volume.heads-too-large."""
    plain = canonical.encode(
        {
            "format": FORMAT,
            "vector": encode_vector(head.vector),
            "lamport": head.lamport,
            "packs": [pack.encode_ref(item) for item in head.packs],
            "tombstones": _encode_tombstones(head.tombstones),
            "absorbed": list(head.absorbed),
            "notes": list(head.notes),
            **({"tables": {sha256: base64.b64encode(table).decode() for sha256, table in head.tables}} if head.tables else {}),
            **({"bundles": [bundles.encode(bundle) for bundle in head.bundles]} if head.bundles else {}),
        }
    )
    if len(plain) <= _SMALL_BYTES:
        return plain
    # nobody could read it
    head_room.weigh(plain)
    import zstandard

    return zstandard.ZstdCompressor(level=5).compress(plain)


def decode(data: bytes, room: HeadRoom | None = None) -> RemoteHead:
    """Raises StoreError (volume.format, volume.bad-table, volume.bad-head, volume.heads-too-large); ValueError, KeyError or TypeError for what
    is no such document."""
    plain = pack.expand(data, head_room.MAX_PLAIN_BYTES) if data.startswith(_ZSTD_MAGIC) else data
    (room or HeadRoom()).take(head_room.weigh(plain))
    document = check_format(table_check.parse(plain))
    del plain
    if not all(isinstance(document[name], list) for name in ("packs", "absorbed", "tombstones")):
        raise StoreError("the head of a cache volume is malformed", code="volume.bad-head")
    packs = tuple([pack.decode_ref(item) for item in document["packs"]])
    removals = [(decode_vector(vector), paths) for vector, paths in document["tombstones"]]
    removed = tuple(sorted((decode_path(path), vector) for vector, paths in removals for path in paths))
    notes = document.get("notes", [])
    told = tuple([text for text in notes if isinstance(text, str)]) if isinstance(notes, list) else ()
    copies = tuple([(sha256, base64.b64decode(table)) for sha256, table in document.get("tables", {}).items()])
    named = bundles.decode(document.get("bundles", []))
    head = RemoteHead(decode_vector(document["vector"]), document["lamport"], packs, removed, tuple(document["absorbed"]), told, copies, named)
    vectors = (head.vector, *(vector for vector, _ in removals))
    is_possible = table_check.is_count(head.lamport) and len(head.packs) <= MAX_PACKS and all(map(table_check.is_vector, vectors))
    if not is_possible or not all(table_check.is_path(path) for path, _ in head.tombstones) or not all(map(table_check.is_slot, head.absorbed)):
        raise StoreError("the head of a cache volume is malformed", code="volume.bad-head")
    return head


def _encode_tombstones(removed: "Tombstones") -> "list[list[object]]":
    """By vector: what was removed together has the same, which names every writer."""
    paths: dict[VersionVector, list[str]] = {}
    for path, vector in removed:
        paths.setdefault(vector, []).append(encode_path(path))
    return [[encode_vector(vector), found] for vector, found in paths.items()]


def _number(name: str) -> int:
    """Where a head stands: it can have absorbed only such as were there before."""
    return int(name[1:11]) if name[:1] == "h" and name[1:11].isdecimal() and name[11:12] == "-" else 0


def united(one: RemoteHead, other: RemoteHead) -> RemoteHead:
    # by all that is said of them: a head must not hide a pack by naming its blob with another table
    packs = tuple(dict.fromkeys((*one.packs, *other.packs)))
    vector, lamport = one.vector.joined(other.vector), max(one.lamport, other.lamport)
    notes = tuple(dict.fromkeys((*one.notes, *other.notes)))
    tables = tuple(dict((*one.tables, *other.tables)).items())
    named = tuple(dict.fromkeys((*one.bundles, *other.bundles)))
    return RemoteHead(vector, lamport, packs, tombstones.joined(one.tombstones, other.tombstones), (), notes, tables, named)


def small_tables(packs: "Iterable[PackRef]", tables: "Mapping[str, bytes]") -> tuple[tuple[str, bytes], ...]:
    """Of the packs' tables that are at hand those to put beside them, the smallest first: the next publication moves them again."""
    kept: list[tuple[str, bytes]] = []
    left = _MOST_TABLE_BYTES
    for item in sorted(packs, key=lambda item: (item.table_bytes, item.table_sha256)):
        left -= item.table_bytes
        if left >= 0 and item.table_sha256 in tables:
            kept.append((item.table_sha256, tables[item.table_sha256]))
    return tuple(sorted(dict(kept).items()))
