"""Instructions as values: every form, before anything is expanded."""

import pytest

from chandlery.frontend.dockerfile import instructions as ins
from chandlery.frontend.dockerfile.parse import parse


def parsed(line: str) -> ins.Instruction:
    """The one instruction after FROM."""
    (stage,) = parse(f"FROM x\n{line}\n").stages
    (instruction,) = stage.instructions
    return instruction


def pairs(instruction: ins.Instruction) -> list[tuple[str, str]]:
    assert isinstance(instruction, ins.Env | ins.Label)
    return [(pair.key, pair.value) for pair in instruction.pairs]


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("A=1", [("A", "1")]), ("A=1 B=2", [("A", "1"), ("B", "2")]), ("A=\"x y\" B='z w'", [("A", '"x y"'), ("B", "'z w'")]),
        ("A=a\\ b C=", [("A", "a\\ b"), ("C", "")]),
        ("A x  y", [("A", "x  y")]), ("A\tx", [("A", "x")]), ("A x=y", [("A", "x=y")]), ("A=b=c", [("A", "b=c")]),
        ("\"a b\"=c", [('"a b"', "c")]), ("A=\"", [("A", '"')]),
    ],
)  # fmt: skip
def test_env_and_label_pairs(rest: str, expected: list[tuple[str, str]]) -> None:
    assert pairs(parsed(f"ENV {rest}")) == expected
    assert pairs(parsed(f"label {rest}")) == expected


@pytest.mark.parametrize(
    ("line", "words", "is_shell_form"),
    [
        ("RUN a  b", ("a  b",), True), ('RUN ["a", "b c"]', ("a", "b c"), False), ('RUN  [ "a" ]  ', ("a",), False),
        ("RUN ['a']", ("['a']",), True),
        ('RUN ["a"] b', ('["a"] b',), True), ('RUN ["a",]', ('["a",]',), True), ("RUN", (), True), ("RUN []", (), False),
        ('RUN ["\\u00e9"]', ("é",), False),
        ('RUN ["\\ud83d\\ude00","\\ud800"]', ("😀", "�"), False), ("RUN [NaN]", ("[NaN]",), True), ('run ["a\tb"]', ('["a\tb"]',), True),
    ],
)  # fmt: skip
def test_exec_and_shell_forms(line: str, words: tuple[str, ...], is_shell_form: bool) -> None:
    instruction = parsed(line)
    assert isinstance(instruction, ins.Run)
    assert (instruction.words, instruction.is_shell_form) == (words, is_shell_form)
    for name in ("CMD", "ENTRYPOINT"):
        other = parsed(name + line[3:])
        assert isinstance(other, ins.Cmd | ins.Entrypoint)
        assert (other.words, other.is_shell_form) == (words, is_shell_form)


@pytest.mark.parametrize(
    ("line", "sources", "target"),
    [
        ("COPY a b", ("a",), "b"), ("COPY a  b\tc/", ("a", "b"), "c/"), ('COPY ["a b","c"]', ("a b",), "c"),
        ('COPY "a b" c', ('"a', 'b"'), "c"),
        ("COPY -- --a b", ("--a",), "b"), ('ADD ["a"', ("[\"a\"",), ""),
    ],
)  # fmt: skip
def test_copy_sources_and_target(line: str, sources: tuple[str, ...], target: str) -> None:
    if not target:
        line, target = line + " x", "x"
    copy = parsed(line)
    assert isinstance(copy, ins.Copy)
    assert (copy.sources, copy.target, copy.is_add) == (sources, target, line.startswith("ADD"))


def test_copy_flags() -> None:
    copy = parsed('COPY --from=b --chown=u:g --chmod="7 5" --link --exclude=a --exclude=b --parents=false a b')
    assert isinstance(copy, ins.Copy)
    assert (copy.origin, copy.owner, copy.mode, copy.is_linked, copy.excludes, copy.keeps_parents) == ("b", "u:g", "7 5", True, ("a", "b"), False)


def test_add_flags() -> None:
    add = parsed("ADD --checksum=sha256:1 --unpack=False --keep-git-dir http://a b")
    assert isinstance(add, ins.Copy)
    assert (add.checksum, add.unpacks, add.keeps_git_dir, add.is_linked) == ("sha256:1", False, True, False)
    assert parsed("ADD a b").unpacks is None  # type: ignore[union-attr]


def test_copy_heredocs() -> None:
    copy = parsed("COPY a <<E <<-'F' /d/\nx $y\nE\n\tz\n\tF")
    assert isinstance(copy, ins.Copy)
    assert copy.sources == ("a",)
    assert copy.inline_files == (ins.InlineFile("E", "x $y\n", True), ins.InlineFile("F", "z\n", False))


