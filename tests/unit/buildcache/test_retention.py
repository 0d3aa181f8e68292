"""Which entries of a shared cache go first: the cheap ones that nobody used for long, and nothing that frees nothing."""

import pytest

from chandlery.buildcache.entry import Entry
from chandlery.buildcache.inventory import Held
from chandlery.buildcache.retention import chosen, total_bytes
from chandlery.oci.digest import sha256

NOW, HOUR, DAY = 10_000_000.0, 3600.0, 86400.0


def held(name: str, *blobs: str, used_ago_s: float = 0.0, cost_s: float = 0.0, size: int = 1000) -> Held:
    entry = Entry(sha256(name.encode()), "scope", b"{}", sha256(b"op"), (), name, duration_s=cost_s)
    return Held(name, entry, 0, NOW - used_ago_s, tuple((blob, size) for blob in blobs))


def names(items: list[Held]) -> list[str]:
    return [item.place for item in items]


def test_what_was_used_longer_ago_than_allowed_goes():
    items = [held("old", "a", used_ago_s=2 * DAY), held("new", "b", used_ago_s=HOUR)]
    assert names(chosen(items, now_s=NOW, older_than_s=DAY)) == ["old"]


def test_clock_that_is_ahead_makes_nothing_old_and_nothing_eternal():
    ahead = held("ahead", "a", used_ago_s=-DAY)
    assert chosen([ahead], now_s=NOW, older_than_s=HOUR) == []
    assert names(chosen([ahead, held("now", "b", cost_s=1.0)], now_s=NOW, max_bytes=1000)) == ["ahead"]


def test_of_what_is_too_much_the_longest_unused_goes_first():
    items = [held("one", "a", used_ago_s=HOUR), held("two", "b", used_ago_s=3 * HOUR), held("three", "c", used_ago_s=2 * HOUR)]
    assert names(chosen(items, now_s=NOW, max_bytes=1000)) == ["two", "three"]


def test_what_took_long_to_make_outlasts_what_was_used_since():
    items = [held("slow", "a", used_ago_s=DAY, cost_s=60.0), held("fast", "b", used_ago_s=HOUR, cost_s=0.1)]
    assert names(chosen(items, now_s=NOW, max_bytes=1000)) == ["fast"]


def test_cost_is_not_worth_everything():
    items = [held("huge", "a", used_ago_s=100 * DAY, cost_s=1e9), held("fast", "b", used_ago_s=HOUR)]
    assert names(chosen(items, now_s=NOW, max_bytes=1000)) == ["huge"]


def test_parents_stay_as_long_as_their_going_frees_nothing():
    items = [held("parent", "a", used_ago_s=3 * HOUR), held("child", "a", "b", used_ago_s=2 * HOUR), held("other", "c", used_ago_s=HOUR)]
    assert names(chosen(items, now_s=NOW, max_bytes=2000)) == ["child"]
    assert names(chosen(items, now_s=NOW, max_bytes=1000)) == ["child", "parent"]


def test_entries_that_hold_the_same_don_t_hold_each_other():
    items = [held("by chain", "a", used_ago_s=HOUR), held("by content", "a")]
    assert names(chosen(items, now_s=NOW, max_bytes=999)) == ["by chain", "by content"]


@pytest.mark.parametrize("bounds", [{"max_bytes": 0}, {"older_than_s": 0.0}])
def test_what_can_t_be_understood_stays(bounds):
    unknown = Held("later", None, 500, 0.0, (("a", 0),))
    assert chosen([unknown], now_s=NOW, **bounds) == []


def test_each_blob_is_counted_once():
    assert total_bytes([held("one", "a"), held("two", "a", "b")]) == 2000
