"""What the adapters say about recorded trees."""

import base64
import hashlib
import io
import zipfile

import pytest

from chandlery.volume.adapters import known


class Tree:
    """A volume's files by path; links by their targets."""

    def __init__(self, files=(), links=()):
        self.files, self.links = dict(files), dict(links)

    def has(self, path):
        return path in self.files

    def has_directory(self, path):
        return bool(self.below(path))

    def read(self, path):
        return self.files.get(path, b"")

    def target(self, path):
        return self.links.get(path, "")

    def below(self, directory):
        return tuple(sorted(path for path in self.files if path.startswith(f"{directory}/")))


@pytest.mark.parametrize(
    ("path", "is_never"),
    [
        ("repository/org/a/lib/1.0/lib-1.0.jar.lastUpdated", True),
        ("org/a/lib/1.0/lib-1.0.jar.8273461.tmp", True),
        ("org/a/lib/resolver-status.properties", True),
        ("notes/other.lastUpdated", False),
        ("repository/org/a/lib/1.0/lib-1.0.jar", False),
        ("settings.xml", True),
        (".m2/settings-security.xml", True),
        ("root/.m2/settings.xml", True),
        ("org/a/lib/1.0/settings.xml", False),
        ("wrapper/dists/apache-maven-3.9/abc/conf/settings.xml", False),
        ("gradle.properties", True),
        ("caches/modules-2/modules-2.lock", True),
        ("caches/8.5/fileHashes/fileHashes.lock", True),
        ("daemon/8.5/registry.bin", True),
        ("wrapper/dists/gradle-8/abc/gradle-8.zip.part", True),
        ("_cacache/tmp/1234", True),
        ("_cacache/content-v2/sha512/ab/cd/ef", False),
        (".npm/_logs/2026-debug-0.log", True),
        ("_logs/2026-debug-0.log", True),
        ("project/_logs/x", False),
        (".npmrc", True),
        ("root/.npmrc", True),
        (".ssh/id_ed25519", True),
        ("example.com/m@v1.0.0/testdata/.npmrc", False),
        ("example.com/m@v1.0.0/cache/lock", False),
        ("cache/lock", True),
        ("cache/download/example.com/m/@v/v1.0.0.lock", True),
        (".package-cache", True),
        (".cargo/.global-cache", True),
        ("credentials.toml", True),
        ("archives/lock", True),
        ("partial/a.deb", True),
        ("pkgcache.bin", True),
        ("Cargo.lock", False),
        ("caches/project/yarn.lock", False),
        ("views/partial/a.html", False),
        ("example.com/m@v1.0.0/lists/partial/a.html", False),
        ("lists/partial/a", True),
        ("root/.docker/config.json", True),
        ("http-v2/a/b/c/d/e/abcdef123.tmp", True),
        ("http-v2/a/b/c/d/e/abcdef123.lock", True),
        ("pypoetry/cache/repositories/here/_http_/a/b/c/d/e/abcdef123.body.lock", True),
        ("_http/a/b/c/d/e/tmp1x_y", True),
        ("pip/selfcheck/" + "a" * 56, True),
        ("project/selfcheck/notes", False),
        ("interpreter-v4/abc/def.msgpack", True),
        ("wheels-v8/index/abc/six/1.0-py3-none-any.lock", True),
        ("sdists-v11/index/abc/six/1.0/.lock", True),
        ("sdists-v11/index/abc/six/1.0/id/src/uv.lock", False),
        ("archive-v0/id/poetry.lock", False),
        ("state.db-shm", True),
    ],
)
def test_what_is_never_stored(path, is_never):
    assert known.is_never_stored(path) is is_never


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("wrapper/dists/apache-maven-3.9/abc/bin/mvn", "wrapper/dists/apache-maven-3.9/abc"),
        ("caches/8.5/transforms/abc/metadata.bin", "caches/8.5/transforms/abc"),
        ("caches/transforms-3/abc/metadata.bin", "caches/transforms-3/abc"),
        ("caches/transforms-1/files-1.1/x/y", "caches/transforms-1"),
        ("caches/modules-2/metadata-2.106/descriptors/a", ""),
        ("caches/modules-2/files-2.1/g/m/1/abc/m-1.jar", ""),
        ("caches/8.5/fileHashes/fileHashes.bin", "caches/8.5/fileHashes"),
        ("mod/example.com/m@v1.0.0/a/b.go", "mod/example.com/m@v1.0.0"),
        ("cache/vcs/abc/objects/x", "cache/vcs/abc"),
        ("cache/download/example.com/m/@v/v1.0.0.zip", ""),
        ("registry/src/index-1/serde-1.0/src/lib.rs", "registry/src/index-1/serde-1.0"),
        ("git/db/repo-1/HEAD", "git/db/repo-1"),
        ("git/checkouts/repo-1/abc/src/lib.rs", "git/checkouts/repo-1/abc"),
        ("x/index.sqlite-wal", "x/index.sqlite"),
        ("archive-v0/id/pkg/__init__.py", "archive-v0/id"),
        ("_npx/abc/node_modules/x/y.js", "_npx/abc"),
        ("http-v2/a/b/c/d/e/abcde1.body", "http-v2/a/b/c/d/e/abcde1"),
        ("http-v2/a/b/c/d/e/abcde1", "http-v2/a/b/c/d/e/abcde1"),
        ("here/_http_/a/b/c/d/e/abcde1.body", "here/_http_/a/b/c/d/e/abcde1"),
        ("lists/deb.host_debian_dists_bookworm_main_Packages", "lists/deb.host_debian_dists_bookworm"),
        ("deb.host_debian_dists_bookworm_InRelease", "deb.host_debian_dists_bookworm"),
        ("unknown/file", ""),
    ],
)
def test_what_is_whole_or_absent(path, unit):
    assert known.unit_of(path) == unit


