"""The graph: vertices, edges, their names, and what enters a step."""

import pytest
from tests.fakes.pins import AMD64, lower_text, options

from chandlery.errors import DockerfileError, RequestError
from chandlery.frontend.dockerfile.lower import image_references, lower
from chandlery.frontend.dockerfile.lowered import ImageReference, NamedContext, NeedsPins, Pins, UrlReference
from chandlery.frontend.dockerfile.parse import parse
from chandlery.graph.op import (
    ContextOp,
    CopyAction,
    ExecOp,
    FileOp,
    HttpOp,
    ImageOp,
    InlineFileAction,
    MakeDirAction,
    Network,
    ScratchOp,
)
from chandlery.graph.vertex import Vertex
from chandlery.oci.platform import Platform


def names(text: str, **changes: object) -> list[str]:
    return [vertex.name.partition("@")[0] for vertex in lower_text(text, **changes).graph.vertices]


def last(text: str, **changes: object) -> Vertex:
    lowered = lower_text(text, **changes)
    assert lowered.target == len(lowered.graph.vertices) - 1
    return lowered.graph.vertices[-1]


def exec_op(text: str, **changes: object) -> ExecOp:
    op = last(text, **changes).op
    assert isinstance(op, ExecOp)
    return op


def actions(text: str) -> tuple[object, ...]:
    op = last(text).op
    assert isinstance(op, FileOp)
    return op.actions


def code_of(text: str, **changes: object) -> str:
    with pytest.raises(DockerfileError) as refused:
        lower_text(text, **changes)
    assert refused.value.where
    return refused.value.code.removeprefix("dockerfile.")


# Names and order


def test_steps_are_named_as_buildkit_names_them() -> None:
    text = 'FROM debian:12 AS build\nWORKDIR /src\nCOPY . .\nENV V=x\nrun make "$V" $N\nFROM busybox\nWORKDIR /\nCOPY --from=build /src/a /\n'
    assert sorted(names(text)) == [
        "[build 1/4] FROM docker.io/library/debian:12",
        "[build 2/4] WORKDIR /src",
        "[build 3/4] COPY . .",
        '[build 4/4] RUN make "x" $N',
        "[internal] load build context",
        "[stage-1 1/3] FROM docker.io/library/busybox:latest",
        "[stage-1 2/3] COPY --from=build /src/a /",
    ]


def test_a_single_stage_has_no_name_and_numbers_are_aligned() -> None:
    shown = names("FROM busybox\n" + "RUN a\n" * 9)
    assert (shown[0], shown[1], shown[9]) == ("[ 1/10] FROM docker.io/library/busybox:latest", "[ 2/10] RUN a", "[10/10] RUN a")


def test_a_heredoc_is_summed_up() -> None:
    assert names("FROM busybox\nRUN <<E\n\necho hi\nb\nE\n")[-1] == "[2/2] RUN <<E (echo hi...)"


def test_secret_variables_are_masked() -> None:
    assert names("FROM busybox\nENV N=1\nRUN --mount=type=secret,id=s,env=T echo $T $N\n")[-1].endswith("echo **** 1")


def test_vertices_know_their_stage_and_source() -> None:
    vertex = last("FROM busybox AS a\nFROM scratch AS b\nCOPY x y\n")
    assert (vertex.stage, str(vertex.source)) == ("b", "Dockerfile:3:1")
    assert last("FROM busybox\nRUN x\n").stage == "0"


# Steps


def test_a_step_has_the_environment_of_its_stage() -> None:
    op = exec_op("FROM debian:12\nARG A=1\nENV B=2 LANG=D\nUSER u\nWORKDIR /w/\nRUN x $A\n")
    assert op == ExecOp(("/bin/sh", "-c", "x $A"), ("PATH=/usr/bin", "A=1", "B=2", "LANG=D"), "/w", "u")


