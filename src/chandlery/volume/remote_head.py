"""The document under which one writer shows a volume to others: which packs it consists of, and what they cover.

Packs of any number of heads can be united in any order: at each path the larger precedence wins (merge.py), and causally later is always
larger. `absorbed` names the slots whose packs and vectors are in here, so that anybody may delete them.
"""

from functools import reduce

from chandlery.errors import ChandleryError, NotFound, StoreError
from chandlery.oci import canonical
from chandlery.values import value
from chandlery.volume import pack, table_check
from chandlery.volume.pack import PackRef
from chandlery.volume.protocol import HeadName
from chandlery.volume.tree import EMPTY_VECTOR, FORMAT, VersionVector, check_format, decode_path, decode_vector, encode_path, encode_vector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.volume.protocol import VolumeRemote

MAX_PACKS = 64
_ROUNDS = 4


@value
class RemoteHead:
    vector: VersionVector = EMPTY_VECTOR
    lamport: int = 0
    packs: tuple[PackRef, ...] = ()
    tombstones: tuple[tuple[str, VersionVector], ...] = ()
    absorbed: tuple[str, ...] = ()


@value
class Seen:
    """What a remote showed: the union of its heads, which heads those were, and what was wrong with others."""

    head: RemoteHead
    names: tuple[HeadName, ...]
    heads: tuple[RemoteHead, ...] = ()
    warnings: tuple[str, ...] = ()


def read_all(remote: "VolumeRemote") -> Seen:
    """Every head, united. One that disappears while it is read was absorbed by another that has appeared: then they are listed again."""
    for _ in range(_ROUNDS):
        heads, names, warnings, is_stable = [], [], [], True
        for name in remote.heads():
            try:
                heads.append(decode(remote.read_head(name)))
                names.append(name)
            except NotFound:
                is_stable = False
            except (ChandleryError, OSError, ValueError, KeyError, TypeError, AttributeError) as broken:
                warnings.append(f"{name.slot} of {remote.name}: {broken}")
        if is_stable:
            break
    return Seen(reduce(_united, heads, RemoteHead()), tuple(names), tuple(heads), tuple(warnings))


def encode(head: RemoteHead) -> bytes:
    return canonical.encode(
        {
            "format": FORMAT,
            "vector": encode_vector(head.vector),
            "lamport": head.lamport,
            "packs": [pack.encode_ref(item) for item in head.packs],
            "tombstones": {encode_path(path): encode_vector(vector) for path, vector in head.tombstones},
            "absorbed": list(head.absorbed),
        }
    )


def decode(data: bytes) -> RemoteHead:
    """Raises StoreError (volume.format, volume.bad-table, volume.bad-head), and ValueError, KeyError or TypeError for what is no such document."""
    document = check_format(table_check.parse(data))
    if not isinstance(document["packs"], list) or not isinstance(document["absorbed"], list):
        raise StoreError("the head of a cache volume is malformed", code="volume.bad-head")
    packs = tuple([pack.decode_ref(item) for item in document["packs"]])
    tombstones = tuple(sorted((decode_path(path), decode_vector(vector)) for path, vector in document["tombstones"].items()))
    head = RemoteHead(decode_vector(document["vector"]), document["lamport"], packs, tombstones, tuple(document["absorbed"]))
    vectors = (head.vector, *(vector for _, vector in head.tombstones))
    is_possible = table_check.is_count(head.lamport) and len(head.packs) <= MAX_PACKS and all(map(table_check.is_vector, vectors))
    if not is_possible or not all(table_check.is_path(path) for path, _ in head.tombstones) or not all(map(table_check.is_slot, head.absorbed)):
        raise StoreError("the head of a cache volume is malformed", code="volume.bad-head")
    return head


def _united(one: RemoteHead, other: RemoteHead) -> RemoteHead:
    # by all that is said of them: a head must not hide a pack by naming its blob with another table
    packs = tuple(dict.fromkeys((*one.packs, *other.packs)))
    tombstones = dict(one.tombstones)
    for path, vector in other.tombstones:
        tombstones[path] = tombstones.get(path, EMPTY_VECTOR).joined(vector)
    vector, lamport = one.vector.joined(other.vector), max(one.lamport, other.lamport)
    return RemoteHead(vector, lamport, packs, tuple(sorted(tombstones.items())), ())
