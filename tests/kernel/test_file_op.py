"""COPY, ADD, heredocs and WORKDIR: what a real overlay mount of the result shows, and that nothing outside is ever touched."""

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from chandlery.errors import ChandleryError
from chandlery.graph.op import CopyAction, FileOp, InlineFileAction, MakeDirAction
from chandlery.linux import children, mount
from chandlery.source.context import LocalContext
from chandlery.source.ignore import parse
from chandlery.worker import copy_files, manifest
from chandlery.worker.file_op import ContextInput, FileOpReport, HttpInput, ViewInput, apply

OLD = 1_000_000_000_000_000_000


class Box:
    """A base, a context and another stage; `run` applies actions to a new upper, `merged` mounts what that gives."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.base, self.context, self.stage = directory / "base", directory / "context", directory / "stage"
        for path in (self.base, self.context, self.stage):
            path.mkdir()
        (self.base / "etc").mkdir()
        (self.base / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nalice:x:1000:1001::/home:/bin/sh\n")
        (self.base / "etc/group").write_text("root:x:0:\nstaff:x:50:alice\n")
        self.count = 0
        self.upper = directory
        self.mounted: list[str] = []

    def run(self, *actions, ignore: str = "", scratch: bool = False, previous: Path | None = None, http: HttpInput | None = None) -> FileOpReport:
        self.count += 1
        self.upper = self.directory / f"s{self.count}" / "fs"
        self.upper.mkdir(parents=True)
        context = LocalContext(str(self.context), parse(ignore))
        inputs = {1: ContextInput(context), 2: ViewInput(str(self.stage)), 3: http}
        for action in actions:
            if isinstance(action, CopyAction) and action.input == 1:
                context.digest(action.sources)
        op = FileOp(tuple(actions))
        report = apply(op, base=None if scratch else str(self.base), upper=str(self.upper), inputs=inputs, previous=str(previous) if previous else None)
        manifest.write(str(self.upper), report.manifest)
        return report

    def merged(self) -> Path:
        target, work = self.directory / f"m{self.count}", self.directory / f"w{self.count}"
        target.mkdir()
        work.mkdir()
        mount.mount_overlay(str(target), [str(self.base)], upper=str(self.upper), work=str(work))
        self.mounted.append(str(target))
        return target

    def fails(self, *actions, **options) -> str:
        with pytest.raises(ChandleryError) as caught:
            self.run(*actions, **options)
        return caught.value.code


@pytest.fixture
def box(tmp_path):
    made = Box(tmp_path)
    yield made
    for target in made.mounted:
        mount.unmount(target)


def copy(*sources: str, to: str, **options) -> CopyAction:
    return CopyAction(options.pop("input", 1), tuple("/" + source.lstrip("/") for source in sources), to, **options)


def make(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
        os.utime(path, ns=(OLD, OLD))


def tree(root: Path) -> dict[str, str]:
    """Every path with its type, mode, owner and, for files and links, content."""
    found = {}
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = os.path.join(directory, name)
            state = os.lstat(path)
            content = os.readlink(path) if stat.S_ISLNK(state.st_mode) else Path(path).read_text(errors="replace") if stat.S_ISREG(state.st_mode) else ""
            found[os.path.relpath(path, root)] = f"{stat.filemode(state.st_mode)} {state.st_uid}:{state.st_gid} {content}".strip()
    return found


def test_a_file_to_a_name_and_into_a_directory(box) -> None:
    make(box.context, a="1")
    os.chown(box.context / "a", 5, 5)
    box.run(copy("a", to="/x/b"), copy("a", to="/y/"), copy("a", to="/etc"))
    file, directory = "-rw-r--r-- 0:0 1", "drwxr-xr-x 0:0"
    made = {path: line for path, line in tree(box.merged()).items() if path not in ("etc/passwd", "etc/group")}
    assert made == {"etc": directory, "etc/a": file, "x": directory, "x/b": file, "y": directory, "y/a": file}
    assert os.stat(box.upper / "x/b").st_mtime_ns == OLD


def test_a_copied_up_directory_keeps_all_its_metadata(box) -> None:
    make(box.context, a="1")
    (box.base / "srv").mkdir()
    os.chown(box.base / "srv", 7, 8)
    (box.base / "srv").chmod(0o2751)
    os.setxattr(box.base / "srv", "user.kept", b"yes")
    os.utime(box.base / "srv", ns=(OLD, OLD))
    box.run(copy("a", to="/srv/"))
    state = os.stat(box.upper / "srv")
    assert (state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode), state.st_mtime_ns) == (7, 8, 0o2751, OLD)
    assert os.getxattr(box.upper / "srv", "user.kept") == b"yes"


def test_of_a_directory_the_content_is_copied(box) -> None:
    make(box.context, d__a="1", d__sub__b="2")
    (box.context / "d").chmod(0o700)
    (box.context / "d/sub").chmod(0o710)
    box.run(copy("d", to="/app"), scratch=True)
    assert tree(box.upper) == {"app": "drwxr-xr-x 0:0", "app/a": "-rw-r--r-- 0:0 1", "app/sub": "drwx--x--- 0:0", "app/sub/b": "-rw-r--r-- 0:0 2"}


def test_several_sources_and_wildcards(box) -> None:
    make(box.context, a1="1", a2="2", b="3", d1__x="4", d2__y="5")
    box.run(copy("a*", "d?", "none*", to="/t/"), scratch=True)
    assert sorted(tree(box.upper)) == ["t", "t/a1", "t/a2", "t/x", "t/y"]


def test_wildcards_are_literal_where_they_are_not_allowed(box) -> None:
    (box.context / "a*").write_text("1")
    box.run(copy("a*", to="/t/", allows_wildcards=False), scratch=True)
    assert "t/a*" in tree(box.upper)


def test_an_existing_subdirectory_gets_the_source_s_metadata_and_the_target_keeps_its_own(box) -> None:
    make(box.context, d__sub__b="2")
    (box.context / "d/sub").chmod(0o700)
    (box.base / "app/sub").mkdir(parents=True)
    (box.base / "app").chmod(0o751)
    (box.base / "app/sub").chmod(0o777)
    (box.base / "app/sub/old").write_text("o")
    box.run(copy("d", to="/app"))
    merged = tree(box.merged())
    assert merged["app"] == "drwxr-x--x 0:0"
    assert merged["app/sub"] == "drwx------ 0:0"
    assert merged["app/sub/old"].endswith("o")


def test_owners(box) -> None:
    make(box.context, a="1", d__b="2")
    owners = {
        "alice": (1000, 1001),
        "alice:staff": (1000, 50),
        "12": (12, 12),
        "12:staff": (12, 50),
        ":": (0, 0),
        ":staff": (0, 50),
        "alice:7": (1000, 7),
        "0:0": (0, 0),
    }
    for text, ids in owners.items():
        box.run(copy("a", "d", to="/new/deep/", owner=text))
        for path in ("new", "new/deep", "new/deep/a", "new/deep/b"):
            state = os.lstat(box.upper / path)
            assert (state.st_uid, state.st_gid) == ids, (text, path)
    assert box.fails(copy("a", to="/x", owner="alice:staff"), scratch=True) == "copy.unknown-user"
    assert box.fails(copy("a", to="/x", owner="0:staff"), scratch=True) == "copy.unknown-group"
    assert box.fails(copy("a", to="/x", owner="alice"), scratch=True) == "copy.unknown-user"


@pytest.mark.parametrize(("owner", "ids"), [("nobody", (0, 0)), ("nobody:staff", (0, 50)), ("alice:nogroup", (1000, 1001))])
def test_an_unknown_name_is_roots_and_said_to_be(box, owner: str, ids: tuple[int, int]) -> None:
    make(box.context, a="1")

    report = box.run(copy("a", to="/x", owner=owner))

    state = os.lstat(box.upper / "x")
    assert (state.st_uid, state.st_gid) == ids
    assert len(report.warnings) == 1


def test_made_directories_get_the_mode_of_chmod(box) -> None:
    make(box.context, a="1", d__b="2")
    box.run(copy("a", to="/n/m/x", mode=0o4710), copy("d", to="/o", mode=0o700), scratch=True)
    made = tree(box.upper)
    assert (made["n"], made["n/m"], made["o"]) == ("drwx--x--- 0:0", "drwx--x--- 0:0", "drwx------ 0:0")


def test_modes(box) -> None:
    make(box.context, a="1", d__s__b="2")
    (box.context / "a").chmod(0o6755)
    os.symlink("a", box.context / "d/l")
    box.run(copy("a", "d", to="/t/"), scratch=True)
    assert tree(box.upper)["t/a"] == "-rwsr-sr-x 0:0 1"
    box.run(copy("a", "d", to="/t/", mode=0o640), scratch=True)
    made = tree(box.upper)
    assert (made["t/b" if "t/b" in made else "t/s/b"], made["t/s"], made["t/a"]) == ("-rw-r----- 0:0 2", "drw-r----- 0:0", "-rw-r----- 0:0 1")
    assert made["t/l"] == "lrwxrwxrwx 0:0 a"
    box.run(copy("d", to="/t/", mode=0o1777), scratch=True)
    assert tree(box.upper)["t/s"] == "drwxrwxrwt 0:0"


def test_the_umask_does_not_matter(box) -> None:
    make(box.context, a="1", d__b="2")
    (box.context / "a").chmod(0o666)
    (box.context / "d").chmod(0o777)
    before = os.umask(0o077)
    try:
        box.run(copy("/", to="/t/"), InlineFileAction("i", b"x", "/t/"), MakeDirAction("/w"), scratch=True)
    finally:
        os.umask(before)
    made = tree(box.upper)
    assert [made[path].split()[0] for path in ("t", "t/a", "t/d", "t/i", "w")] == ["drwxr-xr-x", "-rw-rw-rw-", "drwxrwxrwx", "-rw-r--r--", "drwxr-xr-x"]


def test_from_a_stage_owners_links_and_attributes_stay(box) -> None:
    make(box.stage, opt__a="1")
    os.chown(box.stage / "opt/a", 33, 34)
    os.link(box.stage / "opt/a", box.stage / "opt/b")
    os.symlink("/etc/passwd", box.stage / "opt/l")
    os.lchown(box.stage / "opt/l", 9, 9)
    os.setxattr(box.stage / "opt/a", "user.x", b"1")
    os.mknod(box.stage / "opt/null", 0o20666, os.makedev(1, 3))
    os.mkfifo(box.stage / "opt/pipe")
    box.run(copy("opt", to="/new/", input=2))
    made = box.upper / "new"
    assert (os.stat(made / "a").st_uid, os.stat(made / "a").st_gid) == (33, 34)
    assert os.stat(made / "a").st_ino == os.stat(made / "b").st_ino
    assert os.getxattr(made / "b", "user.x") == b"1"
    assert (os.readlink(made / "l"), os.lstat(made / "l").st_uid) == ("/etc/passwd", 9)
    assert os.stat(made / "null").st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO(os.lstat(made / "pipe").st_mode)


def test_links_in_the_target_are_followed_inside_the_root(box) -> None:
    make(box.context, a="1")
    (box.base / "run").mkdir()
    (box.base / "var").mkdir()
    os.symlink("/run", box.base / "var/run")
    os.symlink("../../../../run", box.base / "up")
    os.symlink("/missing/dir", box.base / "dangling")
    os.symlink("/etc/passwd", box.base / "pw")
    box.run(copy("a", to="/var/run/x"), copy("a", to="/up/y"), copy("a", to="/dangling/z"), copy("a", to="/pw"))
    made = tree(box.upper)
    assert {path for path, line in made.items() if line.startswith("-")} == {"run/x", "run/y", "missing/dir/z", "etc/passwd"}
    assert os.readlink(box.merged() / "var/run") == "/run"


def test_a_link_that_is_copied_over_is_replaced_not_followed(box) -> None:
    make(box.context, d__l="1")
    (box.base / "t").mkdir()
    os.symlink("/etc/passwd", box.base / "t/l")
    box.run(copy("d", to="/t/"))
    assert tree(box.merged())["t/l"] == "-rw-r--r-- 0:0 1"
    assert "etc/passwd" not in tree(box.upper)


@pytest.mark.parametrize("kind", ["copy", "add", "stage"])
def test_hostile_links_never_lead_out(box, kind: str) -> None:
    secret = box.directory / "secret"
    secret.mkdir()
    (secret / "key").write_text("s3cret")
    source = box.stage if kind == "stage" else box.context
    os.symlink(str(secret), source / "out")
    os.symlink("../secret", source / "up")
    os.symlink(str(secret), box.base / "escape")
    options = {"input": 2 if kind == "stage" else 1, "unpacks": kind == "add"}
    box.run(copy("/", to="/all/", **options))
    assert os.readlink(box.upper / "all/out") == str(secret)
    for path in ("out/key", "up/key", "out/*"):
        if path.endswith("*"):
            box.run(copy(path, to="/t/", **options))
        else:
            assert box.fails(copy(path, to="/t/", **options)) in ("context.missing", "copy.missing-source")
        assert "s3cret" not in str(tree(box.upper))
    make(source, mine="m")
    box.run(copy("mine", to="/escape/mine", **options))
    assert os.listdir(secret) == ["key"]


def test_a_file_does_not_replace_a_directory_nor_a_directory_a_file(box) -> None:
    make(box.context, f="1", d__x="2", tree__etc="3", other__name__y="4")
    (box.base / "name").write_text("n")
    assert box.fails(copy("tree", to="/")) == "copy.is-a-directory"
    assert box.fails(copy("other", to="/")) == "copy.not-a-directory"
    assert box.fails(copy("d", to="/name")) == "copy.not-a-directory"
    assert box.fails(copy("f", to="/name/x")) == "copy.not-a-directory"


def test_a_later_source_overwrites_an_earlier_one(box) -> None:
    make(box.context, one__a="1", two__a="2", two__b="3")
    box.run(copy("one", "two", to="/t/"), copy("two/b", to="/t/a"), scratch=True)
    assert tree(box.upper)["t/a"].endswith("3")


def test_heredocs(box) -> None:
    box.run(InlineFileAction("EOF", b"hello", "/d/"), InlineFileAction("EOF", b"#!", "/bin/x", "alice", 0o755))
    made = tree(box.upper)
    assert (made["d/EOF"], made["bin/x"], made["bin"]) == ("-rw-r--r-- 0:0 hello", "-rwxr-xr-x 1000:1001 #!", "drwxr-xr-x 1000:1001")


def test_workdir(box) -> None:
    os.symlink("/data", box.base / "link")
    box.run(MakeDirAction("/link/a/b", "alice"), MakeDirAction("/etc"), MakeDirAction("/w", "unknown"))
    made = tree(box.upper)
    assert made == {"data": "drwxr-xr-x 1000:1001", "data/a": "drwxr-xr-x 1000:1001", "data/a/b": "drwxr-xr-x 1000:1001", "w": "drwxr-xr-x 0:0"}
    assert box.fails(MakeDirAction("/etc/passwd")) == "copy.not-a-directory"


def test_a_downloaded_file(box) -> None:
    blob = box.directory / "blob"
    blob.write_text("data")
    blob.chmod(0o600)
    box.run(copy("x", to="/d/", input=3), copy("x", to="/e", input=3, mode=0o755, owner="alice"), http=HttpInput(str(blob), "file.bin", 1234))
    made = tree(box.upper)
    assert (made["d/file.bin"], made["e"]) == ("-rw------- 0:0 data", "-rwxr-xr-x 1000:1001 data")
    assert os.stat(box.upper / "d/file.bin").st_mtime == 1234


def archive(path: Path, kind: str, *members: tuple[str, dict, bytes]) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as writer:
        for name, fields, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o644
            member.mtime = 1000
            for field, content in fields.items():
                setattr(member, field, content)
            writer.addfile(member, io.BytesIO(data))
    import bz2
    import gzip
    import lzma

    import zstandard

    pack = {"tar": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.compress}[kind]
    path.write_bytes(pack(plain.getvalue()))


DIRECTORY = {"type": tarfile.DIRTYPE, "mode": 0o750, "uid": 3, "gid": 4}


@pytest.mark.parametrize("kind", ["tar", "gz", "bz2", "xz", "zst"])
def test_add_extracts_archives_whatever_their_names(box, kind: str) -> None:
    link = {"type": tarfile.SYMTYPE, "linkname": "f"}
    hard = {"type": tarfile.LNKTYPE, "linkname": "d/f", "uid": 8, "gid": 9}
    extra = {"pax_headers": {"SCHILY.xattr.user.k": "v", "mtime": "5.5"}}
    archive(
        box.context / "a.bin",
        kind,
        ("d/", DIRECTORY, b""),
        ("d/f", {"uid": 5, "gid": 6, **extra}, b"1"),
        ("d/l", link, b""),
        ("d/h", hard, b""),
        ("p/q", {}, b"2"),
    )
    (box.context / "a.bin").chmod(0o600)
    box.run(copy("a.bin", to="/t", unpacks=True))
    made = tree(box.upper)
    assert made == {
        "t": "drwxr-xr-x 0:0", "t/d": "drwxr-x--- 3:4", "t/d/f": "-rw-r--r-- 8:9 1", "t/d/h": "-rw-r--r-- 8:9 1", "t/d/l": "lrwxrwxrwx 0:0 f",
        "t/p": "drwxr-xr-x 0:0", "t/p/q": "-rw-r--r-- 0:0 2",
    }  # fmt: skip
    assert os.stat(box.upper / "t/d").st_mtime == 1000
    assert os.stat(box.upper / "t/d/f").st_mtime == 1000
    assert os.getxattr(box.upper / "t/d/f", "user.k") == b"v"
    box.run(copy("a.bin", to="/t/", unpacks=True, owner="alice"))
    assert tree(box.upper)["t/d/f"] == "-rw-r--r-- 1000:1001 1"
    box.run(copy("a.bin", to="/t/"))
    assert list(tree(box.upper)) == ["t", "t/a.bin"]


def test_times_of_an_archive_have_their_fractions(box) -> None:
    archive(box.context / "a", "tar", ("f", {"pax_headers": {"mtime": "5.5"}}, b"1"))
    box.run(copy("a", to="/t", unpacks=True))
    assert os.stat(box.upper / "t/f").st_mtime == 5.5


def test_a_target_is_cleaned_before_its_links_are_followed(box) -> None:
    make(box.context, a="1")
    os.symlink("/etc", box.base / "l")
    box.run(copy("a", to="/t/."), copy("a", to="/l/../u"))
    assert sorted(tree(box.upper)) == ["t", "u"]


def test_add_copies_what_is_no_archive(box) -> None:
    make(box.context, a="text", b="\x1f\x8b\x08damaged", empty="")
    (box.context / "zeros.tar").write_bytes(bytes(10240))
    box.run(copy("a", "b", "empty", "zeros.tar", to="/t/", unpacks=True))
    assert sorted(tree(box.upper)) == ["t", "t/a", "t/b", "t/empty", "t/zeros.tar"]


def test_an_archive_replaces_what_is_in_its_way_and_hides_what_was_below(box) -> None:
    (box.base / "t/d").mkdir(parents=True)
    (box.base / "t/d/old").write_text("o")
    (box.base / "t/f").write_text("f")
    archive(box.context / "a.tar", "tar", ("d", {}, b"now a file"), ("f/", DIRECTORY, b""), ("f/x", {}, b"1"))
    box.run(copy("a.tar", to="/t", unpacks=True))
    merged = tree(box.merged())
    assert (merged["t/d"], merged["t/f/x"]) == ("-rw-r--r-- 0:0 now a file", "-rw-r--r-- 0:0 1")
    archive(box.context / "a.tar", "tar", ("d", {}, b"file"), ("d/", DIRECTORY, b""), ("d/new", {}, b"1"))
    box.run(copy("a.tar", to="/t", unpacks=True))
    merged = tree(box.merged())
    assert "t/d/new" in merged
    assert "t/d/old" not in merged


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ([("../x", {}, b"1")], "add.hostile-archive"),
        ([("a/../../x", {}, b"1")], "add.hostile-archive"),
        ([("l", {"type": tarfile.LNKTYPE, "linkname": "../../../../etc/shadow"}, b"")], "add.hostile-archive"),
        ([("l", {"type": tarfile.LNKTYPE, "linkname": "none"}, b"")], "add.damaged-archive"),
        ([("n", {"type": tarfile.CHRTYPE}, b"")], "add.unsupported-entry"),
    ],
)
def test_hostile_archives_are_refused(box, members: list, code: str) -> None:
    archive(box.context / "a.tar", "tar", *members)
    assert box.fails(copy("a.tar", to="/t", unpacks=True)) == code


def test_links_of_an_archive_mean_the_target_directory(box) -> None:
    outside = box.directory / "outside"
    outside.mkdir()
    absolute = {"type": tarfile.SYMTYPE, "linkname": str(outside)}
    up = {"type": tarfile.SYMTYPE, "linkname": "../../../.."}
    archive(box.context / "a.tar", "tar", ("l", absolute, b""), ("l/x", {}, b"1"), ("u", up, b""), ("u/y", {}, b"2"), ("/abs", {}, b"3"))
    box.run(copy("a.tar", to="/t", unpacks=True))
    assert os.listdir(outside) == []
    made = tree(box.upper)
    assert {f"t{outside}/x", "t/y", "t/abs"} <= set(made)


def test_a_truncated_archive_is_an_error(box) -> None:
    archive(box.context / "a.tar", "tar", ("f", {}, b"x" * 100_000))
    data = (box.context / "a.tar").read_bytes()
    (box.context / "a.tar").write_bytes(data[:50_000])
    assert box.fails(copy("a.tar", to="/t", unpacks=True)) == "add.damaged-archive"


def test_an_excluded_file_is_not_copied(box) -> None:
    make(box.context, a="1", b="2", d__c="3")
    box.run(copy("/", to="/t/"), ignore="b\nd", scratch=True)
    assert sorted(tree(box.upper)) == ["t", "t/a"]
    assert box.fails(copy("b", to="/t/"), ignore="b") == "context.missing"


@pytest.mark.parametrize("forked", [False, True])
def test_a_file_that_changed_since_it_was_digested_is_an_error(box, forked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if forked:
        monkeypatch.setattr(copy_files, "MANY_FILES", 1)
        monkeypatch.setattr(children, "available", lambda: 1)
    make(box.context, a="1", d__b="2", e__c="3")
    context = LocalContext(str(box.context))
    context.digest(("/",))
    (box.context / "e/c").write_text("changed")
    upper = box.directory / "u"
    upper.mkdir()
    with pytest.raises(ChandleryError) as caught:
        apply(FileOp((copy("/", to="/t/"),)), base=None, upper=str(upper), inputs={1: ContextInput(context)})
    assert (caught.value.code, "e/c" in str(caught.value)) == ("context.changed", True)


@pytest.mark.parametrize("forked", [False, True])
def test_what_did_not_change_is_linked_from_the_previous_snapshot(box, forked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if forked:
        monkeypatch.setattr(copy_files, "MANY_FILES", 1)
        monkeypatch.setattr(children, "available", lambda: 1)
    make(box.context, a="1", b="2", d__c="3", d__m="4", d__o="5")
    os.link(box.context / "a", box.context / "twin")
    os.setxattr(box.context / "d/o", "user.k", b"v")
    box.run(copy("/", to="/t/"), scratch=True)
    first = box.upper
    make(box.context, b="22")
    (box.context / "d/m").chmod(0o600)
    box.run(copy("/", to="/t/"), scratch=True, previous=first)

    def is_linked(path: str) -> bool:
        return os.stat(first / path).st_ino == os.stat(box.upper / path).st_ino

    assert [is_linked(f"t/{path}") for path in ("b", "d/c", "d/m", "d/o")] == [False, True, False, False]
    assert os.stat(box.upper / "t/a").st_ino == os.stat(box.upper / "t/twin").st_ino
    assert tree(box.upper)["t/b"].endswith("22")
    assert tree(first)["t/b"].endswith("2")
    assert os.getxattr(box.upper / "t/d/o", "user.k") == b"v"
    box.run(copy("/", to="/t/", owner="12"), previous=first)
    assert not is_linked("t/d/c")
    assert tree(first)["t/d/c"] == "-rw-r--r-- 0:0 3"


def test_many_files_are_copied_by_several_processes_alike(box, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in range(100):
        make(box.context, **{f"d{at % 9}__f{at}": "x" * at})
    os.link(box.context / "d0/f0", box.context / "d1/linked")
    box.run(copy("/", to="/t/"), scratch=True)
    alone = tree(box.upper)
    monkeypatch.setattr(copy_files, "MANY_FILES", 10)
    monkeypatch.setattr(children, "available", lambda: 2)
    box.run(copy("/", to="/t/"), scratch=True)
    assert tree(box.upper) == alone
    assert os.stat(box.upper / "t/d0/f0").st_ino == os.stat(box.upper / "t/d1/linked").st_ino


def test_large_and_sparse_files_are_whole(box) -> None:
    data = os.urandom(3 << 20) + b"end"
    (box.context / "big").write_bytes(data)
    with open(box.context / "sparse", "wb") as file:
        file.seek(5 << 20)
        file.write(b"end")
    box.run(copy("/", to="/"), scratch=True)
    assert (box.upper / "big").read_bytes() == data
    assert (box.upper / "sparse").read_bytes() == bytes(5 << 20) + b"end"


def test_odd_names(box) -> None:
    names = [b"sp ace", b"new\nline", b"\xff\xfe", "ü".encode(), b"-dash", b"back\\slash", b"*"]
    for name in names:
        with open(os.path.join(os.fsencode(box.context), name), "wb") as file:
            file.write(name)
    box.run(copy("/", to="/t/"), scratch=True)
    assert sorted(os.listdir(os.fsencode(box.upper / "t"))) == sorted(names)
