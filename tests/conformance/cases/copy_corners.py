"""COPY where layers, links and earlier instructions meet."""

from tests.conformance.model import Case, Dir, Fifo, File, Link

CASES = [
    Case("a file over a file", "FROM scratch\nCOPY a /f\nCOPY b /f\n", {"a": File(b"A", 0o600), "b": File(b"B", 0o755)}),
    Case("a link over a file", "FROM scratch\nCOPY f /d/x\nCOPY links /d\n", {"f": "F", "links/x": Link("y")}),
    Case("a file over a link", "FROM scratch\nCOPY links /d\nCOPY files /d\n", {"links/x": Link("/etc/target"), "files/x": "X"}),
    Case(
        "a directory over a link to one",
        "FROM scratch\nCOPY base /\nCOPY more /\n",
        {"base/real/f": "F", "base/link": Link("real"), "more/link/g": "G"},
        fails="copy.not-a-directory",
    ),
    Case(
        "a directory over a link by its name",
        "FROM scratch\nCOPY base /\nCOPY more/link /link\n",
        {"base/real/f": "F", "base/link": Link("real"), "more/link/g": "G"},
    ),
    Case(
        "a directory over a file inside",
        "FROM scratch\nCOPY one /d\nCOPY two /d\n",
        {"one/x": "file", "two/x/y": "in a directory"},
        fails="copy.not-a-directory",
    ),
    Case(
        "a file over a directory inside",
        "FROM scratch\nCOPY one /d\nCOPY two /d\n",
        {"one/x/y": "in a directory", "two/x": "file"},
        fails="copy.is-a-directory",
    ),
    Case("a fifo", "FROM scratch\nCOPY . /d/\n", {"pipe": Fifo(), "f": "F"}, older="20.10 does otherwise"),
    Case(
        "directories get the mode of the later one",
        "FROM scratch\nCOPY one /d\nCOPY two /d\n",
        {"one/x/a": "", "one/x": Dir(0o700), "two/x/b": "", "two/x": Dir(0o777)},
    ),
    Case("an empty directory", "FROM scratch\nCOPY e /e\nCOPY e /f/\nCOPY . /all/\n", {"e": Dir(0o711)}),
    Case("the same file many times", "FROM scratch\nCOPY a a a /d/\nCOPY a /d/b\n", {"a": "A"}),
    Case("sources with equal names", "FROM scratch\nCOPY x/f y/f /d/\n", {"x/f": "X", "y/f": "Y"}),
    Case("a trailing slash on a file", "FROM scratch\nCOPY a/ /d\n", {"a": "A"}),
    Case("a trailing slash on a new directory", "FROM scratch\nCOPY d /new/\nCOPY a /new/\n", {"d/x": "X", "a": "A"}),
    Case("a dot at the target's end", "FROM scratch\nCOPY a /d/.\nCOPY a /e/f/..\n", {"a": "A"}, older="20.10 does otherwise"),
    Case("the target is a file of the base", "FROM busybox\nCOPY a /opt/base\nCOPY --chmod=600 a /etc/group\n", {"a": "A"}),
    Case("deleted and copied again", "FROM busybox\nRUN rm -r /opt /var/deep\nCOPY d /opt\nCOPY d/x /var/deep/x\n", {"d/x": "X"}),
    Case("over a hard link of the base", "FROM busybox\nCOPY a /var/deep/one\n", {"a": "A"}),
    Case("into a volume", "FROM busybox\nVOLUME /v\nCOPY a /v/a\n", {"a": "A"}),
    Case("a big file", "FROM scratch\nCOPY big /\n", {"big": b"0123456789abcdef" * 200_000}),
    Case("a file with holes", "FROM scratch\nCOPY a /\n", {"a": b"\0" * 100_000 + b"x"}),
    Case("copying from a deleted layer", "FROM busybox AS one\nRUN echo x > /x\nRUN rm /x; ln -s opt /x\nFROM scratch\nCOPY --from=one /x/base /y\n"),
    Case(
        "links made later",
        "FROM busybox\nRUN mkdir /real && ln -s /real /to\nCOPY d /to/sub\nCOPY d/x /to\nRUN cat /real/x /real/sub/x > /seen\n",
        {"d/x": "X"},
    ),
    Case("relative links over directories", "FROM busybox\nRUN mkdir -p /a/b /c; ln -s ../../c /a/b/l\nCOPY f /a/b/l/\nCOPY f /a/b/l/../up\n", {"f": "F"}),
    Case("a loop of links", "FROM busybox\nRUN ln -s b /a; ln -s a /b\nCOPY f /a/x\n", {"f": "F"}, fails="copy.link-loop"),
]
