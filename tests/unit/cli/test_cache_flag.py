"""--cache-from and --cache-to as buildx reads them."""

import os

import pytest

from chandlery.cli.cache_flag import parse_cache
from chandlery.engine.request import BuildRequest, CacheKind, CacheSpec
from chandlery.errors import RequestError


def test_a_name_alone_is_an_image_in_a_registry():
    assert parse_cache("--cache-from", "host/app:1") == (CacheSpec(CacheKind.REGISTRY, (("ref", "host/app:1"),)),)
    assert [spec.option("ref") for spec in parse_cache("--cache-from", "host/a,host/b")] == ["host/a", "host/b"]
    assert parse_cache("--cache-to", "host/app:1")[0].kind is CacheKind.REGISTRY


def test_options_are_kept():
    (spec,) = parse_cache("--cache-to", "type=registry,ref=host/app:1,mode=max,compression=zstd,compression-level=19,ignore-error=true,oci-mediatypes=true")
    assert (spec.option("mode"), spec.option("compression"), spec.is_set("ignore-error"), spec.name) == ("max", "zstd", True, "registry:host/app:1")
    (spec,) = parse_cache("--cache-from", "type=local,src=here,tag=x")
    assert spec.option("src") == os.path.abspath("here")
    assert parse_cache("--cache-to", "type=inline")[0].kind is CacheKind.INLINE


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--cache-from", "type=registry"),
        ("--cache-from", "type=local"),
        ("--cache-from", "type=inline"),
        ("--cache-from", "type=tape,ref=a"),
        ("--cache-from", "ref=a"),
        ("--cache-from", "type=registry,ref=a,mode=max"),
        ("--cache-from", "type=local,src=a,digest=b"),
        ("--cache-from", "type=registry,a"),
        ("--cache-to", "type=local,src=a"),
        ("--cache-to", "type=registry,ref=a,mode=big"),
        ("--cache-to", "type=registry,ref=a,compression=estargz"),
        ("--cache-to", "type=registry,ref=a,compression-level=x"),
        ("--cache-to", "type=registry,ref=a,ignore-error=perhaps"),
        ("--cache-to", "type=registry,ref=a,oci-mediatypes=false,image-manifest=true"),
        ("--cache-to", "type=registry,ref=a,oci-mediatypes=false,compression=zstd"),
        ("--cache-to", "type=inline,ref=a"),
    ],
)
def test_what_can_t_be_meant_is_refused(flag, text):
    with pytest.raises(RequestError) as raised:
        parse_cache(flag, text)
    assert raised.value.code == "request.bad-cache"
    assert raised.value.hint


@pytest.mark.parametrize("kind", ["gha", "s3", "azblob"])
def test_services_of_one_provider_are_refused_with_what_to_use_instead(kind):
    with pytest.raises(RequestError) as raised:
        parse_cache("--cache-to", f"type={kind},mode=max")
    assert raised.value.code == "request.unsupported-cache"
    assert "type=registry" in raised.value.hint


def test_the_older_build_argument_means_inline():
    assert BuildRequest(build_args=(("BUILDKIT_INLINE_CACHE", "1"),)).wants_inline_cache
    assert BuildRequest(cache_to=(CacheSpec(CacheKind.INLINE),)).wants_inline_cache
    assert not BuildRequest(build_args=(("BUILDKIT_INLINE_CACHE", "0"),)).wants_inline_cache
