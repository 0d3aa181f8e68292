"""--chown and --chmod."""
# ruff: noqa: E501 - a case is a line

from tests.conformance.model import Case, Dir, File, Link

_FILES = {"f": File(b"F", 0o640), "d/x": File(b"X", 0o755), "d/sub/y": "Y", "d": Dir(0o711), "d/l": Link("x")}

CASES = [
    Case("by name", "FROM busybox\nCOPY --chown=alice f /a\nCOPY --chown=alice:staff f /b\nCOPY --chown=bob:50 f /c\n", _FILES),
    Case("by number", "FROM busybox\nCOPY --chown=1000 f /a\nCOPY --chown=1000:50 f /b\nCOPY --chown=77:staff f /c\nCOPY --chown=0 f /d\n", _FILES),
    Case("numbers without a passwd", "FROM scratch\nCOPY --chown=12:34 f /a\nCOPY --chown=56 f /b\n", _FILES),
    Case("a name without a passwd", "FROM scratch\nCOPY --chown=alice f /a\n", _FILES, fails="copy.unknown-user"),
    Case("an unknown user", "FROM busybox\nCOPY --chown=nobody-here f /a\n", _FILES),
    Case("an unknown group", "FROM busybox\nCOPY --chown=alice:no-such f /a\n", _FILES),
    Case("a group alone", "FROM busybox\nCOPY --chown=:staff f /a\n", _FILES),
    Case("a user with an empty group", "FROM busybox\nCOPY --chown=alice: f /a\n", _FILES, older="20.10 does otherwise"),
    Case("of a tree", "FROM busybox\nCOPY --chown=alice:staff d /new/tree\n", _FILES),
    Case("of directories on the way", "FROM busybox\nCOPY --chown=alice f /made/on/the/way/f\nCOPY --chown=alice f /opt/new/\n", _FILES),
    Case("of what exists", "FROM busybox\nCOPY --chown=alice d /opt\nCOPY --chown=bob d /home/alice\n", _FILES),
    Case("from a variable", "FROM busybox\nARG u=alice g=staff\nCOPY --chown=$u:${g} f /a\n", _FILES),
    Case("USER doesn't own copies", "FROM busybox\nUSER alice\nCOPY f /a\nADD f /b\n", _FILES),
    Case(
        "users made by a step",
        "FROM busybox\nRUN echo carol:x:3000:3001::/:/bin/sh >> /etc/passwd; echo crew:x:3002: >> /etc/group\nCOPY --chown=carol f /a\nCOPY --chown=carol:crew f /b\n",
        _FILES,
    ),
    Case(
        "a mode of a file",
        "FROM busybox\nCOPY --chmod=600 f /a\nCOPY --chmod=0755 f /b\nCOPY --chmod=4711 f /c\nCOPY --chmod=7 f /d\n",
        _FILES,
        older="20.10 does otherwise",
    ),
    Case("a mode of a tree", "FROM busybox\nCOPY --chmod=750 d /tree\nCOPY --chmod=644 d /opt\n", _FILES, older="20.10 does otherwise"),
    Case(
        "a mode of a set-uid file",
        "FROM busybox\nCOPY --chmod=755 s /a\nCOPY --chmod=0755 s /b\nCOPY s /c\n",
        {"s": File(b"S", 0o4711)},
        older="20.10 does otherwise",
    ),
    Case(
        "a mode and an owner", "FROM busybox\nCOPY --chmod=640 --chown=alice d /tree\nADD --chmod=400 --chown=5:6 f /f\n", _FILES, older="20.10 does otherwise"
    ),
    Case("a mode on COPY --from", "FROM scratch\nCOPY --from=busybox --chmod=500 /var/deep /d\n", older="20.10 does otherwise"),
    Case("a mode from a variable", "FROM busybox\nARG m=751\nCOPY --chmod=$m f /a\n", _FILES, older="newer"),
    Case("a mode that is none", "FROM busybox\nCOPY --chmod=999 f /a\n", _FILES, fails="dockerfile.chmod", older="20.10 does otherwise"),
    Case("a mode of new directories", "FROM busybox\nCOPY --chmod=700 f /new/dir/f\n", _FILES, older="20.10 does otherwise"),
    Case(
        "root without a passwd", "FROM scratch\nCOPY --chown=root f /a\nCOPY --chown=root:root f /b\nCOPY --chown=5:root f /c\nUSER root\nWORKDIR /w\n", _FILES
    ),
    Case("root in another place", "FROM busybox\nRUN sed -i 's/^root:x:0:0/root:x:7:8/' /etc/passwd\nCOPY --chown=root f /a\nUSER root\nWORKDIR /w\n", _FILES),
    Case("WORKDIR of a user without a passwd", "FROM scratch\nUSER alice\nWORKDIR /w\n", fails="copy.unknown-user", older="20.10 does otherwise"),
    Case("WORKDIR of an unknown user", "FROM busybox\nUSER nobody-here:no-such\nWORKDIR /w\n"),
    Case("USER of a colon alone", "FROM scratch\nUSER :\nWORKDIR /w\n"),
]