def test_an_arg_changes_only_the_steps_after_it() -> None:
    text = "FROM busybox\nRUN a\nARG A=1\nRUN b\n"
    before, after = (lower_text(text, build_args=(("A", value),)).graph.vertices for value in ("1", "2"))
    assert [one.op == two.op for one, two in zip(before, after, strict=True)] == [True, True, False]


@pytest.mark.parametrize(
    ("flag", "default", "expected"),
    [("", Network.DEFAULT, Network.DEFAULT), ("", Network.HOST, Network.HOST), ("--network=none ", Network.HOST, Network.NONE),
     ("--network=default ", Network.NONE, Network.NONE), ("--network=host ", Network.DEFAULT, Network.HOST)],
)  # fmt: skip
def test_network(flag: str, default: Network, expected: Network) -> None:
    assert exec_op(f"FROM busybox\nRUN {flag}x\n", network=default).network is expected


def test_hosts_reach_every_step() -> None:
    assert exec_op("FROM busybox\nRUN x\n", hosts=(("h", "1.2.3.4"),)).hosts == (("h", "1.2.3.4"),)


def test_proxies_are_not_keyed_unless_declared() -> None:
    arguments = (("HTTP_PROXY", "http://p"), ("no_proxy", "n"))
    plain = exec_op("FROM busybox\nRUN x\n", build_args=arguments)
    assert plain.unkeyed_env == ("HTTP_PROXY=http://p", "http_proxy=http://p", "NO_PROXY=n", "no_proxy=n")
    assert plain.env == ("PATH=/bin",)
    declared = exec_op("FROM busybox\nARG HTTP_PROXY\nRUN x\n", build_args=arguments)
    assert "HTTP_PROXY=http://p" in declared.env
    assert "HTTP_PROXY=http://p" not in declared.unkeyed_env


def test_shell_changes_the_steps_after_it() -> None:
    assert exec_op('FROM busybox\nSHELL ["/bin/bash","-ec"]\nRUN a  b\n').argv == ("/bin/bash", "-ec", "a  b")
    assert exec_op('FROM busybox\nSHELL ["/bin/bash","-ec"]\nRUN ["a", "$b"]\n').argv == ("a", "$b")


@pytest.mark.parametrize(
    ("lines", "command"),
    [
        ("RUN <<E\na\n b\nE", "a\n b\n"), ("RUN <<-E\n\ta\n\tE", "a\n"), ("RUN <<'E'\n$a\nE", "$a\n"),
        ("RUN a <<E | b <<-F\n1\nE\n\t2\n\tF", "a <<E | b <<-F\n1\nE\n\t2\nF"),
        ("RUN <<E cat\nx\nE", "<<E cat\nx\nE"), ("RUN <<E\nE", ""),
    ],
)  # fmt: skip
def test_heredocs_of_a_step(lines: str, command: str) -> None:
    assert exec_op(f"FROM busybox\n{lines}\n").argv == ("/bin/sh", "-c", command)


