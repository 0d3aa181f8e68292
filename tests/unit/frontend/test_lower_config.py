"""The image's configuration and history: what each instruction does to them, in the words of BuildKit."""

import pytest
from tests.fakes.pins import lower_text

from chandlery.errors import DockerfileError

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def history(text: str, **changes: object) -> list[str]:
    return [entry.created_by for entry in lower_text(text, **changes).history]


def runtime(text: str, **changes: object) -> dict[str, object]:
    return lower_text(text, **changes).config.runtime


@pytest.mark.parametrize(
    ("line", "created_by"),
    [
        ("ENV A=1 B=\"x y\" C=$PATH", "ENV A=1 B=x y C=/bin"), ("ENV A  x", "ENV A=x"), ("LABEL a=b 'c d'=e", "LABEL a=b c d=e"),
        ("CMD echo hi", 'CMD ["/bin/sh" "-c" "echo hi"]'), ('CMD ["a","b\\t"]', 'CMD ["a" "b\\t"]'), ("CMD []", "CMD []"),
        ("ENTRYPOINT x", 'ENTRYPOINT ["/bin/sh" "-c" "x"]'),
        ("EXPOSE 90 80/udp 443", "EXPOSE [443/tcp 80/udp 90/tcp]"), ("VOLUME /a $PATH", "VOLUME [/a /bin]"),
        ("USER $PATH", "USER /bin"), ("WORKDIR a", "WORKDIR /a"),
        ("WORKDIR /a/", "WORKDIR /a/"), ("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGTERM"), ('SHELL ["a","-c"]', "SHELL [a -c]"),
        ("MAINTAINER me", "MAINTAINER me"),
        ("HEALTHCHECK NONE", "HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}"),
        ("HEALTHCHECK --interval=90s CMD a b", "HEALTHCHECK {Test:[CMD-SHELL a b] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}"),
        ("ARG A=1 B C=$PATH", "ARG A=1 B C=/bin"), ("COPY a b /c/", "COPY a b /c/ # buildkit"), ("COPY . .", "COPY . . # buildkit"),
        ("COPY --chown=1:2 --chmod=755 --link a b", "COPY --chown=1:2 --chmod=755 a b # buildkit"), ("ADD a b", "ADD a b # buildkit"),
        ("ADD http://x/y $PATH", "ADD http://x/y /bin # buildkit"), ("COPY <<E a /b/\nx\nE", "COPY a <<E /b/ # buildkit"),
        ("RUN echo  $PATH", "RUN /bin/sh -c echo  $PATH # buildkit"), ('RUN ["a", "b c"]', "RUN a b c # buildkit"),
        ("RUN <<E\na\nb\nE", "RUN /bin/sh -c a\nb\n # buildkit"),
        ("RUN a <<E\nb\nE", "RUN /bin/sh -c a <<E\nb\nE # buildkit"), ("RUN", "RUN /bin/sh -c  # buildkit"),
    ],
)  # fmt: skip
def test_history_of_one_instruction(line: str, created_by: str) -> None:
    assert history(f"FROM busybox\n{line}\n") == [created_by]


def test_history_of_a_step_names_the_args_in_scope() -> None:
    text = "ARG G=g\nFROM busybox\nARG A=1\nENV A=2\nARG B\nARG G\nARG A\nRUN x\n"
    assert history(text)[-1] == "RUN |3 A=2 B= G=g /bin/sh -c x # buildkit"


def test_only_layers_have_vertices_in_history() -> None:
    lowered = lower_text("FROM busybox\nENV a=b\nWORKDIR /w\nWORKDIR /\nCOPY a b\nRUN x\nCMD y\n")
    assert [entry.is_empty_layer for entry in lowered.history] == [True, False, True, False, False, True]
    assert [entry.vertex for entry in lowered.history if not entry.is_empty_layer] == [1, 3, 4]
    assert {entry.comment for entry in lowered.history} == {"buildkit.dockerfile.v0"}


