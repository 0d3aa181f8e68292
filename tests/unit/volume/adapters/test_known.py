"""What the adapters say about recorded trees."""

import hashlib

import pytest

from chandlery.volume.adapters import known
from chandlery.volume.adapters.known import Scope


@pytest.mark.parametrize(
    ("path", "is_never"),
    [
        ("repository/org/a/lib/1.0/lib-1.0.jar.lastUpdated", True),
        ("org/a/lib/resolver-status.properties", True),
        ("notes/other.lastUpdated", False),
        ("repository/org/a/lib/1.0/lib-1.0.jar", False),
        ("settings.xml", True),
        (".m2/settings-security.xml", True),
        ("org/a/lib/1.0/settings.xml", False),
        ("gradle.properties", True),
        ("caches/modules-2/modules-2.lock", True),
        ("_cacache/tmp/1234", True),
        ("_cacache/content-v2/sha512/ab/cd/ef", False),
        (".npmrc", True),
        ("example.com/m@v1.0.0/testdata/.npmrc", False),
        ("cache/lock", True),
        ("cache/download/example.com/m/@v/v1.0.0.lock", True),
        (".package-cache", True),
        ("credentials.toml", True),
        ("archives/lock", True),
        ("partial/a.deb", True),
        ("Cargo.lock", False),
        ("caches/project/yarn.lock", False),
        ("views/partial/a.html", False),
        ("example.com/m@v1.0.0/lists/partial/a.html", False),
        ("lists/partial/a", True),
        ("root/.docker/config.json", True),
    ],
)
def test_what_is_never_stored(path, is_never):
    assert known.is_never_stored(path) is is_never


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("wrapper/dists/apache-maven-3.9/abc/bin/mvn", "wrapper/dists/apache-maven-3.9/abc"),
        ("caches/8.5/transforms/abc/metadata.bin", "caches/8.5/transforms/abc"),
        ("mod/example.com/m@v1.0.0/a/b.go", "mod/example.com/m@v1.0.0"),
        ("cache/download/example.com/m/@v/v1.0.0.zip", ""),
        ("registry/src/index-1/serde-1.0/src/lib.rs", "registry/src/index-1/serde-1.0"),
        ("git/db/repo-1/HEAD", "git/db/repo-1"),
        ("x/index.sqlite-wal", "x/index.sqlite"),
        ("archive-v0/id/pkg/__init__.py", "archive-v0/id"),
        ("unknown/file", ""),
    ],
)
def test_what_is_whole_or_absent(path, unit):
    assert known.unit_of(path) == unit


def test_only_units_with_their_last_mark_are_complete():
    paths = ["registry/src/i/a-1/.cargo-ok", "registry/src/i/a-1/lib.rs", "registry/src/i/b-1/lib.rs", "m/x@v1.0.0/x.go"]
    assert known.incomplete_units(paths) == {"registry/src/i/b-1", "m/x@v1.0.0"}


@pytest.mark.parametrize("path", ["g/a/1/_remote.repositories", "_cacache/index-v5/aa/bb/c", "cache/download/m/@v/list"])
def test_indexes_of_lines_are_united_in_either_order(path):
    merged = known.merge_index(path, b"one\nboth\n", b"both\ntwo\n")
    assert merged == known.merge_index(path, b"both\ntwo\n", b"one\nboth\n")
    assert set(merged.splitlines()) == {b"one", b"both", b"two"}


def test_metadata_lists_the_versions_of_both():
    def document(*versions):
        listed = "".join(f"<version>{version}</version>" for version in versions)
        return f"<metadata><versioning><versions>{listed}</versions></versioning></metadata>".encode()

    merged = known.merge_index("g/a/maven-metadata-central.xml", document("1", "2"), document("1", "3"))
    assert all(f"<version>{version}</version>".encode() in merged for version in "123")


def test_what_the_project_installed_stays_in_its_branch():
    files = {"g/a/1/_remote.repositories": b"a-1.jar>=\n", "g/a/1/a-1.jar": b"", "g/b/1/_remote.repositories": b"b-1.jar>central=\n", "g/b/1/b-1.jar": b""}
    scopes = {path: known.scope_of(path, frozenset(files), files.__getitem__) for path in files}
    assert [path for path, scope in scopes.items() if scope is Scope.BRANCH] == ["g/a/1/_remote.repositories", "g/a/1/a-1.jar"]


def test_a_failed_steps_file_is_vouched_for_by_its_checksum():
    right, digest = hashlib.sha1(b"jar").hexdigest().encode(), hashlib.sha512(b"tgz").hexdigest()
    content = f"_cacache/content-v2/sha512/{digest[:2]}/{digest[2:4]}/{digest[4:]}"
    files = {"g/a-1.jar": b"jar", "g/a-1.jar.sha1": right, "g/b-1.jar": b"half", "g/b-1.jar.sha1": right, content: b"tgz"}
    assert [path for path in files if known.may_share(path, frozenset(files), files.__getitem__)] == ["g/a-1.jar", content]