# Files


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("COPY a b", CopyAction(1, ("/a",), "/w/b")), ("COPY ./a//b/../c/ d/", CopyAction(1, ("/a/c",), "/w/d/")),
        ("COPY ../../x .", CopyAction(1, ("/x",), "/w/")),
        ("COPY a* /x", CopyAction(1, ("/a*",), "/x")), ('COPY ["a b", "/c d/"]', CopyAction(1, ("/a b",), "/c d/")),
        ("COPY 'a' \"c\"", CopyAction(1, ("/a",), "/w/c")),
        ("COPY --chown=u:g --chmod=0644 --link=false a b", CopyAction(1, ("/a",), "/w/b", "u:g", 0o644)),
        ("COPY --chown=:5 a b", CopyAction(1, ("/a",), "/w/b", "0:5")),
        ("COPY --chown=$O: --chmod=$M a b", CopyAction(1, ("/a",), "/w/b", "7", 0o755)),
        ("ADD a b", CopyAction(1, ("/a",), "/w/b", unpacks=True)),
        ("ADD --unpack=false a b", CopyAction(1, ("/a",), "/w/b")),
        ("ADD github.com/a b", CopyAction(1, ("/github.com/a",), "/w/b", unpacks=True)),
        ("ADD ftp://x b", CopyAction(1, ("/ftp:/x",), "/w/b", unpacks=True)), ("COPY $NOPE b", CopyAction(1, ("/",), "/w/b")),
        ("ADD http://h/a/b%20c.t?q=1#f d/", CopyAction(1, ("/b c.t",), "/w/d/", allows_wildcards=False)),
        ("ADD --unpack http://h/a.tgz d/", CopyAction(1, ("/a.tgz",), "/w/d/", unpacks=True, allows_wildcards=False)),
        ("ADD https://h d", CopyAction(1, ("/__unnamed__",), "/w/d", allows_wildcards=False)),
        ("ADD https://h/x/.. d", CopyAction(1, ("/__unnamed__",), "/w/d", allows_wildcards=False)),
        ("COPY <<E f\n$O \"q\" \\$O\nE", InlineFileAction("E", b'7 "q" $O\n', "/w/f")),
        ("COPY --chmod=700 --chown=1 <<'E' f/\n$O\nE", InlineFileAction("E", b"$O\n", "/w/f/", "1", 0o700)),
        ("WORKDIR a/../b/", MakeDirAction("/w/b")), ("WORKDIR /a/../b", MakeDirAction("/b")),
    ],
)  # fmt: skip
def test_file_actions(line: str, expected: object) -> None:
    assert actions(f"FROM busybox\nENV O=7 M=755\nWORKDIR /w\n{line}\n") == (expected,)


def test_workdir_belongs_to_the_user() -> None:
    assert actions("FROM busybox\nUSER u:g\nWORKDIR /w\n") == (MakeDirAction("/w", "u:g"),)


def test_workdir_of_the_root_makes_no_layer() -> None:
    assert isinstance(last("FROM busybox\nWORKDIR /\n").op, ImageOp)


def test_one_copy_is_one_vertex_with_each_input_once() -> None:
    vertex = last("FROM busybox\nADD a http://h/x b http://h/y <<E /d/\nz\nE\n")
    assert isinstance(vertex.op, FileOp)
    assert [getattr(action, "input", None) for action in vertex.op.actions] == [1, 2, 1, 3, None]
    assert len(vertex.inputs) == 4


def test_a_url_is_pinned_with_its_checksum() -> None:
    checksum = "sha256:" + "a" * 64
    dockerfile = parse(f"FROM scratch\nENV U=http://h/x\nADD --checksum={checksum} $U /d\n")
    assert lower(dockerfile, options(), Pins()) == NeedsPins(urls=(UrlReference("http://h/x", checksum),))


