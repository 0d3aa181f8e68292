import json

import pytest

from chandlery.errors import AccessDenied, NotFound, RegistryError, Unavailable
from chandlery.registry.error import from_response, redacted


def body(code: str, message: str = "m") -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


@pytest.mark.parametrize(
    ("status", "raw", "kind", "code"),
    [
        (401, b"", AccessDenied, "registry.denied"),
        (403, body("DENIED"), AccessDenied, "registry.denied"),
        (404, body("MANIFEST_UNKNOWN"), NotFound, "registry.not-found"),
        (429, b"", Unavailable, "registry.rate-limited"),
        (403, body("TOOMANYREQUESTS"), Unavailable, "registry.rate-limited"),
        (500, b"<html>", Unavailable, "registry.unavailable"),
        (503, body("UNKNOWN"), Unavailable, "registry.unavailable"),
        (400, body("DIGEST_INVALID"), RegistryError, "registry.wrong-digest"),
        (400, body("TAG_INVALID", "tag is Immutable"), RegistryError, "registry.tag-immutable"),
        (405, body("UNSUPPORTED"), RegistryError, "registry.refused"),
    ],
)
def test_answers_become_errors(status, raw, kind, code):
    error = from_response(status, raw, doing="push of x", registry="r.example")
    assert isinstance(error, kind)
    assert error.code == code
    assert error.hint
    assert "r.example" in error.message


def test_only_what_may_pass_later_is_retryable():
    assert from_response(503, b"", doing="x", registry="r").retryable
    assert not from_response(404, b"", doing="x", registry="r").retryable


def test_what_the_registry_said_is_quoted_without_secrets():
    error = from_response(400, body("X", "see https://me:pw@h/p?sig=s3cret with Bearer s3cret"), doing="x", registry="r")
    assert "see https://h/p?..." in error.message
    assert "s3cret" not in error.message
    assert "pw" not in error.message


def test_redaction_leaves_ordinary_text_alone():
    assert redacted("basically fine: a/b:1") == "basically fine: a/b:1"
