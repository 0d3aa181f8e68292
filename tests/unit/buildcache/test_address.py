"""Addresses of shared caches, and scopes as parts of repositories' names."""

import pytest

from chandlery.buildcache.address import parse, repository_part
from chandlery.errors import RequestError
from chandlery.oci.reference import parse as parse_reference


@pytest.mark.parametrize(
    ("text", "location", "is_directory", "is_writable"),
    [
        ("registry://host:5000/cache", "host:5000/cache", False, True),
        ("registry://host/cache/{scope},mode=ro", "host/cache/{scope}", False, False),
        ("file:///srv/cache/,mode=rw", "/srv/cache", True, True),
    ],
)
def test_addresses(text, location, is_directory, is_writable):
    address = parse(text)
    assert (address.location, address.is_directory, address.is_writable) == (location, is_directory, is_writable)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host/cache",
        "http://host/cache",
        "file://relative",
        "registry://",
        "registry://host/UPPER",
        "registry://host/c:tag",
        "file:///x,mode=wo",
        "file:///x,y",
    ],
)
def test_what_is_none_is_refused(text):
    with pytest.raises(RequestError) as raised:
        parse(text)
    assert raised.value.code == "request.bad-cache-remote"


@pytest.mark.parametrize(
    "scope", ["github.com/team/app@main", "github.com/Team/App@feature/X_y", "a@../../x", "@", "ünï/cødé@b", "a/" * 200 + "@b", "host:1/x@y", "a..b/-c-@.d."]
)
def test_every_scope_is_a_good_name(scope):
    named = parse_reference(f"host/cache/{repository_part(scope)}")
    assert named.tag == "latest"


def test_different_scopes_have_different_names():
    scopes = ["a/b@c", "A/b@c", "a/b@C", "a/b/b-c", "a/b@c/", "a-b@c", "a b@c", "a/b@", "a/b", "a//b@c"]
    assert len({repository_part(scope) for scope in scopes}) == len(scopes)


def test_plain_scope_stays_readable():
    assert repository_part("github.com/team/app@main") == "github.com/team/app/b-main"
