"""COPY and ADD of a context's files and directories."""

import bz2
import gzip
import io
import lzma
import tarfile

from tests.conformance.model import Case, Dir, File, HardLink, Link

_FILES = {"a.txt": "A", "b.txt": "B", "dir/one": "1", "dir/sub/two": "2", "dir/empty": Dir()}


def _tar(*, mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=tarfile.GNU_FORMAT) as archive:
        for name, kind, data, target, bits, owner in (
            ("packed", tarfile.DIRTYPE, b"", "", 0o750, (7, 8)),
            ("packed/file", tarfile.REGTYPE, b"packed\n", "", 0o640, (1000, 50)),
            ("packed/link", tarfile.SYMTYPE, b"", "file", 0o777, (0, 0)),
            ("packed/hard", tarfile.LNKTYPE, b"", "packed/file", 0o640, (1000, 50)),
            ("lonely/deep/file", tarfile.REGTYPE, b"x", "", 0o4755, (0, 0)),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode, info.size, info.mtime = kind, target, bits, len(data), 1_000_000_111
            info.uid, info.gid = owner
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


_TAR = _tar()

CASES = [
    Case("a file to a file", "FROM scratch\nCOPY a.txt /x.txt\nCOPY a.txt deep/er/y\n", _FILES),
    Case("a file to a directory", "FROM scratch\nCOPY a.txt /d/\nCOPY a.txt b.txt /e/\nCOPY b.txt /d\n", _FILES),
    Case("a file to the root", "FROM scratch\nCOPY a.txt /\nCOPY b.txt .\n", _FILES),
    Case("a directory copies its content", "FROM scratch\nCOPY dir /d\nCOPY dir/ /e/\nCOPY dir/sub /f\n", _FILES),
    Case("everything", "FROM scratch\nCOPY . /all/\n", _FILES),
    Case("everything into a working directory", "FROM busybox\nWORKDIR /w\nCOPY . .\n", _FILES),
    Case("files and directories at once", "FROM scratch\nCOPY a.txt dir b.txt /mixed/\n", _FILES),
    Case(
        "a directory over another", "FROM scratch\nCOPY dir /d\nCOPY other /d\n", {**_FILES, "other/one": "changed", "other/new": "n", "other/sub/three": "3"}
    ),
    Case("paths that are not clean", "FROM scratch\nCOPY ./a.txt //x///y\nCOPY /b.txt ../../z\nCOPY dir/../dir/./sub/ /s/.\n", _FILES),
    Case("a path that leaves the context", "FROM scratch\nCOPY ../a.txt /x\nCOPY ../../../dir /y\n", _FILES),
    Case("JSON form with blanks", 'FROM scratch\nCOPY ["with blank", "a.txt", "/the dir/"]\n', {**_FILES, "with blank": "W"}),
    Case(
        "modes",
        "FROM scratch\nCOPY . /m/\n",
        {
            "exec": File(b"x", 0o755),
            "private": File(b"p", 0o600),
            "none": File(b"n", 0),
            "suid": File(b"s", 0o4755),
            "sgid": File(b"g", 0o2750),
            "sticky": File(b"t", 0o1777),
            "dir/x": "",
            "dir": Dir(0o700),
            "open": Dir(0o1777),
            "setgid": Dir(0o2775),
        },
    ),
    Case(
        "owners of a context are root",
        "FROM scratch\nCOPY . /o/\n",
        {"f": File(b"f", owner=(1000, 1000)), "d/x": File(b"", owner=(5, 6)), "d": Dir(owner=(7, 8))},
    ),
    Case(
        "times", "FROM scratch\nCOPY . /t/\n", {"old": File(b"o", mtime_s=1), "then": File(b"t", mtime_s=1_034_567_890), "d/x": File(b"x", mtime_s=999_999_999)}
    ),
    Case(
        "links",
        "FROM scratch\nCOPY . /l/\nCOPY l1 /copied\nCOPY dir/up /up\nCOPY dl /through\nCOPY dl/one /one\n",
        {
            **_FILES,
            "l1": Link("a.txt"),
            "dangling": Link("nowhere"),
            "dir/up": Link("../b.txt"),
            "dl": Link("dir"),
            "abs": Link("/etc/passwd"),
        },
    ),
    Case("a link that dangles by name", "FROM scratch\nCOPY dangling /x\n", {"dangling": Link("nowhere")}, fails="context.missing"),
    Case("links that leave the context", "FROM scratch\nCOPY out/a.txt /x\n", {**_FILES, "out": Link("../..")}, older="20.10 does otherwise"),
    Case("hard links", "FROM scratch\nCOPY . /h/\nCOPY one two /i/\n", {"one": "same", "two": HardLink("one"), "d/three": HardLink("one")}),
    Case(
        "extended attributes",
        "FROM scratch\nCOPY . /x/\n",
        {"f": File(b"f", xattrs={"user.note": b"hello"})},
        differs="BuildKit writes no attribute but security.capability into layers; the image specification wants all of them",
    ),
    Case("a missing file", "FROM scratch\nCOPY nope /x\n", _FILES, fails="context.missing"),
    Case("a missing file of two", "FROM scratch\nCOPY a.txt nope /x/\n", _FILES, fails="context.missing"),
    Case("over a directory", "FROM busybox\nCOPY a.txt /opt\nCOPY dir /home/alice\n", _FILES),
    Case("a directory over a file", "FROM busybox\nCOPY dir /etc/passwd\n", _FILES, fails="copy.not-a-directory"),
    Case("a file below a file", "FROM busybox\nCOPY a.txt /etc/passwd/x\n", _FILES, fails="copy.not-a-directory"),
    Case("a file over a directory of the same name", "FROM busybox\nCOPY base /\n", {"base/var": "file"}, fails="copy.is-a-directory"),
    Case("through links of the image", "FROM busybox\nCOPY a.txt /var/to-deep/\nCOPY dir /var/to-opt\nCOPY b.txt /var/to-opt/b\n", _FILES),
    Case(
        "over a link of the image", "FROM busybox\nRUN ln -s /opt/base /link; ln -s /nowhere/at/all /dangling\nCOPY a.txt /link\nCOPY b.txt /dangling\n", _FILES
    ),
    Case("a link of the image that leaves it", "FROM busybox\nRUN ln -s ../../../../../../opt /out\nCOPY a.txt /out/\n", _FILES),
    Case(
        "a base's directory keeps its mode", "FROM busybox\nCOPY a.txt /tmp/\nCOPY a.txt /root/\nCOPY a.txt /var/deep/\nCOPY a.txt /home/alice/new/\n", _FILES
    ),
    Case("wildcards", "FROM scratch\nCOPY *.txt /t/\nCOPY d?r/o* /o/\nCOPY dir/* /all/\nCOPY [ab].txt /c/\nCOPY [^a].txt /n/\n", _FILES),
    Case("a wildcard for directories", "FROM scratch\nCOPY d*/ /x/\nCOPY dir/s* /y/\n", _FILES),
    Case("a wildcard without a match", "FROM scratch\nCOPY *.none /x/\n", _FILES),
    Case("one match to a file", "FROM scratch\nCOPY a*.txt /x\n", _FILES),
    Case("many matches to no directory", "FROM scratch\nCOPY *.txt /x\n", _FILES),
    Case("brackets in names", "FROM scratch\nCOPY [[]x].txt /x\nCOPY y\\*z /y\n", {"[x].txt": "X", "y*z": "Y", "yaz": "no"}),
    Case("a bad pattern", "FROM scratch\nCOPY [a.txt /x\n", _FILES, fails="dockerfile.pattern", older="20.10 does otherwise"),
    Case("dotfiles", "FROM scratch\nCOPY * /star/\nCOPY .* /dots/\n", {".hidden": "h", ".dir/x": "x", "plain": "p"}),
    Case(
        "strange names",
        "FROM scratch\nCOPY . /s/\n",
        {"sp ace": "1", "quote'\"": "2", "é☃": "3", "back\\slash": "4", "line\nbreak": "5", ".wh.not": "", "-dash": "6"},
        fails="layer.whiteout-name",
        differs="a layer can't hold the name: it would delete a file wherever it is unpacked",
    ),
    Case(
        "names of all kinds",
        "FROM scratch\nCOPY . /s/\n",
        {"sp ace": "1", "quote'\"": "2", "é☃": "3", "back\\slash": "4", "line\nbreak": "5", "-dash": "6", "x" * 200: "7"},
    ),
    Case("a deep path", "FROM scratch\nCOPY . /\n", {"/".join(["d" * 50] * 12) + "/file": "deep"}),
    Case("many files", "FROM scratch\nCOPY . /m/\n", {f"{number % 7}/{number}": str(number) for number in range(300)}),
    Case("an empty context", "FROM scratch\nCOPY . /e/\n", {".dockerignore": "*\n"}),
    Case("--link is a COPY", "FROM busybox\nCOPY --link a.txt /opt/\nCOPY --link dir /new/\n", _FILES, older="newer"),
    Case("ADD of files", "FROM scratch\nADD a.txt dir /x/\nADD b.txt /y\n", _FILES),
    Case("ADD of a tar", "FROM scratch\nADD x.tar /t/\nADD x.tar /u\n", {"x.tar": _TAR}),
    Case(
        "ADD of compressed tars",
        "FROM scratch\nADD x.tgz /g/\nADD x.bz2 /b/\nADD x.xz /x/\n",
        {"x.tgz": gzip.compress(_TAR, mtime=0), "x.bz2": bz2.compress(_TAR), "x.xz": lzma.compress(_TAR)},
    ),
    Case("ADD goes by content, not by name", "FROM scratch\nADD x.dat /t/\nADD y.tar.gz /u/\n", {"x.dat": gzip.compress(_TAR, mtime=0), "y.tar.gz": "no tar"}),
    Case("ADD of a gzip that is no tar", "FROM scratch\nADD x.gz /t/\n", {"x.gz": gzip.compress(b"plain text" * 100, mtime=0)}),
    Case("ADD of a tar with an owner", "FROM busybox\nADD --chown=alice:staff x.tar /t/\n", {"x.tar": _TAR}, older="20.10 does otherwise"),
    Case("ADD of a tar with a mode", "FROM busybox\nADD --chmod=700 x.tar /t/\n", {"x.tar": _TAR}),
    Case("ADD --unpack", "FROM scratch\nADD --unpack=false x.tar /t/\nADD --unpack x.tar /u/\n", {"x.tar": _TAR}, older="newer"),
    Case(
        "ADD of a tar over what is there", "FROM busybox\nCOPY old /t/packed/file\nRUN ln -s packed /t/lonely\nADD x.tar /t/\n", {"x.tar": _TAR, "old": "old"}
    ),
    Case("COPY keeps a tar", "FROM scratch\nCOPY x.tar /t/\n", {"x.tar": _TAR}),
    Case("ADD of tars by a wildcard", "FROM scratch\nADD *.tar a.txt /t/\n", {"x.tar": _TAR, "a.txt": "A"}),
    Case("ADD of a directory with a tar in it", "FROM scratch\nADD d /t/\n", {"d/x.tar": _TAR}),
]