def test_a_pinned_url_is_a_vertex() -> None:
    vertices = lower_text("FROM scratch\nADD http://h/x /d\n").graph.vertices
    (fetched,) = (vertex.op for vertex in vertices if isinstance(vertex.op, HttpOp))
    assert (fetched.url, fetched.file_name, fetched.mtime_s) == ("http://h/x", "x", 1_700_000_000)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("COPY http://x/y z", "copy-url"), ("COPY git@h:a/b z", "copy-url"), ("COPY https://h/a.git#main z", "copy-url"),
        ("ADD git@h:a/b z", "unsupported"),
        ("ADD https://h/a.git z", "unsupported"), ("ADD git://h/a z", "unsupported"), ("COPY --exclude=x a b", "unsupported"),
        ("COPY --parents a b", "unsupported"),
        ("COPY --chmod=u+x,go-w a b", "unsupported"), ("COPY --chmod=8 a b", "chmod"), ("COPY --chmod=77777 a b", "chmod"),
        ("COPY --chmod=foo a b", "chmod"),
        ("COPY --link --chown=bob a b", "link-owner"), ("ADD --checksum=sha256:1 http://x/y z", "checksum"),
        ("ADD --checksum=x a z", "checksum"),
        ("ADD --checksum=x http://a http://b z/", "checksum"), ("RUN --security=insecure x", "unsupported"),
        ("RUN --device=a x", "unsupported"),
        ("COPY \"a /x", "quote"), ("COPY <<E /f\n${X?bad}\nE", "unset-variable"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_copied(line: str, code: str) -> None:
    assert code_of(f"FROM busybox\n{line}\n") == code


# Stages


def test_unused_stages_leave_no_vertex() -> None:
    lowered = lower_text("FROM nowhere:1 AS a\nRUN x\nFROM busybox\nCOPY a b\n")
    assert [type(vertex.op) for vertex in lowered.graph.vertices] == [ImageOp, ContextOp, FileOp]


def test_identical_stages_are_one() -> None:
    lowered = lower_text("FROM busybox AS a\nRUN x\nFROM busybox AS b\nRUN x\nFROM scratch\nCOPY --from=a /1 /\nCOPY --from=b /2 /\n")
    assert sum(isinstance(vertex.op, ExecOp) for vertex in lowered.graph.vertices) == 1


@pytest.mark.parametrize(("target", "command"), [("a", "1"), ("B", "2"), ("", "3")])
def test_the_target_is_named_in_any_case_or_the_last_stage(target: str, command: str) -> None:
    text = "FROM busybox AS a\nRUN 1\nFROM a AS b\nRUN 2\nFROM b\nRUN 3\n"
    assert exec_op(text, target=target).argv[-1] == command


def test_a_target_is_not_counted_as_buildkit_does_not() -> None:
    assert code_of("FROM busybox AS a\nFROM busybox\n", target="0") == "unknown-target"


def test_an_unknown_target_is_refused_with_the_nearest() -> None:
    with pytest.raises(DockerfileError) as refused:
        lower_text("FROM busybox AS build\nFROM busybox AS final\n", target="biuld")
    assert (refused.value.code, refused.value.hint) == ("dockerfile.unknown-target", "did you mean build?")
    assert code_of("FROM busybox\n", target="7") == "unknown-target"


@pytest.mark.parametrize("origin", ["a", "A", "0"])
def test_copy_from_a_stage(origin: str) -> None:
    vertex = last(f"FROM busybox AS a\nRUN x\nFROM scratch\nCOPY --from={origin} /x /y\n")
    assert isinstance(vertex.op, FileOp)
    assert vertex.op.actions == (CopyAction(1, ("/x",), "/y"),)


def test_copy_from_an_image_or_scratch() -> None:
    assert "FROM docker.io/library/debian:12" in names("FROM busybox\nCOPY --from=debian:12 /a /b\n")
    ops = [type(vertex.op) for vertex in lower_text("FROM busybox\nCOPY --from=scratch /a /b\n").graph.vertices]
    assert sorted(op.__name__ for op in ops) == ["FileOp", "ImageOp", "ScratchOp"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("FROM busybox\nCOPY --from=0 a b\n", "circular"), ("FROM busybox\nCOPY --from=1 a b\n", "unknown-stage"),
        ("FROM busybox\nCOPY --from=$X a b\n", "variable-in-from"),
        ("FROM busybox AS a\nCOPY --from=b x y\nFROM busybox AS b\nCOPY --from=a x y\n", "circular"),
        ("FROM busybox\nCOPY --from=a,b x y\n", "image-name"),
        ("FROM busybox AS a\nRUN --mount=from=b,target=/x y\nFROM a AS b\nRUN x\nFROM a\n", "stage-order"),
        ("FROM busybox AS Build\nFROM Build\n", "image-name"),
        ("FROM bad,name AS a\nFROM busybox\n", "image-name"), ("FROM $NOPE\n", "image-name"), ("FROM ${X?}\n", "unset-variable"),
        ("FROM --platform=$NOPE busybox\n", "platform"),
        ("FROM --platform=a/b/c/d busybox\n", "platform"), ("ARG A=${B?}\nFROM busybox\n", "unset-variable"),
        ("FROM busybox AS a-\n", "stage-name"),
    ],
)  # fmt: skip
def test_stages_that_cannot_be(text: str, code: str) -> None:
    assert code_of(text) == code


