"""A request as lowering understands it, and where the names that lowering asks for are looked up."""

import os

from chandlery.engine.request import BuildRequest
from chandlery.engine.tools import Tools
from chandlery.errors import ContextError, RequestError
from chandlery.frontend.dockerfile.lowered import ImageReference, LowerOptions, NamedContext, PinnedUrl, UrlReference
from chandlery.oci import platform, reference
from chandlery.oci.digest import Digest
from chandlery.source.image import PinnedImage, PullPolicy


def lower_options(request: BuildRequest) -> LowerOptions:
    """Raises RequestError (platform.foreign) for a platform that isn't this machine's."""
    native = platform.native()
    wanted = platform.parse(request.platform) if request.platform else native
    if not platform.matches(native, wanted):
        hint = "leave --platform away, or build on a machine of that platform"
        raise RequestError(f"this machine is {native}: images for {wanted} can't be built on it yet", code="platform.foreign", hint=hint)
    given = dict(request.build_args)
    return LowerOptions(
        platform=wanted,
        build_platform=native,
        target=request.target,
        build_args=(*((name, text) for name, text in request.proxy_args if name not in given), *request.build_args),
        labels=request.labels,
        network=request.network,
        no_cache=True if request.no_cache else request.no_cache_filter or False,
        hosts=request.hosts,
        contexts=tuple((name, _named_context(name, location)) for name, location in request.build_contexts),
    )


def named_directories(request: BuildRequest) -> dict[str, str]:
    """The named contexts that are directories."""
    return {name: os.path.realpath(location) for name, location in request.build_contexts if _named_context(name, location).kind == "local"}


def _named_context(name: str, location: str) -> NamedContext:
    if location.startswith("docker-image://"):
        text, _, option = location.removeprefix("docker-image://").partition(",")
        if option not in ("", "optional"):
            hint = "write docker-image://REF, or docker-image://REF,optional for an image that needn't be there"
            raise RequestError(f"--build-context {name}: {option!r} is not understood", code="request.bad-context", hint=hint)
        return NamedContext("image", text, is_optional=option == "optional")
    if location.startswith("oci-layout://"):
        return NamedContext("oci-layout", location.removeprefix("oci-layout://"))
    if location.startswith(("http://", "https://", "git://", "git@", "ssh://")) or location.endswith(".git"):
        raise RequestError(f"--build-context {name}={location}: remote contexts come with a later release", code="request.unsupported-context")
    if not os.path.isdir(location):
        raise ContextError(f"--build-context {name}: {location} is not a directory", code="context.missing", hint="give a directory or docker-image://REF")
    return NamedContext("local")


class RequestPinner:
    """Pins images through the registry, the store or an OCI layout, and URLs through HTTP."""

    def __init__(self, request: BuildRequest, tools: Tools) -> None:
        self._policy = PullPolicy.ALWAYS if request.always_pull else PullPolicy.DEFAULT
        self._tools = tools

    def image(self, wanted: ImageReference) -> PinnedImage:
        tools = self._tools
        if wanted.origin == "oci-layout":
            from chandlery.source.oci_layout import pin_layout

            return pin_layout(wanted.text, wanted.platform, tools.store, tools.session)
        return tools.images.pin(reference.parse(wanted.text), wanted.platform, tools.session, policy=self._policy)

    def url(self, wanted: UrlReference) -> PinnedUrl:
        checksum = Digest(wanted.checksum) if wanted.checksum else None
        pinned = self._tools.http().pin(wanted.url, self._tools.session, checksum=checksum)
        return PinnedUrl(pinned.digest, pinned.mtime_s)
