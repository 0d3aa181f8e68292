"""What files of tools' caches tell of mutable names, in the forms that the tools write."""

import json

import pytest

from chandlery.volume.adapters import known
from chandlery.volume.adapters.adapter import MutableName
from chandlery.volume.adapters.known import observed

SNAPSHOT = b"<metadata><versioning><snapshot/><lastUpdated>20240102030405</lastUpdated></versioning></metadata>"
RANGE = b"<metadata><versioning><versions><version>1</version></versions><lastUpdated>20240102030405</lastUpdated></versioning></metadata>"
PREFIXES = b"<metadata><plugins><plugin/></plugins></metadata>"


def bucket(url: str, kind: str, key: str = "") -> bytes:
    entry = {"key": key or f"make-fetch-happen:request-cache:{url}", "metadata": {"url": url, "resHeaders": {"content-type": kind, "etag": '"e"'}}}
    return b"\nchecksum\t" + json.dumps(entry).encode()


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        (
            "repository/com/acme/lib/1.0-SNAPSHOT/maven-metadata-acme.xml", SNAPSHOT,
            MutableName("maven-snapshot", "com.acme:lib:1.0-SNAPSHOT", "20240102030405"),
        ),
        ("com/acme/lib/1.0-SNAPSHOT/resolver-status.properties", b"x", MutableName("maven-snapshot", "com.acme:lib:1.0-SNAPSHOT")),
        ("com/acme/lib/1.0-SNAPSHOT/_remote.repositories", b"lib.jar>acme=\n", MutableName("maven-snapshot", "com.acme:lib:1.0-SNAPSHOT")),
        ("com/acme/lib/1.0-SNAPSHOT/_remote.repositories", b"#NOTE\nlib.jar>=\n", None),
        ("com/acme/lib/1.0-SNAPSHOT/maven-metadata-local.xml", SNAPSHOT, None),
        ("com/acme/lib/1.0/_remote.repositories", b"lib.jar>acme=\n", None),
        ("com/acme/lib/resolver-status.properties", b"x", None),
        ("root/.m2/repository/com/acme/lib/maven-metadata-central.xml", RANGE, MutableName("maven-versions", "com.acme:lib", "20240102030405")),
        ("org/apache/maven/plugins/maven-metadata-central.xml", PREFIXES, None),
        (
            "caches/modules-2/files-2.1/com.acme/lib/1.0-SNAPSHOT/abcd/lib.jar", b"",
            MutableName("maven-snapshot", "com.acme:lib:1.0-SNAPSHOT"),
        ),
        ("caches/modules-2/files-2.1/com.acme/lib/1.0/abcd/lib.jar", b"", None),
        (
            "caches/modules-2/resources-2.1/0123/maven-metadata.xml", b"<groupId>g</groupId><artifactId>a</artifactId>" + RANGE,
            MutableName("maven-versions", "g:a"),
        ),
        (
            "_cacache/index-v5/ab/cd/ef", bucket("https://user:pass@registry.test/lodash?token=x", "application/vnd.npm.install-v1+json"),
            MutableName("npm-dist-tag", "https://registry.test/lodash", '"e"'),
        ),
        ("_cacache/index-v5/ab/cd/ef", bucket("https://registry.test/lodash/-/lodash-1.tgz", "application/octet-stream"), None),
        ("_cacache/index-v5/ab/cd/ef", b"nonsense\n\tnot json\n", None),
        (
            "_cacache/index-v5/ab/cd/ef", bucket("", "", "pacote:tarball:git+https://git.test/a.git#main"),
            MutableName("git-ref", "git+https://git.test/a.git#main"),
        ),
        ("metadata-v1.3/registry.example/@types/node.json", b"", MutableName("npm-dist-tag", "registry.example/@types/node")),
        (".yarn/berry/metadata/npm/abc123/lodash.json", b"", MutableName("npm-dist-tag", "lodash")),
        ("http-v2/0/1/2/3/4/" + "a" * 56, b"cc=4,application/vnd.pypi.simple.v1+json", MutableName("python-index", "a page of the index")),
        ("http/0/1/2/3/4/" + "a" * 56, b"text/html <title>Links for six</title>", MutableName("python-index", "six")),
        ("http-v2/0/1/2/3/4/" + "a" * 56, b"cc=4,application/octet-stream", None),
        ("here/_http_/0/1/2/3/4/" + "a" * 56, b"text/html <title>Links for six</title>", MutableName("python-index", "six")),
        ("http-v2/0/1/2/3/4/" + "a" * 56 + ".body", b"text/html", None),
        ("simple-v15/pypi/requests.rkyv", b"", MutableName("python-index", "requests")),
        ("pkg/mod/cache/download/github.com/!burnt!sushi/toml/@v/list", b"", MutableName("go-versions", "github.com/BurntSushi/toml")),
        ("cache/download/github.com/x/y/@v/v1.0.0.mod", b"", None),
        ("cache/vcs/0123/FETCH_HEAD", b"git3:https://git.test/y", MutableName("git-ref", "https://git.test/y")),
        ("git/db/serde-0123abcd/FETCH_HEAD", b"", MutableName("git-ref", "serde")),
        ("registry/index/index.example-6f17d22bba15001f/.cache/se/rd/serde", b"", None),
        (
            "lists/deb.example_debian_dists_bookworm_InRelease", b"", MutableName("apt-release", "deb.example/debian/dists/bookworm"),
        ),
        ("var/lib/apt/lists/", b"", MutableName("apt-release", "package lists")),
        ("lists/lock", b"", MutableName("apt-release", "package lists")),
        ("srv/my/lists/", b"", None),
        ("target/classes/App.class", b"", None),
    ],
)  # fmt: skip
def test_files_of_caches_tell_what_was_looked_up(path, content, expected):
    assert observed(path, lambda _: content) == expected


def test_most_paths_cost_next_to_nothing():
    """A step may write a hundred thousand files: none of these may reach a pattern, or a read."""
    for path in ("usr/lib/python3/dist-packages/a/b.py", "usr/share/doc/x/copyright", "com/acme/lib/1.0/lib-1.0.jar", "node_modules/a/package.json"):
        assert not any(trace in path for trace in known._TRACES)
