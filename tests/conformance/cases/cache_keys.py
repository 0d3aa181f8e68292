"""What makes a second build do a step again."""

import re
from dataclasses import replace

from tests.conformance.model import Case, File

_FILES = {"a.txt": "A", "b.txt": "B", "dir/x": "X", "dir/y": "Y"}
_STEPS = "FROM busybox\nCOPY a.txt /a\nRUN cat /a > /made\nCOPY dir /dir\nRUN ls /dir > /list\n"

_CASES = [
    Case("nothing changed", _STEPS, _FILES, again={}),
    Case("a file that nobody copies", _STEPS, _FILES, again={"b.txt": "changed"}),
    Case("an early file", _STEPS, _FILES, again={"a.txt": "changed"}),
    Case("a late file", _STEPS, _FILES, again={"dir/x": "changed"}),
    Case("a new file in a directory", _STEPS, _FILES, again={"dir/new": "N"}),
    Case("a file less", _STEPS, _FILES, again={"dir/x": None}),
    Case("times alone", _STEPS, _FILES, again={"a.txt": File(b"A", mtime_s=5), "dir/x": File(b"X", mtime_s=6)}),
    Case("a mode", _STEPS, _FILES, again={"dir/x": File(b"X", 0o755)}),
    Case("an owner of the context", _STEPS, _FILES, again={"a.txt": File(b"A", owner=(5, 5))}),
    Case("a wildcard's match", "FROM busybox\nCOPY *.txt /t/\nRUN ls /t > /list\n", _FILES, again={"c.txt": "C"}),
    Case("a wildcard's other files", "FROM busybox\nCOPY *.txt /t/\nRUN ls /t > /list\n", _FILES, again={"c.md": "C", "dir/x": "changed"}),
    Case(
        "an ARG misses at its first RUN",
        "FROM busybox\nRUN echo before > /b\nARG v\nCOPY a.txt /a\nRUN echo $v > /v\nRUN echo after > /c\n",
        _FILES,
        args=("--build-arg", "v=1"),
        again={},
        again_args=("--build-arg", "v=2"),
    ),
    Case("an ARG that nothing uses", "FROM busybox\nRUN echo before > /b\nARG v\n", args=("--build-arg", "v=1"), again={}, again_args=("--build-arg", "v=2")),
    Case(
        "a proxy",
        "FROM busybox\nRUN echo a > /a\n",
        args=("--build-arg", "http_proxy=http://127.0.0.1:1"),
        again={},
        again_args=("--build-arg", "http_proxy=http://127.0.0.1:2"),
    ),
    Case("the Dockerfile's comments", "FROM busybox\nRUN echo a > /a\n", again={"Dockerfile": "# new\nFROM busybox\n\n#\nRUN echo a > /a\n"}),
    Case("a command", "FROM busybox\nRUN echo a > /a\nRUN echo b > /b\n", again={"Dockerfile": "FROM busybox\nRUN echo a > /a\nRUN echo c > /b\n"}),
    Case(
        "metadata between",
        "FROM busybox\nRUN echo a > /a\nRUN echo b > /b\n",
        again={"Dockerfile": "FROM busybox\nRUN echo a > /a\nLABEL x=1\nEXPOSE 80\nCMD x\nRUN echo b > /b\n"},
    ),
    Case(
        "an ENV between", "FROM busybox\nRUN echo a > /a\nRUN echo b > /b\n", again={"Dockerfile": "FROM busybox\nRUN echo a > /a\nENV x=1\nRUN echo b > /b\n"}
    ),
    Case(
        "a USER between",
        "FROM busybox\nRUN chmod 777 /\nRUN echo a > /a\nCOPY a.txt /x\n",
        _FILES,
        again={"Dockerfile": "FROM busybox\nRUN chmod 777 /\nUSER alice\nRUN echo a > /a\nCOPY a.txt /x\n"},
    ),
    Case("a WORKDIR between", "FROM busybox\nRUN echo a > /a\n", again={"Dockerfile": "FROM busybox\nWORKDIR /w\nRUN echo a > /a\n"}),
    Case(
        "a stage that made the same",
        "FROM busybox AS one\nCOPY a.txt /in\nRUN echo same > /out\nFROM busybox\nCOPY --from=one /out /\nRUN echo after > /after\n",
        _FILES,
        again={"a.txt": "changed"},
    ),
    Case(
        "a stage that made something else",
        "FROM busybox AS one\nCOPY a.txt /in\nRUN cat /in > /out\nFROM busybox\nCOPY --from=one /out /\nRUN echo after > /after\n",
        _FILES,
        again={"a.txt": "changed"},
    ),
    Case(
        "a bind mount's file",
        "FROM busybox\nRUN --mount=source=dir,target=/d ls /d > /list\n",
        _FILES,
        again={"a.txt": "changed"},
        older="20.10 does otherwise",
    ),
    Case(
        "a bind mount's content",
        "FROM busybox\nRUN --mount=source=dir,target=/d ls /d > /list\n",
        _FILES,
        again={"dir/x": "changed"},
        older="20.10 does otherwise",
    ),
    Case(
        "a cache mount's content",
        "FROM busybox\nRUN --mount=type=cache,id=key1,target=/c echo x >> /c/x; wc -l < /c/x > /n\nRUN echo a > /a\n",
        again={},
        older="20.10 does otherwise",
    ),
    Case("--no-cache", "FROM busybox\nRUN echo a > /a\nCOPY a.txt /x\n", _FILES, again={}, again_args=("--no-cache",)),
    Case(
        "--no-cache-filter",
        "FROM busybox AS one\nRUN echo a > /a\nFROM busybox AS two\nRUN echo b > /b\nFROM scratch\nCOPY --from=one /a /\nCOPY --from=two /b /\n",
        again={},
        again_args=("--no-cache-filter", "one"),
        older="newer",
    ),
    Case("a target", "FROM busybox AS one\nRUN echo a > /a\nFROM one AS two\nRUN echo b > /b\n", again={}, again_args=("--target", "one")),
    Case(
        "a heredoc's content",
        "FROM busybox\nRUN echo a > /a\nCOPY <<EOF /f\none\nEOF\n",
        again={"Dockerfile": "FROM busybox\nRUN echo a > /a\nCOPY <<EOF /f\ntwo\nEOF\n"},
        older="heredocs are newer",
    ),
    Case("a chown", "FROM busybox\nCOPY a.txt /a\n", _FILES, again={"Dockerfile": "FROM busybox\nCOPY --chown=1 a.txt /a\n"}),
    Case("a label given", "FROM busybox\nRUN echo a > /a\n", again={}, again_args=("--label", "x=y")),
    Case(
        "a stage's name",
        "FROM busybox AS one\nRUN echo a > /a\nFROM one\nRUN echo b > /b\n",
        again={"Dockerfile": "FROM busybox AS uno\nRUN echo a > /a\nFROM uno\nRUN echo b > /b\n"},
    ),
]


def _apart(case: Case) -> Case:
    """The case on a base of its own, so that no other case's steps are in its cache."""
    own = f"FROM busybox\\1\nWORKDIR /case-{re.sub('[^a-z0-9]+', '-', case.name.lower())}\n"

    def placed(text: str) -> str:
        return re.sub(r"FROM busybox((?: AS \w+)?)\n", own, text)

    changes = {path: placed(entry) if path == "Dockerfile" and isinstance(entry, str) else entry for path, entry in (case.again or {}).items()}
    return replace(case, dockerfile=placed(case.dockerfile), again=changes)


CASES = [_apart(case) for case in _CASES]