def go_tree(content=b"package m\n", **more):
    listing = hashlib.sha256(b"package m\n").hexdigest() + "  example.com/M@v1.0.0/m.go\n"
    total = b"h1:" + base64.b64encode(hashlib.sha256(listing.encode()).digest())
    return Tree({"mod/example.com/!m@v1.0.0/m.go": content, "mod/cache/download/example.com/!m/@v/v1.0.0.ziphash": total, **more})


def test_an_unpacked_go_module_is_complete_if_its_hash_is_its_archives():
    unit, member = "mod/example.com/!m@v1.0.0", "mod/example.com/!m@v1.0.0/m.go"
    assert known.is_complete(unit, member, go_tree())
    assert not known.is_complete(unit, member, go_tree(b"package"))
    assert not known.is_complete(unit, member, Tree({member: b"package m\n"}))


def test_an_unpacked_go_module_that_go_marked_as_partial_is_broken():
    unit, member, mark = "mod/example.com/!m@v1.0.0", "mod/example.com/!m@v1.0.0/m.go", "mod/cache/download/example.com/!m/@v/v1.0.0.partial"
    assert not known.is_broken(unit, member, go_tree())
    assert known.is_broken(unit, member, go_tree(**{mark: b""}))


@pytest.mark.parametrize(
    ("unit", "mark"),
    [
        ("registry/src/i/a-1", "registry/src/i/a-1/.cargo-ok"),
        ("caches/8.5/transforms/abc", "caches/8.5/transforms/abc/metadata.bin"),
        ("wrapper/dists/gradle-8-bin/abc", "wrapper/dists/gradle-8-bin/abc/gradle-8-bin.zip.ok"),
        ("v6/npm-a-1-abc-integrity", "v6/npm-a-1-abc-integrity/node_modules/a/.yarn-metadata.json"),
    ],
)
def test_a_unit_with_its_last_mark_is_complete(unit, mark):
    files = {f"{unit}/x/y": b"1"}
    assert not known.is_complete(unit, f"{unit}/x/y", Tree(files))
    assert known.is_complete(unit, f"{unit}/x/y", Tree({**files, mark: b"ok"}))


