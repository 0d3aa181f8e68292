"""--output as buildx reads it; what can't be done is refused, never ignored."""

import os

import pytest

from chandlery.cli.output_flag import parse_output, split_fields
from chandlery.engine.request import Output, OutputKind
from chandlery.errors import RequestError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("out", Output(OutputKind.LOCAL, os.path.abspath("out"))),
        ("out=dir", Output(OutputKind.LOCAL, os.path.abspath("out=dir"))),
        ("-", Output(OutputKind.TAR, "-")),
        ("type=local,dest=out", Output(OutputKind.LOCAL, os.path.abspath("out"))),
        ("type=tar,dest=a.tar", Output(OutputKind.TAR, os.path.abspath("a.tar"))),
        ("type=tar", Output(OutputKind.TAR, "-")),
        ("type=oci", Output(OutputKind.OCI, "-")),
        ("type=docker", Output(OutputKind.DOCKER)),
        ("type=docker,dest=-", Output(OutputKind.DOCKER, "-")),
        ("type=image,name=a", Output(OutputKind.IMAGE, "", (("name", "a"),))),
        ('type=image,"name=a,b"', Output(OutputKind.IMAGE, "", (("name", "a,b"),))),
        ("type=registry", Output(OutputKind.IMAGE, "", (("push", "true"),))),
        ("type=image,push=true,compression=zstd,compression-level=19", Output(
            OutputKind.IMAGE, "", (("compression", "zstd"), ("compression-level", "19"), ("push", "true")))),
        ("type=cacheonly", Output(OutputKind.CACHE_ONLY)),
        ("TYPE=tar,DEST=-", None),
    ],
)  # fmt: skip
def test_what_buildx_understands(text, expected):
    assert parse_output(text) == (expected or Output(OutputKind.TAR, "-"))


@pytest.mark.parametrize(
    "text",
    [
        "", "type=", "type=zip", "type=local", "type=local,dest=-", "type=tar,dest", "type=image,nmae=a", "type=image,push=maybe",
        "type=image,compression=estargz", "type=image,compression-level=high", "type=image,compression-level=²", "type=image,compression-level=20",
        "type=image,push-by-digest=true", "type=oci,tar=false", "type=local,dest=o,mode=delete", "type=local,dest=o,platform-split=true",
        "type=image,annotation.a=b", "type=image,name-canonical=true",
    ],
)  # fmt: skip
def test_what_can_not_be_done_is_refused(text):
    with pytest.raises(RequestError) as raised:
        parse_output(text)
    assert raised.value.code == "request.bad-output"
    assert raised.value.hint


def test_quotes_that_do_not_match_are_refused():
    with pytest.raises(RequestError) as raised:
        split_fields('a,"b')
    assert raised.value.code == "request.usage"