def test_a_circle_is_shown_at_its_copy() -> None:
    with pytest.raises(DockerfileError) as refused:
        lower_text("FROM busybox AS a\nCOPY --from=b x y\nFROM busybox AS b\nCOPY --from=a x y\n")
    assert (refused.value.where, "a -> b -> a" in refused.value.message) == ("Dockerfile:2:8", True)


def test_a_long_chain_of_stages_is_no_circle() -> None:
    chain = "".join(f"FROM scratch AS s{number}\nCOPY --from=s{number - 1} a b\n" for number in range(1, 1500))
    assert len(lower_text("FROM scratch AS s0\n" + chain).graph.vertices) == 1500


def test_a_variable_in_copy_from_shows_the_way_out() -> None:
    with pytest.raises(DockerfileError) as refused:
        lower_text("FROM busybox\nCOPY --from=${X} a b\n")
    assert "FROM ${X} AS cache" in refused.value.hint
    assert refused.value.where == "Dockerfile:2:6"


def test_no_cache_by_request_or_by_stage() -> None:
    text = "FROM busybox AS a\nRUN 1\nFROM a AS b\nRUN 2\n"
    ignored = [vertex.is_cache_ignored for vertex in lower_text(text, no_cache=True).graph.vertices]
    assert ignored == [True, True, True]
    ignored = [vertex.is_cache_ignored for vertex in lower_text(text, no_cache=("B",)).graph.vertices]
    assert ignored == [False, False, True]


# Pins, platforms, triggers and contexts


def test_only_reachable_images_are_pinned() -> None:
    dockerfile = parse("ARG T=12\nFROM nowhere AS a\nFROM debian:$T AS b\nCOPY --from=busybox a b\nFROM b\nRUN --mount=from=app:1,target=/x y\n")
    wanted = image_references(dockerfile, options(target="b"))
    assert wanted == (ImageReference("docker.io/library/debian:12", AMD64), ImageReference("docker.io/library/busybox:latest", AMD64))
    assert len(image_references(dockerfile, options())) == 3
    assert image_references(parse("FROM scratch\n"), options()) == ()


def test_an_image_to_pin_knows_its_place_and_the_stage_that_was_meant() -> None:
    dockerfile = parse("FROM debian:12 AS build\nFROM scratch\nCOPY --from=biuld \\\n a b\n")
    needs = lower(dockerfile, options(), Pins())
    assert isinstance(needs, NeedsPins)
    (place,) = needs.places
    assert (place.where, place.hint) == ("Dockerfile:3:13", "did you mean the stage build?")
    assert "^^^^^" in place.excerpt


def test_a_foreign_platform_is_refused() -> None:
    for text, changes in (("FROM --platform=linux/arm64 busybox\n", {}), ("FROM busybox\n", {"platform": Platform("linux", "s390x")})):
        with pytest.raises(RequestError) as refused:
            lower_text(text, **changes)
        assert refused.value.code == "platform.foreign"
    assert lower_text("FROM --platform=linux/arm64 nowhere AS a\nFROM --platform=$BUILDPLATFORM busybox\n").base is not None


def test_triggers_of_a_base_image_run_first() -> None:
    text = "FROM onbuild:1\nRUN own\n"
    assert image_references(parse(text), options()) == (ImageReference("docker.io/library/onbuild:1", AMD64),)
    assert sorted(names(text)) == [
        "FROM docker.io/library/busybox:latest",
        "[1/2] FROM docker.io/library/onbuild:1",
        "[2/4] ONBUILD RUN echo base",
        "[3/4] ONBUILD COPY --from=busybox /bin/x /y",
        "[4/4] RUN own",
    ]
    assert "OnBuild" not in lower_text(text).config.runtime