def test_onbuild_leaves_no_history() -> None:
    lowered = lower_text("FROM busybox\nONBUILD RUN x\n")
    assert (lowered.history, lowered.config.runtime["OnBuild"]) == ((), ["RUN x"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM busybox\n", {"Env": ["PATH=/bin"], "Cmd": ["sh"]}), ("FROM scratch\n", {"Env": [DEFAULT_PATH], "WorkingDir": "/"}),
        ("FROM layerless:1\n", {"Env": ["X=1", DEFAULT_PATH]}),
        ("FROM debian:12\n", {"Env": ["PATH=/usr/bin", "LANG=C"], "Cmd": ["bash"], "WorkingDir": "/"}),
        ("FROM busybox\nENV A=1 PATH=/x:$PATH\nENV A=2\n", {"Env": ["PATH=/x:/bin", "A=2"], "Cmd": ["sh"]}),
        ("FROM busybox\nENV a=bye\nENV a=hi b=$a\nENV c=$a\n", {"Env": ["PATH=/bin", "a=hi", "b=bye", "c=hi"], "Cmd": ["sh"]}),
        ("FROM busybox\nARG A=1\nENV A=${A:-d}\nARG A=3\nENV B=$A\n", {"Env": ["PATH=/bin", "A=1", "B=3"], "Cmd": ["sh"]}),
        ("FROM busybox\nCMD x\n", {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh", "-c", "x"], "ArgsEscaped": True}),
        ("FROM busybox\nENTRYPOINT [\"e\"]\n", {"Env": ["PATH=/bin"], "Entrypoint": ["e"]}),
        ("FROM busybox\nCMD [\"c\"]\nENTRYPOINT [\"e\"]\n", {"Env": ["PATH=/bin"], "Cmd": ["c"], "Entrypoint": ["e"], "ArgsEscaped": True}),
        ("FROM busybox AS a\nCMD [\"c\"]\nFROM a\nENTRYPOINT [\"e\"]\n", {"Env": ["PATH=/bin"], "Entrypoint": ["e"], "ArgsEscaped": True}),
        ("FROM busybox AS a\nENTRYPOINT [\"e\"]\nFROM a\nCMD [\"c\"]\n", {"Env": ["PATH=/bin"], "Cmd": ["c"], "Entrypoint": ["e"], "ArgsEscaped": True}),
        ("FROM busybox\nCMD []\nENTRYPOINT []\n", {"Env": ["PATH=/bin"], "ArgsEscaped": True}),
        ("FROM busybox\nHEALTHCHECK --retries=2 CMD [\"x\"]\n", {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Healthcheck": {"Test": ["CMD", "x"], "Retries": 2}}),
        ("FROM busybox\nEXPOSE 80\nEXPOSE 80 81/udp\nVOLUME /v\nUSER u:g\nSTOPSIGNAL 9\nLABEL a=b\nLABEL a=c\n",
         {"Env": ["PATH=/bin"], "Cmd": ["sh"], "ExposedPorts": {"80/tcp": {}, "81/udp": {}}, "Volumes": {"/v": {}}, "User": "u:g", "StopSignal": "9",
          "Labels": {"a": "c"}}),
    ],
)  # fmt: skip
def test_configuration(text: str, expected: dict[str, object]) -> None:
    assert runtime(text) == expected


def test_a_base_image_is_inherited() -> None:
    lowered = lower_text("FROM app:1\nEXPOSE 81\nLABEL c=d\nVOLUME w\nCMD z\nWORKDIR sub\n")
    assert lowered.config.runtime == {
        "Env": [DEFAULT_PATH], "Entrypoint": ["/e"], "Cmd": ["/bin/ash", "-c", "z"], "ArgsEscaped": True, "WorkingDir": "/app/sub", "User": "bob",
        "Labels": {"a": "b", "c": "d"}, "ExposedPorts": {"80/tcp": {}, "81/tcp": {}}, "Volumes": {"/v": {}, "w": {}}, "Shell": ["/bin/ash", "-c"],
    }  # fmt: skip
    assert (lowered.config.author, lowered.config.diff_ids, lowered.config.history) == ("somebody", (), ())


def test_maintainer_is_the_author() -> None:
    assert lower_text("FROM app:1\nMAINTAINER me\n").config.author == "me"


def test_labels_of_the_request_go_to_the_target_only() -> None:
    lowered = lower_text("FROM busybox AS a\nLABEL x=1\nFROM a\n", labels=(("x", "2"), ("y", "$z")))
    assert lowered.config.runtime["Labels"] == {"x": "2", "y": "$z"}
    assert [entry.created_by for entry in lowered.history] == ["LABEL x=1"]


@pytest.mark.parametrize(
    ("text", "build_args", "expected"),
    [
        ("FROM busybox\nARG A=1\n", {}, ["ARG A=1"]), ("FROM busybox\nARG A=1\n", {"A": "$x"}, ["ARG A=$x"]),
        ("ARG A=1\nFROM busybox\nARG A\n", {}, ["ARG A=1"]),
        ("ARG A=1\nFROM busybox\nARG A=2\n", {}, ["ARG A=2"]), ("ARG A=1\nFROM busybox\nARG A=2\n", {"A": "3"}, ["ARG A=3"]),
        ("FROM busybox\nARG A\n", {}, ["ARG A"]),
        ("ARG A=1 B=$A-2\nFROM busybox\nARG B\n", {}, ["ARG B=1-2"]), ("ARG A=1\nARG B=$A\nFROM busybox\nARG B\n", {"A": "9"}, ["ARG B=9"]),
        ("FROM busybox\nARG TARGETPLATFORM\nARG TARGETOS TARGETARCH TARGETVARIANT\n", {},
        ["ARG TARGETPLATFORM=linux/amd64", "ARG TARGETOS=linux TARGETARCH=amd64 TARGETVARIANT="]),
        ("FROM busybox\nARG BUILDPLATFORM\n", {}, ["ARG BUILDPLATFORM=linux/amd64"]),
        ("FROM busybox\nARG TARGETARCH\n", {"TARGETARCH": "z"}, ["ARG TARGETARCH=z"]),
        ("FROM busybox\nARG TARGETARCH=d\n", {}, ["ARG TARGETARCH=d"]),
        ("FROM busybox AS last\nARG TARGETSTAGE\n", {}, ["ARG TARGETSTAGE=last"]),
        ("FROM busybox\nARG TARGETSTAGE\n", {}, ["ARG TARGETSTAGE=default"]), ("FROM busybox\nARG A=${B:?no}\n", {"A": "1"}, ["ARG A=1"]),
        ("FROM busybox\nARG SOURCE_DATE_EPOCH\n", {"SOURCE_DATE_EPOCH": "5"}, ["ARG SOURCE_DATE_EPOCH=5"]),
    ],
)  # fmt: skip
def test_args(text: str, build_args: dict[str, str], expected: list[str]) -> None:
    assert history(text, build_args=tuple(build_args.items())) == expected


def test_a_stage_inherits_the_args_of_the_one_below() -> None:
    assert history("FROM busybox AS a\nARG X=1\nFROM a\nRUN x\nARG X=2\nRUN y\n") == [
        "ARG X=1", "RUN |1 X=1 /bin/sh -c x # buildkit", "ARG X=2", "RUN |1 X=2 /bin/sh -c y # buildkit",
    ]  # fmt: skip


def test_args_are_no_part_of_another_stage() -> None:
    assert history("FROM busybox\nARG X=1\nFROM busybox\nRUN x\n") == ["RUN /bin/sh -c x # buildkit"]


def test_unused_build_args_are_named() -> None:
    arguments = (("A", "1"), ("B", "2"), ("HTTP_PROXY", "p"), ("BUILDKIT_X", "1"), ("TARGETARCH", "q"), ("G", "3"), ("SOURCE_DATE_EPOCH", "1"))
    lowered = lower_text("ARG G\nFROM busybox\nARG A\n", build_args=arguments)
    assert lowered.unused_build_args == ("B",)


@pytest.mark.parametrize(("text", "arguments", "expected"), [("", (("SOURCE_DATE_EPOCH", "5"),), "5"), ("ARG SOURCE_DATE_EPOCH=7\n", (), "7"), ("", (), "")])
def test_the_epoch_is_reported(text: str, arguments: tuple[tuple[str, str], ...], expected: str) -> None:
    assert lower_text(f"{text}FROM busybox\n", build_args=arguments).source_date_epoch == expected


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("STOPSIGNAL FOO", "signal"), ("STOPSIGNAL 0", "signal"), ("STOPSIGNAL RTMAX-15", "signal"), ("STOPSIGNAL RTMIN+16", "signal"),
        ("STOPSIGNAL $NOPE", "signal"),
        ("EXPOSE a", "port"), ("VOLUME $NOPE", "syntax"), ("ENV A=${B?}", "unset-variable"), ("ARG A=${B?}", "unset-variable"),
        ("ENV A='", "quote"),
        ("LABEL a=${b", "substitution"), ("USER ${b!}", "substitution"), ("RUN []", "syntax"),
    ],
)  # fmt: skip
def test_what_only_expansion_reveals_is_refused_at_its_line(line: str, code: str) -> None:
    with pytest.raises(DockerfileError) as refused:
        lower_text(f"FROM busybox\n{line}\n")
    assert refused.value.code == f"dockerfile.{code}"
    assert refused.value.where.startswith("Dockerfile:2:")
    assert refused.value.excerpt


@pytest.mark.parametrize("signal", ["SIGTERM", "term", "9", "+9", "-1", "SIGRTMIN+15", "RTMAX-14", "RTMIN", "${S:-INT}"])
def test_signals(signal: str) -> None:
    assert runtime(f"FROM busybox\nSTOPSIGNAL {signal}\n")["StopSignal"]
