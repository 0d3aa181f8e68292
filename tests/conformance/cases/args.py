"""ARG: scopes, defaults, precedence, platform and predefined arguments."""
# ruff: noqa: E501 - a case is a line

from tests.conformance.model import Case

CASES = [
    Case("a global ARG in FROM", 'ARG base=busybox\nARG tag=latest\nFROM ${base}:${tag}\nLABEL a="$base"\n'),
    Case("a global ARG again in a stage", "ARG v=1\nFROM scratch\nARG v\nLABEL a=$v\nARG w=$v-w\nLABEL b=$w\n"),
    Case("--build-arg wins", "ARG v=1\nFROM scratch\nARG v=2\nLABEL a=$v\n", args=("--build-arg", "v=3")),
    Case("a stage's default wins over the global one", "ARG v=1\nFROM scratch\nARG v=2\nLABEL a=$v\n"),
    Case("--build-arg for what is not declared", 'FROM busybox\nLABEL a="$v"\nRUN echo x$v > /f\n', args=("--build-arg", "v=3")),
    Case("an empty --build-arg", 'FROM scratch\nARG v=default\nLABEL a="$v" b="${v:-x}"\n', args=("--build-arg", "v=")),
    Case("before and after its ARG", 'FROM busybox\nLABEL a="$v"\nRUN echo x$v > /one\nARG v=1\nRUN echo x$v > /two\n'),
    Case("ENV wins over ARG", "FROM busybox\nARG v=arg\nENV v=env\nLABEL a=$v\nRUN echo $v > /f\n", args=("--build-arg", "v=given")),
    Case("ARG behind ENV", "FROM busybox\nENV v=env\nARG v=arg\nLABEL a=$v\nRUN echo $v > /f\n"),
    Case("ENV from ARG", "FROM busybox\nARG v=1\nENV w=${v:-none}\nRUN echo $w$v > /f\n"),
    Case(
        "several in one ARG", 'FROM busybox\nARG a=1 b c="x y" d=$a\nRUN echo "$a-$b-$c-$d" > /f\n', args=("--build-arg", "b=2"), older="20.10 does otherwise"
    ),
    Case("an ARG again in one stage", "FROM busybox\nARG a=1\nRUN echo $a > /one\nARG a=2\nRUN echo $a > /two\nARG a\nRUN echo $a > /three\n"),
    Case("scopes of stages", "FROM busybox AS one\nARG a=1\nRUN echo x$a > /one\nFROM one\nRUN echo x$a > /two\nARG a\nRUN echo x$a > /three\n"),
    Case(
        "stages that don't inherit",
        "FROM busybox AS one\nARG a=1\nENV b=2\nRUN echo x$a$b > /one\nFROM busybox\nCOPY --from=one /one /\nRUN echo x$a$b > /two\n",
    ),
    Case(
        "platform arguments",
        "ARG TARGETARCH\nFROM busybox\nRUN echo x$TARGETOS > /undeclared\nARG TARGETOS TARGETPLATFORM BUILDOS TARGETVARIANT\nRUN echo $TARGETOS $BUILDOS x$TARGETVARIANT > /f\n",
    ),
    Case("a platform argument given", "FROM busybox\nARG TARGETOS\nLABEL a=$TARGETOS\n", args=("--build-arg", "TARGETOS=mine")),
    Case("FROM --platform of the target", "FROM --platform=$BUILDPLATFORM busybox\nLABEL a=1\n"),
    Case(
        "proxies are lent",
        "FROM busybox\nRUN env | grep -ci proxy > /count || true\n",
        args=("--build-arg", "HTTP_PROXY=http://127.0.0.1:9", "--build-arg", "no_proxy=x"),
    ),
    Case("a proxy that is declared", "FROM busybox\nARG HTTP_PROXY\nRUN echo $HTTP_PROXY > /f\n", args=("--build-arg", "HTTP_PROXY=http://127.0.0.1:9")),
    Case("FROM of an ARG without a value", "ARG base\nFROM $base\n", fails="dockerfile.image-name"),
    Case("an ARG that names a stage", "ARG from=two\nFROM scratch AS one\nLABEL s=1\nFROM scratch AS two\nLABEL s=2\nFROM $from\nLABEL t=3\n"),
    Case("ARG in ONBUILD", "FROM busybox AS base\nONBUILD ARG v=1\nONBUILD LABEL a=$v\nFROM base\nLABEL b=$v\n", args=("--build-arg", "v=2")),
    Case("ARG with quotes", 'FROM scratch\nARG a="x y"\nARG b=\'$a\'\nARG c="$a"\nLABEL a="$a" b="$b" c="$c"\n'),
    Case("an ARG name that starts with a number", "FROM scratch\nARG 1a=2\nLABEL b=c\n"),
    Case("a default from a global of its own", "ARG A=1\nARG B=${A}2\nFROM scratch\nARG B\nARG A=9\nLABEL a=$A b=$B\n"),
    Case(
        "TARGETSTAGE",
        "FROM scratch AS one\nARG TARGETSTAGE\nLABEL a=$TARGETSTAGE\nFROM scratch AS two\nARG TARGETSTAGE\nLABEL a=$TARGETSTAGE\n",
        args=("--target", "one"),
        older="newer",
    ),
]
