"""Stages, targets, COPY --from and named contexts."""
# ruff: noqa: E501 - a case is a line

from tests.conformance.model import Case

CASES = [
    Case("two stages", "FROM busybox AS build\nRUN echo made > /made; chown 3:4 /made; chmod 640 /made\nFROM scratch\nCOPY --from=build /made /\n"),
    Case("a target", "FROM busybox AS one\nRUN echo 1 > /1\nFROM one AS two\nRUN echo 2 > /2\nFROM two AS three\nRUN false\n", args=("--target", "two")),
    Case("a target by number", "FROM scratch\nLABEL a=1\nFROM scratch\nLABEL a=2\n", args=("--target", "0"), fails="dockerfile.unknown-target"),
    Case("a target in other letters", "FROM scratch AS One\nLABEL a=1\nFROM scratch\nLABEL a=2\n", args=("--target", "oNE")),
    Case("a missing target", "FROM scratch AS one\nLABEL a=1\n", args=("--target", "two"), fails="dockerfile.unknown-target"),
    Case("stages by number", "FROM busybox\nRUN echo 0 > /0\nFROM busybox\nRUN echo 1 > /1\nFROM scratch\nCOPY --from=0 /0 /\nCOPY --from=1 /1 /\n"),
    Case("unused stages don't run", "FROM busybox AS unused\nRUN false\nFROM busybox\nRUN echo a > /a\n"),
    Case("a stage on a stage", "FROM configured AS one\nENV a=1\nUSER root\nWORKDIR /w\nRUN echo x > x\nFROM one\nRUN pwd > y; echo $a >> y\nLABEL z=1\n"),
    Case("COPY --from an image", "FROM scratch\nCOPY --from=configured /opt/base /from-image\n"),
    Case("COPY --from a missing stage number", "FROM scratch\nLABEL a=1\nFROM scratch\nCOPY --from=5 /a /\n", fails="dockerfile.unknown-stage"),
    Case("COPY --from itself", "FROM busybox AS me\nCOPY --from=me /bin/sh /x\n", fails="dockerfile.circular"),
    Case("circular stages", "FROM busybox AS one\nCOPY --from=two /a /a\nFROM busybox AS two\nCOPY --from=one /b /b\nFROM two\n", fails="dockerfile.circular"),
    Case("a variable in COPY --from", "ARG s=one\nFROM busybox AS one\nFROM scratch\nARG s\nCOPY --from=$s /bin/sh /\n", fails="dockerfile.variable-in-from"),
    Case("two stages of one name", "FROM scratch AS a\nLABEL n=1\nFROM scratch AS a\nLABEL n=2\nFROM a\nLABEL m=3\n"),
    Case("a stage that hides an image", "FROM busybox AS debian\nRUN echo stage > /s\nFROM debian\nLABEL a=1\nCOPY --from=debian /s /t\n"),
    Case(
        "COPY --from keeps what files have",
        "FROM busybox AS one\nRUN echo a > /a; ln /a /b; ln -s a /c; mkfifo /p; mkdir -m 1777 /d; touch -t 200102030405 /a; chown alice /d; mkdir /all; mv /a /b /c /p /d /all\n"
        "FROM scratch\nCOPY --from=one /all /copied\nCOPY --from=one /all/a /all/c /single/\n",
        older="20.10 does otherwise",
    ),
    Case(
        "COPY --from follows links inside its stage",
        "FROM scratch\nCOPY --from=busybox /var/to-deep /as-link\nCOPY --from=busybox /var/to-deep/ /as-slash\nCOPY --from=busybox /var/to-deep/one /\nCOPY --from=busybox /var/to-opt/base /\n",
    ),
    Case("COPY --from with wildcards", "FROM scratch\nCOPY --from=busybox /etc/[gp]* /etc2/\nCOPY --from=busybox /var/*eep/o* /\n"),
    Case(
        "COPY --from all of a stage",
        "FROM busybox AS one\nRUN rm -r /opt; echo x > /x\nFROM scratch\nCOPY --from=one /etc /home /x /\nCOPY --from=one / /root-of-it/\n",
    ),
    Case(
        "--chown on COPY --from",
        "FROM busybox AS one\nRUN mkdir /d; echo a > /d/a; chown -R bob /d\nFROM busybox\nCOPY --from=one --chown=alice /d /kept\nCOPY --from=one /d /same\n",
    ),
    Case("a named context", "FROM scratch\nCOPY --from=extra /x /\nCOPY --from=extra dir /dir\n", contexts={"extra": {"x": "X", "dir/y": "Y"}}),
    Case("a named context hides a stage", "FROM busybox AS extra\nRUN false\nFROM scratch\nCOPY --from=extra /x /\n", contexts={"extra": {"x": "X"}}),
    Case(
        "a named context in FROM",
        "FROM extra\nCOPY --from=extra /x /again\n",
        contexts={"extra": {"x": "X"}},
        differs="BuildKit names no layer for the context, and puts a display text behind the others",
    ),
    Case("a named context with an ignore file", "FROM scratch\nCOPY --from=extra / /\n", contexts={"extra": {"x": "X", "y": "Y", ".dockerignore": "y\n"}}),
    Case("the Dockerfile elsewhere", "FROM scratch\nCOPY a /\n", {"a": "A"}, file="deep/My.Dockerfile"),
    Case(
        "equal stages",
        "FROM busybox AS one\nRUN echo x > /x\nFROM busybox AS two\nRUN echo x > /x\nFROM scratch\nCOPY --from=one /x /1\nCOPY --from=two /x /2\n",
    ),
    Case("a stage without layers", "FROM scratch AS empty\nFROM busybox\nCOPY --from=empty / /nothing/\n"),
    Case("an image that isn't there", "FROM localhost:9/not-there\nLABEL a=1\n", fails="registry.unavailable"),
    Case(
        "a foreign platform", "FROM busybox\nLABEL a=1\n", args=("--platform", "nonsense/arch/v1/x"), fails="platform.malformed", older="20.10 waits for ever"
    ),
]
