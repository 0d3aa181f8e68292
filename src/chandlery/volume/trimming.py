"""What of a volume goes when nobody reads it: which files belong together, which of them go, and by which few paths that is said. Pure.

Files are kept or dropped in groups, so that what a tool needs together stays together though it reads only some of it (Maven opens a jar, and hardly ever
the checksum beside it): a unit of an adapter; the files of a small directory; in a large one, those that differ in their last extension alone.
"""

from chandlery.values import compact, value
from chandlery.volume.adapters import known
from chandlery.volume.tree import ancestors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# an artifact with all its checksums and signatures; a directory of more files is a heap of many (crates, wheels, packages)
_MOST_SIBLINGS = 24
_BESIDE = (".sha1", ".sha256", ".sha512", ".md5", ".asc", ".hash")


@compact
class Use:
    """One file of a volume: how large it is, and the last day on which it may have been used."""

    size_bytes: int
    day: int


@value
class Group:
    """Files that go together."""

    paths: tuple[str, ...]
    size_bytes: int
    day: int


@value
class TrimPlan:
    """`paths` are the places that go with all that is below them; `oldest` and `newest` the days on which what goes was last used."""

    paths: tuple[str, ...] = ()
    files: int = 0
    size_bytes: int = 0
    oldest: int = 0
    newest: int = 0


def groups(uses: "Mapping[str, Use]") -> tuple[Group, ...]:
    """The files of a volume in groups, the longest unused first."""
    siblings: dict[str, int] = {}
    for path in uses:
        directory = path.rpartition("/")[0]
        siblings[directory] = siblings.get(directory, 0) + 1
    members: dict[tuple[str, str], list[str]] = {}
    for path in uses:
        members.setdefault(_group_of(path, siblings), []).append(path)
    made = [Group(tuple(sorted(paths)), sum(uses[path].size_bytes for path in paths), max(uses[path].day for path in paths)) for paths in members.values()]
    return tuple(sorted(made, key=lambda group: (group.day, group.paths)))


def unused_since(uses: "Mapping[str, Use]", day: int) -> TrimPlan:
    """What goes when everything goes that was last used before `day`."""
    return _plan(uses, [group for group in groups(uses) if group.day < day])


def down_to(uses: "Mapping[str, Use]", size_bytes: int) -> TrimPlan:
    """What goes, the longest unused first, so that at most `size_bytes` stay."""
    left = sum(use.size_bytes for use in uses.values())
    chosen = []
    for group in groups(uses):
        if left <= size_bytes:
            break
        chosen.append(group)
        left -= group.size_bytes
    return _plan(uses, chosen)


def _plan(uses: "Mapping[str, Use]", chosen: "list[Group]") -> TrimPlan:
    doomed = {path for group in chosen for path in group.paths}
    if not doomed:
        return TrimPlan()
    days = [group.day for group in chosen]
    return TrimPlan(fewest_paths(doomed, uses), len(doomed), sum(group.size_bytes for group in chosen), min(days), max(days))


def fewest_paths(doomed: "set[str]", everything: "Iterable[str]") -> tuple[str, ...]:
    """The directories that hold nothing but doomed files, as high up as may be (but never the volume's root), and the doomed files elsewhere."""
    left: dict[str, int] = {}
    for path in everything:
        if path not in doomed:
            for above in ancestors(path):
                left[above] = left.get(above, 0) + 1
    return tuple(sorted({next((above for above in ancestors(path)[1:] if above not in left), path) for path in doomed}))


def _group_of(path: str, siblings: "Mapping[str, int]") -> tuple[str, str]:
    if unit := known.unit_of(path):
        return unit, "/"
    directory, _, name = path.rpartition("/")
    if siblings[directory] <= _MOST_SIBLINGS:
        return directory, ""
    for ending in _BESIDE:
        name = name.removesuffix(ending)
    return directory, name.rpartition(".")[0] or name