def test_of_unpacked_distributions_gradles_says_itself_that_it_is_whole():
    gradle, maven = "wrapper/dists/gradle-8-bin/abc", "m2/wrapper/dists/apache-maven-3.9/abc"
    half = Tree({f"{gradle}/gradle-8/bin/gradle": b"", f"{maven}/bin/mvn": b"", f"{maven}/mvnw.url": b""})
    assert known.is_broken(gradle, f"{gradle}/gradle-8/bin/gradle", half)
    assert not known.is_broken(maven, f"{maven}/bin/mvn", half)
    assert not known.is_complete(maven, f"{maven}/bin/mvn", half)
    assert not known.is_broken(gradle, f"{gradle}/gradle-8/bin/gradle", Tree({f"{gradle}/gradle-8-bin.zip.ok": b""}))


def test_a_yarn_archive_is_shared_if_all_that_it_lists_is_there():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("node_modules/ms/index.js", b"x" * 500)
    whole = out.getvalue()
    name, digest = "berry/cache/ms-npm-2.1.3-81ff3cfac1", hashlib.sha512(whole).hexdigest()[:10]
    assert known.may_share(f"{name}-10c0.zip", Tree({f"{name}-10c0.zip": whole}))
    assert known.may_share(f"{name}-{digest}.zip", Tree({f"{name}-{digest}.zip": whole}))
    assert not known.may_share(f"{name}-0123456789.zip", Tree({f"{name}-0123456789.zip": whole}))
    for damaged in (whole[:-30], whole[:100] + b"y" + whole[101:], b""):
        assert not known.may_share(f"{name}-10c0.zip", Tree({f"{name}-10c0.zip": damaged}))
    assert not known.may_share("unknown/thing.zip", Tree({"unknown/thing.zip": whole}))


def line(key, time, integrity="sha512-x"):
    text = f'{{"key":"{key}","integrity":"{integrity}","time":{time}}}'.encode()
    return b"\n" + hashlib.sha1(text).hexdigest().encode() + b"\t" + text


def crate_index(source, **versions):
    listed = b"".join(name.encode() + b"\0" + text.encode() + b"\0" for name, text in versions.items())
    return b"\x03\x02\0\0\0" + source.encode() + b"\0" + listed


def metadata(updated, *versions):
    listed = "".join(f"\n      <version>{version}</version>" for version in versions)
    return (
        f"<metadata>\n  <versioning>\n    <latest>{versions[-1]}</latest>\n    <versions>{listed}\n    </versions>\n"
        f"    <lastUpdated>{updated}</lastUpdated>\n  </versioning>\n</metadata>\n"
    ).encode()


TREE_HEADS = [b"go.sum database tree\n%d\nhash\n" % size for size in (9, 100, 20)]
CRATES = [crate_index("etag: a", v1="{1}", v2="{2}"), crate_index("etag: b", v2="{2}", v3="{3}"), crate_index("etag: c", v1="{1y}")]
INDEXES = {
    "g/a/1/_remote.repositories": [b"#NOTE: x\n#Mon 1\na.jar>central=\n", b"#NOTE: x\n#Tue 2\na.pom>central=\n", b"#NOTE: x\n#Wed 3\na.jar>=\na.jar>other=\n"],
    "g/a/maven-metadata-central.xml": [metadata(20260101, "1.9", "1.10"), metadata(20260103, "1.10", "2"), metadata(20260102, "1.8", "1.9")],
    "g/a/1-SNAPSHOT/maven-metadata-x.xml": [b"<metadata><lastUpdated>%d</lastUpdated></metadata>" % day for day in (2, 3, 1)],
    "_cacache/index-v5/aa/bb/cc": [line("a", 3), line("a", 1) + line("b", 2), line("b", 5, "sha512-y") + line("a", 3)],
    "cache/download/example.com/m/@v/list": [b"v1.0.0\nv1.1.0\n", b"v1.1.0\nv1.2.0\n", b"v0.9.0\n"],
    "pkg/sumdb/sum.example/latest": TREE_HEADS,
    "registry/index/i/.cache/se/rd/serde": CRATES,
}


@pytest.mark.parametrize("path", INDEXES)
def test_an_index_is_the_same_in_whatever_order_three_writers_are_merged(path):
    a, b, c = INDEXES[path]
    merge = known.merge_index
    merged = merge(path, merge(path, a, b), c)
    assert known.is_index(path)
    assert merged is not None
    orders = [merge(path, a, merge(path, b, c)), merge(path, merge(path, c, a), b), merge(path, b, merge(path, a, c)), merge(path, merged, merged)]
    assert orders == [merged] * 4
    assert [merge(path, merged, part) for part in (a, b, c)] == [merged] * 3, "what is in it already changes nothing"