def test_triggers_of_a_stage_run_in_its_children_only() -> None:
    text = "FROM busybox AS a\nONBUILD RUN t\nRUN a\nFROM a AS b\nRUN b\nFROM b\nRUN c\n"
    commands = [vertex.op.argv[-1] for vertex in lower_text(text).graph.vertices if isinstance(vertex.op, ExecOp)]
    assert commands == ["a", "t", "b", "c"]


def test_a_broken_trigger_is_shown_at_the_from() -> None:
    with pytest.raises(DockerfileError) as refused:
        lower_text("FROM busybox AS a\nONBUILD FOO x\nFROM a\n")
    assert (refused.value.code, refused.value.where) == ("dockerfile.unknown-instruction", "Dockerfile:3:1")


def context(kind: str, text: str = "", name: str = "ctx") -> dict[str, object]:
    return {"contexts": ((name, NamedContext(kind, text)),)}


def test_a_directory_context_is_copied_and_mounted_from() -> None:
    lowered = lower_text("FROM scratch\nCOPY --from=ctx a/b /x\nCOPY c d\nRUN --mount=from=ctx,source=e,target=/m x\n", **context("local"))
    assert [(use.name, use.patterns) for use in lowered.contexts] == [("", ("/c",)), ("ctx", ("/a/b", "/e"))]
    assert sum(vertex.op == ContextOp("ctx") for vertex in lowered.graph.vertices) == 1


def test_a_directory_context_can_be_a_base() -> None:
    lowered = lower_text("FROM ctx\nRUN x\n", **context("local"))
    base = lowered.graph.vertices[-2]
    assert base.op == FileOp((CopyAction(1, ("/",), "/", allows_wildcards=False),))
    assert lowered.contexts[0].patterns == ("/",)


def test_a_directory_that_is_a_base_has_a_layer_and_its_history() -> None:
    lowered = lower_text("FROM ctx\nENV a=b\n", **context("local"))
    assert [(entry.vertex, entry.is_empty_layer) for entry in lowered.history] == [(lowered.target, False), (None, True)]


def test_a_context_overrides_a_stage() -> None:
    lowered = lower_text("FROM nowhere AS dep\nRUN x\nFROM scratch\nCOPY --from=dep /a /b\n", **context("local", name="dep"))
    assert {type(vertex.op) for vertex in lowered.graph.vertices} == {ScratchOp, ContextOp, FileOp}


@pytest.mark.parametrize(
    ("name", "written"), [("alpine", "alpine"), ("alpine:latest", "alpine"), ("docker.io/library/alpine", "alpine:latest"), ("x/y:1", "x/y:1")]
)
def test_a_context_overrides_an_image(name: str, written: str) -> None:
    lowered = lower_text(f"FROM {written}\nRUN x\n", **context("image", "debian:12", name))
    assert lowered.graph.vertices[0].op.reference == "docker.io/library/debian:12"  # type: ignore[union-attr]
    assert lowered.config.runtime["Env"] == ["PATH=/usr/bin", "LANG=C"]


def test_an_oci_layout_is_pinned_by_its_path() -> None:
    needs = lower(parse("FROM base\n"), options(**context("oci-layout", "/p@sha256:" + "a" * 64, "base")), Pins())
    assert isinstance(needs, NeedsPins)
    assert needs.images == (ImageReference("/p@sha256:" + "a" * 64, AMD64, "oci-layout"),)


@pytest.mark.parametrize("name", ["scratch", "context"])
def test_reserved_names_are_not_overridden(name: str) -> None:
    assert isinstance(lower_text("FROM scratch\nCOPY a b\n", **context("local", name=name)).graph.vertices[0].op, ScratchOp)


def test_the_build_context_is_asked_for_what_is_used() -> None:
    text = "FROM busybox AS u\nCOPY unused /\nFROM busybox\nCOPY a ./b* /x/\nADD http://h/y c /x/\nRUN --mount=source=d,target=/m x\n"
    assert lower_text(text).contexts[0].patterns == ("/a", "/b*", "/c", "/d")
