"""What .dockerignore keeps out of a context."""
# ruff: noqa: E501 - a case is a line

from tests.conformance.model import Case, Files, Link

_FILES: Files = {
    "a.txt": "1", "b.md": "2", "keep.md": "3", "dir/a.txt": "4", "dir/b.md": "5", "dir/sub/a.txt": "6", "dir/sub/deep/c.md": "7", "other/x": "8", ".hidden": "9", "node/x/y": "10",
}  # fmt: skip


def _ignoring(name: str, rules: str, *, fails: str = "", extra: Files | None = None, dockerfile: str = "FROM scratch\nCOPY . /\n", older: str = "") -> Case:
    return Case(name, dockerfile, {**_FILES, ".dockerignore": rules, **(extra or {})}, fails=fails, older=older)


CASES = [
    _ignoring("a name", "a.txt\nother\n"),
    _ignoring("a pattern at the top only", "*.md\n"),
    _ignoring("a pattern everywhere", "**/*.md\n"),
    _ignoring("a pattern in one level", "*/*.txt\n"),
    _ignoring("double stars", "**/sub\ndir/**/c.md\n"),
    _ignoring("a directory and an exception inside", "dir\n!dir/sub/a.txt\n"),
    _ignoring("everything but", "*\n!a.txt\n!dir/b.md\n"),
    _ignoring("the last rule wins", "*.md\n!keep.md\n*.md\n!b.md\n"),
    _ignoring("an exception above its rule", "!a.txt\na.txt\n"),
    _ignoring("slashes and dots", "/a.txt\n./b.md\ndir/\n/other/../keep.md\n"),
    _ignoring("comments and blanks", "# a.txt\n\n  b.md  \n\t\n#\n ! keep.md\n"),
    _ignoring("a byte order mark and carriage returns", "\ufeffa.txt\r\nb.md\r\n"),
    _ignoring("question marks and classes", "?.txt\n[k]eep.md\ndir/[^a]*\n"),
    _ignoring("dot files", ".*\n!.hidden\n"),
    _ignoring("a rule for a deep path", "dir/sub/deep\nnode/x\n"),
    _ignoring("an exception for a directory", "**\n!dir\ndir/sub\n"),
    _ignoring("an exception by a pattern", "dir/**\n!**/*.md\n", older="20.10 does otherwise"),
    _ignoring("an ignored file by name", "a.txt\n", fails="context.missing", dockerfile="FROM scratch\nCOPY a.txt /\n"),
    _ignoring("ignored files of a wildcard", "a.txt\n", dockerfile="FROM scratch\nCOPY *.* /\n"),
    _ignoring("an ignored directory by name", "dir\n", fails="context.missing", dockerfile="FROM scratch\nCOPY dir /d\n"),
    _ignoring("the Dockerfile may be ignored", "Dockerfile\n.dockerignore\n"),
    _ignoring("a link to what is ignored", "dir/sub\n", extra={"link": Link("dir/sub/a.txt"), "dlink": Link("dir")}),
    _ignoring("a bad pattern", "a[.txt\n", fails="ignore.malformed"),
    _ignoring("special letters", "a+b\n(c)\n$d\n", extra={"a+b": "", "aab": "", "(c)": "", "$d": ""}, older="20.10 does otherwise"),
    _ignoring("an escape", "\\*x\n\\#y\n", extra={"*x": "", "ax": "", "#y": ""}),
    _ignoring("a rule for everything below", "dir/*\n!dir/sub\n"),
    Case(
        "the Dockerfile's own ignore file",
        "FROM scratch\nCOPY . /\n",
        {**_FILES, ".dockerignore": "a.txt\n", "My.Dockerfile.dockerignore": "b.md\n"},
        file="My.Dockerfile",
    ),
    _ignoring(
        "bind mounts see it too", "a.txt\n", dockerfile="FROM busybox\nRUN --mount=target=/ctx ls -A /ctx | sort > /list\n", older="20.10 does otherwise"
    ),
]
