"""Mutable names in directories and in the layers of volumes: found, written down beside the table, and read without looking again."""

import json
import os

import pytest

from chandlery.volume import observing
from chandlery.volume.adapters.adapter import MutableName

LIB = MutableName("maven-snapshot", "g:lib:1-SNAPSHOT")


@pytest.fixture
def tree(tmp_path):
    def write(*paths: str) -> str:
        for path in paths:
            place = tmp_path / "fs" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("")
        return str(tmp_path / "fs")

    return write


def test_names_are_found_anywhere_below_a_directory(tree):
    top = tree("root/.m2/repository/g/lib/1-SNAPSHOT/resolver-status.properties", "etc/passwd")
    assert observing.in_directory(top) == (LIB,)


def test_links_are_not_followed(tree, tmp_path):
    top = tree("a/file")
    outside = tmp_path / "outside" / "g/lib/1-SNAPSHOT"
    outside.mkdir(parents=True)
    (outside / "resolver-status.properties").write_text("")
    os.symlink(tmp_path / "outside", f"{top}/linked")
    (outside / "lib.xml").write_text("<versions>")
    os.mkdir(f"{top}/lib")
    os.symlink(outside / "lib.xml", f"{top}/lib/maven-metadata-central.xml")
    assert observing.in_directory(top) == ()


def test_the_first_few_of_many_are_kept(tree):
    top = tree(*(f"g/lib{number}/1-SNAPSHOT/resolver-status.properties" for number in range(50)))
    assert len(observing.in_directory(top)) == observing.MOST_NAMES


def test_names_with_control_characters_are_made_printable(tree):
    top = tree("g/l\x1b[2Jib/1-SNAPSHOT/resolver-status.properties")
    assert observing.in_directory(top)[0].name == "g:l?[2Jib:1-SNAPSHOT"


def test_layer_tells_what_it_holds_and_an_older_one_is_looked_through_once(tree, tmp_path):
    from chandlery.volume.tree import Entry, EntryType, Version

    top = tree("g/lib/1-SNAPSHOT/resolver-status.properties")
    entry = Entry("g/lib/1-SNAPSHOT/resolver-status.properties", EntryType.FILE, 0o644, 0, 0, 0, Version(1, "w", 1))
    reads = []

    def read_table(layer):
        reads.append(layer)
        return (entry,)

    for _ in range(2):
        assert observing.held([(str(tmp_path), top)], read_table) == (LIB,)
    assert len(reads) == 1


@pytest.mark.parametrize(
    ("touched", "counts"),
    [
        (None, True), ([], False), (["g/rel/1/rel-1.jar"], False), (["g/lib/1-SNAPSHOT/lib.jar"], True), (["my.repo/g/lib/1-SNAPSHOT/lib.jar"], True),
        (["g/lib/2-SNAPSHOT/lib.jar"], False), (["other/lib/1-SNAPSHOT/lib.jar"], False),
    ],
)  # fmt: skip
def test_what_a_layer_holds_counts_for_who_opened_some_of_it(tmp_path, touched, counts):
    (tmp_path / "mutable.json").write_text('[["maven-snapshot", "g:lib:1-SNAPSHOT", ""]]')
    found = observing.held([(str(tmp_path), "")], pytest.fail, frozenset(touched) if touched is not None else None)
    assert found == ((LIB,) if counts else ())


@pytest.mark.parametrize(
    "names", [[["npm-dist-tag", "left-pad", ""]], [["maven-snapshot", "g:l?b:1-SNAPSHOT", ""]], [["maven-snapshot", "g:lib:1-SNAPSHOT", ""]] * 8]
)
def test_where_less_is_known_what_a_layer_holds_counts_for_who_opened_anything(tmp_path, names):
    (tmp_path / "mutable.json").write_text(json.dumps(names))
    assert observing.held([(str(tmp_path), "")], pytest.fail, frozenset(["else/x"]))
    assert observing.held([(str(tmp_path), "")], pytest.fail, frozenset()) == ()


def test_name_with_a_validator_stands_for_the_same_without():
    known = MutableName("maven-snapshot", "g:lib:1-SNAPSHOT", "2024")
    assert observing.distinct([LIB, known, LIB]) == (known,)
