"""Step records: whole chains, first seen wins, and never a promise of what is gone."""

import json
import shutil
import time

import pytest

from chandlery.buildcache.record import AgeLimits, Observation, StepRecord, decode_layers, decode_observed, encode_layers, encode_observed
from chandlery.buildcache.records import RecordStore
from chandlery.content import gc
from chandlery.oci.digest import sha256
from chandlery.snapshot.snapshots import SnapshotStore
from chandlery.snapshot.state import FileSystem, LayerRef
from chandlery.values import replace

KEY, OTHER, OPERATION = sha256(b"key"), sha256(b"other key"), sha256(b"operation")
BASE = LayerRef(diff_id=sha256(b"base"))


@pytest.fixture
def records(store, session):
    return RecordStore(store, session)


@pytest.fixture
def snapshots(store):
    return SnapshotStore(store)


@pytest.fixture
def make_snapshot(snapshots, session):
    return lambda: snapshots.commit(snapshots.prepare(session), size_bytes=1)


def record_of(*snapshots: str, key=KEY) -> StepRecord:
    layers = (BASE, *(LayerRef(snapshot, "", "2024-01-01T00:00:00Z", "RUN make") for snapshot in snapshots))
    return StepRecord(key, OPERATION, b'{"v":1}', FileSystem(layers), "RUN make", 1000.0, 2.5, 7, (Observation("http", "https://x", '"etag"', 5.0),))


def test_a_record_comes_back_as_it_was_put(records, make_snapshot):
    record = record_of(make_snapshot(), make_snapshot())
    records.put(record)
    assert records.look_up(KEY) == record


def test_what_was_never_put_is_missing(records):
    assert records.look_up(KEY) is None


def test_the_first_result_stays(records, make_snapshot):
    first, second = record_of(make_snapshot()), record_of(make_snapshot())
    records.put(first)
    records.put(second)
    assert records.look_up(KEY) == first


def test_a_step_that_was_asked_to_run_anew_replaces_its_record(records, make_snapshot):
    second = record_of(make_snapshot())
    records.put(record_of(make_snapshot()))
    records.put(second, replaces=True)
    assert records.look_up(KEY) == second


def test_a_result_is_found_under_its_key_by_content_too(records, make_snapshot):
    record = record_of(make_snapshot())
    records.put(record, by_content=(replace(record, key=OTHER, document=b'{"v":1,"by":"content"}'),))
    found = records.look_up(OTHER)
    assert found is not None
    assert (found.result, found.document) == (record.result, b'{"v":1,"by":"content"}')


def test_a_record_whose_files_are_gone_is_a_miss_and_makes_way_for_the_next_result(store, records, make_snapshot):
    lost, again = make_snapshot(), record_of(make_snapshot())
    records.put(record_of(lost))
    shutil.rmtree(store.layout.snapshot(lost))
    assert records.look_up(KEY) is None
    records.put(again)
    assert records.look_up(KEY) == again


def test_a_hit_keeps_its_files_from_a_prune(store, snapshots, make_snapshot):
    snapshot = None
    with store.begin() as earlier:
        snapshot = snapshots.commit(snapshots.prepare(earlier), size_bytes=1)
        RecordStore(store, earlier).put(record_of(snapshot))
    with store.begin() as build:
        assert RecordStore(store, build).look_up(KEY) is not None
        gc.prune(store, gc.PrunePolicy())
        assert snapshots.path(snapshot)
        assert RecordStore(store, build).look_up(KEY) is not None
    gc.prune(store, gc.PrunePolicy())
    with store.begin() as later:
        assert RecordStore(store, later).look_up(KEY) is None


def test_forgetting_a_snapshot_forgets_every_chain_that_stands_on_it(records, make_snapshot):
    shared, top = make_snapshot(), make_snapshot()
    records.put(record_of(shared))
    records.put(record_of(shared, top, key=OTHER))
    records.forget_with_snapshot(shared)
    assert records.look_up(KEY) is None
    assert records.look_up(OTHER) is None


def test_the_same_operation_is_found_newest_first(records, make_snapshot):
    from chandlery.values import replace

    old, new = record_of(make_snapshot()), replace(record_of(make_snapshot(), key=OTHER), created_at_s=2000.0)
    records.put(old)
    records.put(new)
    assert records.same_operation(OPERATION) == [new, old]
    assert records.same_operation(OPERATION, limit=1) == [new]


def test_the_json_form_of_a_chain_leaves_out_what_is_empty():
    files = FileSystem((LayerRef(diff_id="sha256:aa"), LayerRef("abc", "", "2024", 'RUN "é"')))
    text = encode_layers(files)
    assert json.loads(text) == [{"diff_id": "sha256:aa"}, {"snapshot": "abc", "created": "2024", "created_by": 'RUN "é"'}]
    assert decode_layers(text) == files


def test_observations_survive_their_json_form():
    observed = (Observation("git", "https://x/y", "abc", 1.5),)
    assert decode_observed(encode_observed(observed)) == observed


HOUR = 3600.0


def made_at(snapshot: str, created_at_s: float, *observed: Observation) -> StepRecord:
    return replace(record_of(snapshot), created_at_s=created_at_s, observed=observed)


def checked(at_s: float, of: str = "") -> Observation:
    return Observation("maven-snapshot", "g:a:1-SNAPSHOT", "", at_s, of)


@pytest.mark.parametrize(("age_s", "is_hit"), [(0, True), (HOUR - 60, True), (HOUR + 60, False), (-HOUR + 60, True), (-HOUR - 60, False)])
def test_age_counts_either_way_because_clocks_differ(store, session, make_snapshot, age_s, is_hit):
    now = time.time()
    RecordStore(store, session).put(made_at(make_snapshot(), now - age_s))
    assert (RecordStore(store, session, limits=AgeLimits(HOUR)).look_up(KEY) is not None) is is_hit
    RecordStore(store, session).put(made_at(make_snapshot(), now, checked(now - age_s)), replaces=True)
    assert (RecordStore(store, session, limits=AgeLimits(None, HOUR)).look_up(KEY) is not None) is is_hit


def test_time_that_is_no_number_is_too_old(store, session, make_snapshot):
    assert not AgeLimits(HOUR).allow(float("nan"), (), time.time())
    assert not AgeLimits(None, HOUR).allow(0.0, (checked(float("inf")),), time.time())


def test_record_that_was_too_old_is_replaced_and_another_stays(store, session, make_snapshot):
    now, records = time.time(), RecordStore(store, session, limits=AgeLimits(None, HOUR))
    old, new = made_at(make_snapshot(), now - 2 * HOUR, checked(now - 2 * HOUR)), made_at(make_snapshot(), now, checked(now))
    RecordStore(store, session).put(old)
    assert records.look_up(KEY) is None
    records.put(new)
    assert records.look_up(KEY) == new
    records.put(made_at(make_snapshot(), now, checked(now)))
    assert records.look_up(KEY) == new


def test_what_a_record_stands_on_doesn_t_count_where_that_is_known_to_be_as_it_should(store, session, make_snapshot):
    now, records = time.time(), RecordStore(store, session, limits=AgeLimits(None, HOUR))
    RecordStore(store, session).put(made_at(make_snapshot(), now, checked(now - 2 * HOUR, "RUN below")))
    assert records.look_up(KEY) is None
    assert records.look_up(KEY, on_same_inputs=True) is not None
