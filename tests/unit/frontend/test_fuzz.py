"""Whatever the text, parsing gives a Dockerfile or a DockerfileError with a place, and lowering no other kind of error."""

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.fakes.pins import lower_text

from chandlery.errors import ChandleryError, DockerfileError, InputError
from chandlery.frontend.dockerfile.parse import parse

_WORDS = (
    "FROM RUN COPY ADD ENV ARG LABEL CMD ENTRYPOINT EXPOSE VOLUME USER WORKDIR HEALTHCHECK ONBUILD SHELL STOPSIGNAL MAINTAINER "
    'busybox scratch AS a b /x . A=1 $A ${A} ${A:- ${A# ${A%% ${A// / " \' \\ ` = [ ] ["a"] { <<E <<-E E --from=a --from=0 '
    "--mount=type=cache,target=/c --mount=from=a --chmod=7 --link --x --interval=1s NONE # : , 80"
)
_PIECES = st.sampled_from((*_WORDS.split(), "# escape=`", "# check=skip=all", "\t", "\r", "\xa0", "\x00", "é", "\ud800", "\udcff", "🚢"))
_ENDS = st.sampled_from((" ", "\n", "", "\\\n", "\r\n"))
_TEXT = st.lists(st.tuples(_PIECES, _ENDS), max_size=25).map(lambda pairs: "".join(piece + end for piece, end in pairs))
_QUICK = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def failure_of(text: str, *, lowers: bool) -> ChandleryError | None:
    """The error of ours that a text gives, if any; others pass through and fail the test."""
    try:
        if lowers:
            lower_text("FROM busybox AS a\nENV A=ab\n" + text)
        else:
            parse(text)
    except InputError as refused:
        return refused
    except KeyError:
        return None  # an image that the fake pinner doesn't know
    return None


@_QUICK
@given(st.one_of(st.text(max_size=120), _TEXT))
@example("FROM a\nENV A=" + "${A:-" * 2000)
@example("FROM a\nRUN " + "[" * 100_000)
def test_parse_raises_only_dockerfile_errors_with_a_place(text: str) -> None:
    refused = failure_of(text, lowers=False)
    assert refused is None or (isinstance(refused, DockerfileError) and refused.where and refused.code.startswith("dockerfile."))


@_QUICK
@given(_TEXT)
@example("ENV B=" + "${A:-" * 2000)
@example("RUN <<E${A\nE${A\n")
def test_lowering_raises_only_input_errors(text: str) -> None:
    refused = failure_of(text, lowers=True)
    assert refused is None or refused.message