def test_a_tracking_file_has_what_all_wrote_and_no_dates():
    merged = known.merge_index("g/a/1/_remote.repositories", b"#NOTE: x\n#Mon\na.jar>central=\n", b"#NOTE: x\n#Tue\na.pom>central=\n")
    assert merged == b"#NOTE: x\na.jar>central=\na.pom>central=\n"


def test_metadata_lists_the_versions_of_both_and_is_otherwise_the_latest():
    merged = known.merge_index("g/a/maven-metadata-central.xml", metadata(2, "1.9", "2.0"), metadata(1, "1.9", "1.10")).decode()
    assert [part.partition("<")[0] for part in merged.split("<version>")[1:]] == ["1.9", "1.10", "2.0"]
    assert "<latest>2.0</latest>" in merged
    assert "<lastUpdated>2</lastUpdated>" in merged


def test_npm_finds_the_latest_entry_of_a_key_last_and_none_that_is_cut_short():
    merged = known.merge_index("_cacache/index-v5/aa/bb/cc", line("a", 9) + line("b", 1)[:-3], line("a", 4))
    assert merged == line("a", 4) + line("a", 9)


def test_cargos_index_keeps_its_validator_only_where_one_side_has_all():
    path = "registry/index/i/.cache/se/rd/serde"
    small, large, other = crate_index("etag: a", v1="{1}"), crate_index("etag: b", v1="{1}", v2="{2}"), crate_index("etag: c", v3="{3}")
    assert known.merge_index(path, small, large) == large
    assert known.merge_index(path, large, other) == crate_index("Unknown", v1="{1}", v2="{2}", v3="{3}")
    assert known.merge_index(path, b"\x09" + small[1:], large) is None, "a format that nobody here knows"


def test_what_mvn_install_put_there_stays_in_its_branch():
    tree = Tree(
        {
            "r/g/a/1/_remote.repositories": b"#NOTE\na-1.jar>=\na-1.pom>=\n",
            "r/g/a/1/a-1.jar": b"",
            "r/g/a/1/a-1.pom": b"",
            "r/g/a/maven-metadata-local.xml": b"",
            "r/g/b/1/_remote.repositories": b"b-1.jar>central=\n",
            "r/g/b/1/b-1.jar": b"",
        }
    )
    assert sorted(set(tree.files) - known.private(tree.files, tree)) == ["r/g/b/1/_remote.repositories", "r/g/b/1/b-1.jar"]


def test_what_gradle_published_to_mavenlocal_stays_in_its_branch():
    files = ["g/a/1/a-1.jar", "g/a/1/a-1.module", "g/a/maven-metadata-local.xml"]
    others = {"g/b/1/b-1.jar": b"", "g/b/maven-metadata-central.xml": b""}
    tree = Tree({**dict.fromkeys(files, b""), **others})
    assert known.private(tree.files, tree) == set(files)


def test_links_to_the_project_stay_in_its_branch():
    links = {"lib/node_modules/mine": "../../../app", ".config/yarn/link/mine": "/app", "lib/node_modules/theirs/bin": "../x", "store/v10/projects/abc": "/app"}
    tree = Tree(dict.fromkeys(links, b""), links)
    assert known.private(tree.files, tree) == {"lib/node_modules/mine", ".config/yarn/link/mine", "store/v10/projects/abc"}


def test_programs_that_the_project_built_stay_in_its_branch():
    crates = b'[v1]\n"mine 0.1.0 (path+file:///src)" = ["mine"]\n"rg 1.0.0 (registry+https://x)" = ["rg"]\n'
    built = b"\0\npath\tm/cmd\nmod\tm\t(devel)\ndep\tx\tv1\th1:abc=\n\0"
    fetched = b"\0\npath\tm/cmd\nmod\tm\tv1.2.3\th1:abc=\ndep\tx\tv1\th1:abc=\n\0"
    tree = Tree(
        {
            ".cargo/bin/mine": b"",
            ".cargo/bin/rg": b"",
            ".cargo/.crates.toml": crates,
            "go/bin/built": built,
            "go/bin/fetched": fetched,
            "go/pkg/mod/cache/download/x": b"",
        }
    )
    assert known.private(tree.files, tree) == {".cargo/bin/mine", ".cargo/.crates.toml", "go/bin/built"}


