"""A local context: what belongs to it, what its digest depends on, and what is said when something isn't there."""

import os
import time
from pathlib import Path

import pytest

from chandlery.errors import ContextError
from chandlery.linux import children
from chandlery.oci.digest import Digest
from chandlery.snapshot.checksum import digest_view
from chandlery.source import hashing
from chandlery.source.context import LocalContext
from chandlery.source.ignore import parse


def make(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
        (root / path).chmod(0o644)
    return root


def digest(root: Path, *sources: str, ignore: str = "", cache: str = "") -> Digest:
    return LocalContext(str(root), parse(ignore), stat_cache_path=cache).digest(sources or ("/",))


def test_equal_trees_have_equal_digests_whatever_their_times_and_places(tmp_path: Path) -> None:
    one = make(tmp_path / "one", {"a": "1", "d/b": "2"})
    two = make(tmp_path / "two", {"d/b": "2", "a": "1"})
    os.utime(two / "a", (1, 1))
    os.utime(two / "d", (1, 1))
    one.chmod(0o700)
    assert digest(one) == digest(two)


@pytest.mark.parametrize("change", ["content", "mode", "name", "link", "empty", "setuid", "type"])
def test_everything_that_is_copied_counts(tmp_path: Path, change: str) -> None:
    root = make(tmp_path / "c", {"a": "1", "d/b": "2"})
    os.symlink("a", root / "l")
    before = digest(root)
    match change:
        case "content":
            (root / "d/b").write_text("3")
        case "mode":
            (root / "d/b").chmod(0o755)
        case "name":
            (root / "d/b").rename(root / "d/c")
        case "link":
            (root / "l").unlink()
            os.symlink("b", root / "l")
        case "empty":
            (root / "d/e").mkdir()
        case "setuid":
            (root / "a").chmod(0o4644)
        case "type":
            (root / "l").unlink()
            (root / "l").write_text("a")
    assert digest(root) != before


def test_only_what_is_selected_counts(tmp_path: Path) -> None:
    root = make(tmp_path / "c", {"src/a": "1", "other/b": "2", "package.json": "{}"})
    before = digest(root, "/src", "/package.json")
    (root / "other/b").write_text("3")
    assert digest(root, "/src", "/package.json") == before
    (root / "src/a").write_text("2")
    assert digest(root, "/src", "/package.json") != before


def test_owners_do_not_count_and_a_plain_view_agrees_for_root(tmp_path: Path) -> None:
    root = make(tmp_path / "c", {"a": "1", "d/b": "2"})
    if os.geteuid() == 0:
        assert digest(root, "/d", "/a") == digest_view(str(root), ("/d", "/a"))
        os.chown(root / "a", 7, 7)
        assert digest(root, "/d", "/a") != digest_view(str(root), ("/d", "/a"))
    assert digest(root, "/a") == digest(make(tmp_path / "e", {"a": "1"}), "/a")


def test_excluded_files_do_not_count(tmp_path: Path) -> None:
    root = make(tmp_path / "c", {"a": "1", "node_modules/x/y": "2", "log.txt": "3"})
    expected = digest(make(tmp_path / "e", {"a": "1"}))
    assert digest(root, ignore="node_modules\n*.txt") == expected
    (root / "log.txt").write_text("4")
    assert digest(root, ignore="node_modules\n*.txt") == expected


def test_a_child_comes_back_with_its_parents_but_without_its_siblings(tmp_path: Path) -> None:
    root = make(tmp_path / "c", {"docs/keep/a.md": "1", "docs/keep/b.txt": "2", "docs/c.md": "3", "docs/empty/d.txt": "4", "e": "5"})
    context = LocalContext(str(root), parse("docs\n!docs/keep/*.md"))
    assert list(context.walk()) == ["docs", "docs/keep", "docs/keep/a.md", "e"]
    assert context.digest(("/",)) == digest(make(tmp_path / "x", {"docs/keep/a.md": "1", "e": "5"}))


def test_a_directory_of_which_nothing_is_left_stays_if_it_is_not_excluded_itself(tmp_path: Path) -> None:
    root = make(tmp_path / "c", {"d/a.o": "1"})
    assert list(LocalContext(str(root), parse("**/*.o")).walk()) == ["d"]


def test_a_warm_cache_gives_the_same_digest_and_sees_every_change(tmp_path: Path) -> None:
    root = make(tmp_path / "c", {f"d{at % 3}/f{at}": str(at) for at in range(30)})
    cache = str(tmp_path / "store/stat")
    first = digest(root, cache=cache)
    assert digest(root, cache=cache) == first == digest(root)
    text = (root / "d0/f0").stat()
    (root / "d0/f0").write_text("X")  # the same size, and the same mtime afterwards
    os.utime(root / "d0/f0", ns=(text.st_atime_ns, text.st_mtime_ns))
    assert digest(root, cache=cache) == digest(root) != first


def test_a_file_that_was_hashed_when_it_was_young_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path / "c", {"a": "1"})
    cache = str(tmp_path / "store/stat")
    counted = count_hashed(monkeypatch)
    digest(root, cache=cache)
    digest(root, cache=cache)
    assert counted == [1, 1]


def test_old_files_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path / "c", {"a": "1", "b": "2"})
    cache = str(tmp_path / "store/stat")
    later = time.time_ns() + 10_000_000_000
    monkeypatch.setattr("chandlery.source.context.now_ns", lambda: later)
    counted = count_hashed(monkeypatch)
    digest(root, cache=cache)
    digest(root, cache=cache)
    (root / "b").write_text("3")
    digest(root, cache=cache)
    assert counted == [2, 1]


