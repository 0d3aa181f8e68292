"""Merging is commutative, associative and idempotent, and loses no addition, whatever writers did in whatever order."""

from hypothesis import given, settings
from hypothesis import strategies as st

from chandlery.volume.materialise import shown
from chandlery.volume.merge import apply, losers, merge, precedence, remove, view
from chandlery.volume.tree import EMPTY_VECTOR, Delta, Entry, EntryType, Generation, Version, ancestors, is_beneath

PATHS = ["a", "b", "d", "d/x", "d/y", "d/e", "d/e/z"]
STORES = 3


def entry(path, version, kind=EntryType.FILE, content="0"):
    return Entry(path, kind, 0o644, 0, 0, 1, version, sha256=content if kind is EntryType.FILE else "")


class World:
    """Some stores that write, remove and pull each other's heads, as real ones would: a delta is made against any head that its store once had."""

    def __init__(self):
        self.heads = [Generation() for _ in range(STORES)]
        self.past = [[Generation()] for _ in range(STORES)]
        self.written = []
        self.removed = []

    def step(self, action):
        kind, store, *rest = action
        match kind:
            case "write":
                age, paths, content = rest
                base = self.past[store][-1 - age % len(self.past[store])]
                self.commit(store, base, paths, content)
            case "pull":
                self.become(store, merge(self.heads[store], self.heads[rest[0]]))
            case "remove":
                self.removed.append((rest[0], self.heads[store].vector))
                self.become(store, remove(self.heads[store], rest[0]))

    def commit(self, store, base, paths, content):
        head, slot = self.heads[store], f"w{store}"
        version = Version(base.lamport + 1, slot, head.vector.count(slot) + 1)
        directories = {above for path in paths for above in ancestors(path) if above}
        entries = tuple(
            entry(path, version, EntryType.DIRECTORY if path in directories else EntryType.FILE, content) for path in sorted({*paths, *directories})
        )
        self.written.append(Delta(version, base.vector, entries))
        self.become(store, apply(head, self.written[-1]))

    def become(self, store, head):
        self.heads[store] = head
        self.past[store].append(head)


stores = st.integers(0, STORES - 1)
actions = st.one_of(
    st.tuples(st.just("write"), stores, st.integers(0, 3), st.lists(st.sampled_from(PATHS), min_size=1, max_size=4), st.sampled_from("012")),
    st.tuples(st.just("pull"), stores, stores),
    st.tuples(st.just("remove"), stores, st.sampled_from(PATHS)),
)
histories = st.lists(actions, max_size=25)


def played(history):
    world = World()
    for action in history:
        world.step(action)
    return world


@settings(max_examples=300, deadline=None)
@given(histories)
def test_merge_is_commutative_associative_and_idempotent(history):
    one, two, three = played(history).heads
    assert merge(one, two) == merge(two, one)
    assert merge(merge(one, two), three) == merge(one, merge(two, three))
    assert merge(one, one) == one
    assert merge(merge(one, two), two) == merge(one, two)


@settings(max_examples=300, deadline=None)
@given(histories)
def test_heads_that_saw_the_same_are_the_same_whatever_the_order(history):
    world = played(history)
    one, two, three = world.heads
    everything = merge(merge(one, two), three)
    assert merge(merge(three, one), two) == everything
    assert view(merge(two, merge(three, one))) == view(everything)


@settings(max_examples=300, deadline=None)
@given(histories)
def test_no_addition_is_lost_unless_superseded_or_removed_by_somebody_who_saw_it(history):
    world = played(history)
    one, two, three = world.heads
    everything = merge(merge(one, two), three)
    for delta in world.written:
        for written in delta.entries:
            is_superseded = any(later.base.covers(delta.version) and any(other.path == written.path for other in later.entries) for later in world.written)
            is_removed = any((written.path == path or written.path.startswith(path + "/")) and vector.covers(delta.version) for path, vector in world.removed)
            if not is_superseded and not is_removed:
                assert written in everything.registers[written.path]


@settings(max_examples=300, deadline=None)
@given(histories)
def test_what_was_removed_never_comes_back(history):
    world = played(history)
    one, two, three = world.heads
    everything = merge(merge(one, two), three)
    for path, vector in world.removed:
        for name, entries in everything.registers.items():
            if name == path or name.startswith(path + "/"):
                assert not any(vector.covers(found.version) for found in entries)


@settings(max_examples=200, deadline=None)
@given(histories)
def test_a_view_is_a_tree(history):
    one, two, three = played(history).heads
    seen = view(merge(merge(one, two), three))
    for path in seen:
        for end in range(len(path)):
            if path[end] == "/" and path[:end] in seen:
                assert seen[path[:end]].is_directory


def test_of_two_concurrent_deltas_one_wins_in_all_paths():
    base = Generation()
    one, two = Version(1, "s1", 1), Version(1, "s2", 1)
    first = Delta(one, EMPTY_VECTOR, tuple(entry(path, one, content="1") for path in ("a", "b", "only-1")))
    second = Delta(two, EMPTY_VECTOR, tuple(entry(path, two, content="2") for path in ("a", "b", "only-2")))
    seen = view(apply(apply(base, first), second))
    assert seen["a"].version == seen["b"].version == max(one, two, key=precedence)
    assert {"only-1", "only-2"} <= seen.keys()
    assert view(apply(apply(base, second), first)) == seen


def test_a_later_delta_that_saw_the_earlier_one_wins():
    one = Version(1, "s", 1)
    head = apply(Generation(), Delta(one, EMPTY_VECTOR, (entry("a", one, content="old"),)))
    two = Version(head.lamport + 1, "t", 1)
    assert view(apply(head, Delta(two, head.vector, (entry("a", two, content="new"),))))["a"].sha256 == "new"


def test_a_partial_copy_of_a_head_removes_nothing():
    one = Version(1, "s", 1)
    head = apply(Generation(), Delta(one, EMPTY_VECTOR, (entry("a", one), entry("secret", one))))
    partial = Generation(head.vector, head.lamport, {"a": head.registers["a"]})
    assert merge(head, partial) == merge(partial, head) == head


@settings(max_examples=300, deadline=None)
@given(histories, st.lists(st.sampled_from(PATHS), min_size=1, max_size=5))
def test_a_delta_stacked_on_a_moved_head_after_giving_way_shows_what_the_merge_shows(history, paths):
    world = World()
    for action in history:
        if action[0] == "write":
            world.step(("write", 0, *action[2:]))
    world.commit(0, world.past[0][len(world.past[0]) // 2], paths, "mine")
    delta, before, after = world.written[-1], world.past[0][-2], world.heads[0]
    lost = losers(delta, view(before).values())
    shared = {mine.path for mine in delta.entries if mine.path in lost and mine.is_directory and lost[mine.path].is_directory}
    hidden = lost.keys() - shared
    mine = [mine for mine in delta.entries if not any(is_beneath(mine.path, path) for path in hidden)]
    kept = [lost[entry.path] if entry.path in shared else entry for entry in mine]
    stacked = {path: found for path, (found, _) in shown([list(view(before).values()), kept]).items()}
    merged = view(after)
    for path, found in stacked.items():
        assert merged[path].version == found.version
    # what a file had hidden comes back in the merge when a directory replaces it, and stays hidden in a stack of directories
    reborn = [path for path, found in view(before).items() if not found.is_directory and path in merged and merged[path].is_directory]
    for path in merged.keys() - stacked.keys():
        assert any(path.startswith(above + "/") for above in reborn)