def test_wheels_and_tarballs_of_the_project_stay_in_its_branch():
    tree = Tree(
        {
            "sdists-v9/path/abc/def/m-1.whl": b"",
            "wheels-v8/path/abc/m/1-py3-none-any.rev": b"",
            "wheels/ab/cd/ef/01/m-1-py3-none-any.whl": b"",
            "wheels/ab/cd/ef/01/origin.json": b'{"archive_info": {}, "url": "file:///src/m-1.tar.gz"}',
            "wheels/ab/cd/ef/02/n-1-py3-none-any.whl": b"",
            "wheels/ab/cd/ef/02/origin.json": b'{"archive_info": {}, "url": "https://host/n-1.tar.gz"}',
            "sdists-v9/pypi/six/1.0/six.whl": b"",
            "pypoetry/virtualenvs/app-py3.11/pyvenv.cfg": b"",
            "_cacache/index-v5/aa/bb/cc": line("pacote:tarball:file:/app/x.tgz", 1),
            "_cacache/index-v5/aa/bb/dd": line("make-fetch-happen:request-cache:https://host/x", 1),
        }
    )
    fetched = {"wheels/ab/cd/ef/02/n-1-py3-none-any.whl", "wheels/ab/cd/ef/02/origin.json"}
    assert set(tree.files) - known.private(tree.files, tree) == {"sdists-v9/pypi/six/1.0/six.whl", "_cacache/index-v5/aa/bb/dd", *fetched}


def test_a_failed_steps_file_is_vouched_for_by_its_checksum():
    right, digest = hashlib.sha1(b"jar").hexdigest().encode(), hashlib.sha512(b"tgz").hexdigest()
    content = f"_cacache/content-v2/sha512/{digest[:2]}/{digest[2:4]}/{digest[4:]}"
    sound = {
        "g/a-1.jar": b"jar",
        "g/a-1.jar.sha1": right,
        "g/_remote.repositories": b"a-1.jar>central=\n",
        content: b"tgz",
        "_cacache/index-v5/aa/bb/cc": line("a", 1),
        "archives/x_1_all.deb": b"",
        "wheels/ab/cd/ef/01/m-1-py3-none-any.whl": b"PK..PK\5\6" + bytes(18),
        "wheels/ab/cd/ef/01/origin.json": b"{}",
        "artifacts/ab/cd/ef/01/m-1-py3-none-any.whl": b"PK..PK\5\6" + bytes(18),
        "artifacts/ab/cd/ef/01/m-1.tar.gz": b"",
        "sdists-v11/index/abc/m/1/revision.http": b"",
        "cache/repositories/here/" + "ab/" * 8 + "a" * 64: b'1234567890{"name": "m"}',
        "registry/cache/i/serde_core-1.0.0.crate": b"crate",
        "registry/index/i/.cache/se/rd/serde_core": crate_index("etag: a", v1=hashlib.sha256(b"crate").hexdigest()),
        "cache/download/x/@v/v1.zip": b"",
        "cache/download/x/@v/v1.ziphash": b"",
    }
    unsound = {
        "g/b-1.jar": b"half",
        "g/b-1.jar.sha1": right,
        "_cacache/index-v5/aa/bb/dd": line("a", 1)[:-2],
        "registry/cache/i/serde_core-1.0.1.crate": b"cra",
        "cache/download/x/@v/v2.zip": b"",
        "wheels/ab/cd/ef/02/m-1-py3-none-any.whl": b"PK..",
        "artifacts/ab/cd/ef/02/m-1-py3-none-any.whl": b"PK..",
        "cache/repositories/here/" + "ab/" * 8 + "b" * 64: b'1234567890{"name"',
        "unknown": b"x",
    }
    tree = Tree({**sound, **unsound})
    assert {path for path in tree.files if known.may_share(path, tree)} == set(sound)