def count_hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counted: list[int] = []
    original = hashing.hash_files

    def counting(root: str, jobs: "list[hashing.Job]") -> list[bytes]:
        count = sum(len(files) for _, files in jobs)
        if count:
            counted.append(count)
        return original(root, jobs)

    monkeypatch.setattr(hashing, "hash_files", counting)
    return counted


@pytest.mark.parametrize("damage", [b"", b"garbage", b"chandlery stat cache 1\n" + bytes(40)])
def test_a_damaged_cache_is_an_empty_one(tmp_path: Path, damage: bytes) -> None:
    root = make(tmp_path / "c", {"a": "1"})
    cache = tmp_path / "stat"
    cache.write_bytes(damage)
    assert digest(root, cache=str(cache)) == digest(root)


def test_many_files_are_hashed_by_several_processes_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path / "c", {f"d{at % 7}/f{at}": "x" * at for at in range(60)})
    alone = digest(root)
    monkeypatch.setattr(hashing, "MANY_FILES", 10)
    monkeypatch.setattr(children, "available", lambda: 2)
    assert digest(root) == alone


def test_a_changed_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path / "c", {"a": "1"})
    context = LocalContext(str(root))
    context.entries("")
    (root / "a").write_text("22")
    with pytest.raises(ContextError) as caught:
        context.digest(("/",))
    assert caught.value.code == "context.changed"
    assert "a changed" in str(caught.value)


def test_an_unreadable_file_is_an_error_of_the_context(tmp_path: Path) -> None:
    root = make(tmp_path / "c", {"a": "1"})
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (root / "a").chmod(0)
    with pytest.raises(ContextError) as caught:
        digest(root)
    assert caught.value.code == "context.unreadable"


def test_a_missing_path_names_the_nearest_ones(tmp_path: Path) -> None:
    root = make(tmp_path / "c", {"src/main.py": "1", "package.json": "2"})
    with pytest.raises(ContextError) as caught:
        digest(root, "/pakage.json")
    assert caught.value.code == "context.missing"
    assert "package.json" in caught.value.hint
    with pytest.raises(ContextError) as caught:
        digest(root, "/src/mian.py")
    assert "src/main.py" in caught.value.hint


def test_an_excluded_path_is_said_to_be_excluded(tmp_path: Path) -> None:
    root = make(tmp_path / "c", {"target/app.jar": "1"})
    with pytest.raises(ContextError) as caught:
        digest(root, "/target/app.jar", ignore="target")
    assert caught.value.code == "context.missing"
    assert ".dockerignore" in str(caught.value)


def test_wildcards_may_match_nothing(tmp_path: Path) -> None:
    root = make(tmp_path / "c", {"a": "1"})
    assert digest(root, "/*.lock", "/a") != digest(root, "/a")


def test_a_selected_link_stands_for_its_target_and_never_leads_outside(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    root = make(tmp_path / "c", {"real": "1"})
    os.symlink("real", root / "link")
    os.symlink("../secret", root / "up")
    os.symlink(str(tmp_path / "secret"), root / "absolute")
    os.symlink("loop", root / "loop")
    make(tmp_path / "c", {"secret": "inside"})
    assert digest(root, "/link") == digest(make(tmp_path / "e", {"link": "1"}), "/link")
    assert digest(root, "/up") == digest(make(tmp_path / "f", {"up": "inside"}), "/up")
    with pytest.raises(ContextError):
        digest(root, "/absolute")
    with pytest.raises(Exception, match="too many"):
        digest(root, "/loop")


def test_reading_one_file_stays_inside_and_has_a_limit(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("o")
    root = make(tmp_path / "c", {"Dockerfile": "FROM x", "d/x": "1"})
    os.symlink("../outside", root / "escape")
    os.symlink("Dockerfile", root / "linked")
    context = LocalContext(str(root), parse("*"))
    assert context.read_file("Dockerfile", 100) == b"FROM x"
    assert context.read_file("./linked", 100) == b"FROM x"
    for path, code in (("escape", "context.missing"), ("../outside", "context.missing"), ("d", "context.unreadable"), ("none", "context.missing")):
        with pytest.raises(ContextError) as caught:
            context.read_file(path, 100)
        assert caught.value.code == code
    with pytest.raises(ContextError) as caught:
        context.read_file("Dockerfile", 3)
    assert caught.value.code == "context.too-large"


def test_xattrs_count(tmp_path: Path) -> None:
    root = make(tmp_path / "c", {"a": "1"})
    before = digest(root)
    try:
        os.setxattr(root / "a", "user.test", b"x")
    except OSError:
        pytest.skip("the file system has no user xattrs")
    assert digest(root) != before


def test_xattrs_that_went_away_do_not_count_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path / "c", {"a": "1"})
    cache = str(tmp_path / "stat")
    later = time.time_ns() + 10_000_000_000
    monkeypatch.setattr("chandlery.source.context.now_ns", lambda: later)
    before = digest(root, cache=cache)
    try:
        os.setxattr(root / "a", "user.test", b"x")
    except OSError:
        pytest.skip("the file system has no user xattrs")
    assert digest(root, cache=cache) == digest(root, cache=cache) != before
    os.removexattr(root / "a", "user.test")
    assert digest(root, cache=cache) == before


def test_the_format_is_pinned(tmp_path: Path) -> None:
    root = make(tmp_path / "c", {"a": "1\n", "d/b": "2\n"})
    (root / "d").chmod(0o755)
    os.symlink("a", root / "l")
    assert digest(root) == "sha256:757093015671323ccbde7d42746f6a93f3d80abb83fb87f92f2115a7b6fe3014"
