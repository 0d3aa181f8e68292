"""Which files of a volume go together, which go first, and the few paths that say so."""

from hypothesis import given
from hypothesis import strategies as st

from chandlery.volume.tree import is_beneath
from chandlery.volume.trimming import TrimPlan, Use, down_to, fewest_paths, groups, unused_since


def uses(**days):
    return {name.replace("__", "/"): Use(10, day) for name, day in days.items()}


def test_files_of_a_small_directory_go_together():
    tree = {"org/a/1/a-1.jar": Use(10, 9), "org/a/1/a-1.jar.sha1": Use(1, 2), "org/b/1/b-1.jar": Use(10, 2)}
    plan = unused_since(tree, 5)
    assert plan == TrimPlan(("org/b",), 1, 10, 2, 2), "the checksum is never read, but stays beside its jar"


def test_files_of_a_heap_go_one_by_one_with_what_stands_beside_them():
    heap = {f"cache/{number}.crate": Use(10, number) for number in range(40)} | {"cache/3.crate.sha256": Use(1, 1)}
    plan = unused_since(heap, 4)
    assert plan.paths == ("cache/0.crate", "cache/1.crate", "cache/2.crate", "cache/3.crate", "cache/3.crate.sha256")


def test_a_unit_of_an_adapter_goes_whole_or_not_at_all():
    module = {f"example.com/m@v1.0.0/{name}": Use(10, 1) for name in ("a.go", "b/b.go", "c/c.go")}
    assert unused_since(module, 5).paths == ("example.com",)
    read = module | {"example.com/m@v1.0.0/b/b.go": Use(10, 9)}
    assert unused_since(read, 5) == TrimPlan()


def test_the_longest_unused_goes_first_until_the_rest_fits():
    tree = uses(a__x=3, b__x=1, c__x=2)
    assert down_to(tree, 30) == TrimPlan()
    assert down_to(tree, 15).paths == ("b", "c")
    assert down_to(tree, 0).files == 3


def test_the_root_is_never_named():
    tree = uses(a=1, b__x=1)
    assert unused_since(tree, 5).paths == ("a", "b")


def test_groups_come_in_order_of_their_last_use():
    assert [group.day for group in groups(uses(a__x=5, b__x=1, c__x=3))] == [1, 3, 5]


PATHS = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join), min_size=1, max_size=12, unique=True)


@given(PATHS, st.data())
def test_the_fewest_paths_cover_the_doomed_and_nothing_else(paths, data):
    files = {path for path in paths if not any(other.startswith(path + "/") for other in paths)}
    doomed = set(data.draw(st.lists(st.sampled_from(sorted(files)), unique=True)))
    chosen = fewest_paths(doomed, files)
    assert {path for path in files if any(is_beneath(path, gone) for gone in chosen)} == doomed
    assert "" not in chosen