def test_run_flags() -> None:
    run = parsed("RUN --mount=type=cache,target=/a --network=none --mount=from=b,target=/c --security=sandbox x")
    assert isinstance(run, ins.Run)
    assert (run.mounts, run.mount_froms, run.network) == (("type=cache,target=/a", "from=b,target=/c"), ("", "b"), "none")


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("A", [("A", None)]), ("A=", [("A", "")]), ("A=1 B C=\"x y\"", [("A", "1"), ("B", None), ("C", '"x y"')]),
        ("--foo A", [("A", None)]),
    ],
)  # fmt: skip
def test_arg_declarations(rest: str, expected: list[tuple[str, str | None]]) -> None:
    arg = parsed(f"ARG {rest}")
    assert isinstance(arg, ins.Arg)
    assert [(item.key, item.value) for item in arg.declarations] == expected


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("NONE", ("NONE",)), ("none", ("NONE",)), ("CMD curl  -f x", ("CMD-SHELL", "curl  -f x")), ('cmd ["a","b"]', ("CMD", "a", "b")),
        ("--bad=1 NONE", ("NONE",)),
    ],
)  # fmt: skip
def test_healthcheck_forms(rest: str, expected: tuple[str, ...]) -> None:
    check = parsed(f"HEALTHCHECK {rest}")
    assert isinstance(check, ins.Healthcheck)
    assert check.test == expected


def test_healthcheck_times() -> None:
    check = parsed("HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=500ms --start-interval=2h --retries=+3 CMD x")
    assert isinstance(check, ins.Healthcheck)
    times = (check.interval_ns, check.timeout_ns, check.start_period_ns, check.start_interval_ns, check.retries)
    assert times == (90_000_000_000, 1_500_000_000, 500_000_000, 7_200_000_000_000, 3)


@pytest.mark.parametrize(
    ("line", "expression"),
    [
        ("ONBUILD RUN a  b  ", "RUN a  b  "), ("onbuild   copy a b", "copy a b"), ("ONBUILD FOO x", "FOO x"),
        ("ONBUILD RUN <<E\na\nE", "RUN <<E\na\nE"),
        ("ONBUILD RUN a \\\n b", "RUN a  b"),
    ],
)  # fmt: skip
def test_onbuild_keeps_its_trigger_as_written(line: str, expression: str) -> None:
    onbuild = parsed(line)
    assert isinstance(onbuild, ins.OnBuild)
    assert onbuild.expression == expression


def test_the_simple_instructions() -> None:
    assert parsed("EXPOSE 80 443/udp 22").ports == ("22", "443/udp", "80")  # type: ignore[union-attr]
    assert parsed('VOLUME ["/a b", " /c "]').paths == ("/a b", "/c")  # type: ignore[union-attr]
    assert parsed("VOLUME /a $b").paths == ("/a", "$b")  # type: ignore[union-attr]
    assert parsed("WORKDIR /a b").path == "/a b"  # type: ignore[union-attr]
    assert parsed("USER a b").name == "a b"  # type: ignore[union-attr]
    assert parsed("MAINTAINER me <a@b>").name == "me <a@b>"  # type: ignore[union-attr]
    assert parsed("STOPSIGNAL 9").signal == "9"  # type: ignore[union-attr]
    assert parsed('SHELL ["a","-c"]').words == ("a", "-c")  # type: ignore[union-attr]


def test_stages_and_global_args() -> None:
    dockerfile = parse("ARG A=1\nARG B\nFROM --platform=$P x AS Build\nRUN a\nFROM build\nfrom x:$A as z.1-_\n")
    assert [arg.declarations[0].key for arg in dockerfile.global_args] == ["A", "B"]
    assert [(stage.index, stage.base, stage.name, stage.platform) for stage in dockerfile.stages] == [
        (0, "x", "build", "$P"), (1, "build", "", ""), (2, "x:$A", "z.1-_", ""),
    ]  # fmt: skip


def test_the_file_keeps_what_messages_need() -> None:
    dockerfile = parse("# syntax=docker/dockerfile:1.7 x\nFROM a\nRUN a \\\n\n b\n", file="D")
    assert (dockerfile.syntax, dockerfile.file, dockerfile.empty_continuations) == ("docker/dockerfile:1.7", "D", (5,))
    assert dockerfile.stages[0].instructions[0].text == "RUN a  b"
    assert str(dockerfile.stages[0].instructions[0].source) == "D:3:1"
