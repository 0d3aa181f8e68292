"""`RegistryClient`: one method for each endpoint of the OCI distribution spec that we use, verified and bounded.

Pulls ask mirrors first and fall back to the registry itself; pushes go to the registry. What comes back has been checked against its digest and
its promised length. Threads share one client.
"""

import hashlib
import time

from chandlery.errors import AccessDenied, InputError, LyingRegistry, NotFound, RegistryError, Unavailable
from chandlery.oci import manifest as manifests
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest, sha256
from chandlery.oci.reference import Reference
from chandlery.registry import auth, credentials, endpoint, http, quick, upload, upload_stream
from chandlery.registry import error as errors
from chandlery.registry.auth import Request
from chandlery.registry.contacts import Contacts
from chandlery.registry.endpoint import Endpoint
from chandlery.registry.settings import RegistrySettings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    from chandlery.oci.manifest import Index, Manifest

    T = TypeVar("T")

MAX_TAGS_PAGES = 10_000
MAX_IDLE_PAGES = 5
_MANIFEST_PUTS = 3


class RegistryClient:
    """`should_stop` is asked between pieces of transfers and makes them raise Cancelled."""

    def __init__(
        self,
        settings: RegistrySettings,
        *,
        contacts: Contacts | None = None,
        should_stop: "Callable[[], bool]" = lambda: False,
        sleep: "Callable[[float], None]" = time.sleep,
    ) -> None:
        self.http = http.HttpClient(settings, contacts=contacts, should_stop=should_stop, sleep=sleep)
        self._endpoints = endpoint.Endpoints(self.http)
        self._tokens = auth.TokenStore(time.monotonic)
        self._credentials: dict[str, credentials.Credentials] = {}

    def close(self) -> None:
        self.http.close()

    def stop(self) -> None:
        """End every transfer of every thread at its next piece. There is no way back."""
        self.http.stop()

    def head_manifest(self, reference: Reference) -> Descriptor | None:
        """What a tag or digest names, by one HEAD; None where the registry (and each mirror) says that there is no such thing."""
        answer = quick.head_manifest(self.http.settings, reference)
        if answer is not None:
            return answer
        return self._from_any(reference, lambda at: self._head_manifest(at, reference))

    def head_at_registry(self, reference: Reference) -> Descriptor | None:
        """As `head_manifest`, but asked of the registry itself with the rights of a push: what a mirror holds says nothing about it."""
        return self._head_manifest(self._endpoints.of_registry(reference.registry), reference, actions="pull,push")

    def get_manifest(self, reference: Reference, target: str = "") -> tuple[bytes, str]:
        """The bytes and media type of a manifest or index, verified. `target` is a digest or tag, else the reference's own."""
        return self._from_any(reference, lambda at: self._get_manifest(at, reference, target or _target(reference)))

    def read_blob(self, reference: Reference, wanted: Descriptor, *, is_hashed_by_caller: bool = False) -> "Iterator[bytes]":
        """A blob's bytes, resumed after a cut connection; raises LyingRegistry at the end if length or digest are not what was promised.

        `is_hashed_by_caller` leaves the digest to a caller that computes it anyway while it writes.
        """
        hasher = None if is_hashed_by_caller else hashlib.new(wanted.digest.algorithm)
        done = 0
        failures: list[RegistryError] = []
        stalled = 0
        for at in self._pull_endpoints(reference):
            while True:
                before = done
                try:
                    for piece in self._blob_from(at, reference, wanted, done):
                        done += len(piece)
                        if hasher is not None:
                            hasher.update(piece)
                        yield piece
                except Unavailable as broken:
                    failures.append(broken)
                    stalled = stalled + 1 if done == before else 1
                    if stalled >= self.http.settings.attempts:
                        break
                    self.http.back_off(stalled)
                    continue
                except (NotFound, AccessDenied) as refused:
                    failures.append(refused)
                    break
                if hasher is not None and hasher.hexdigest() != wanted.digest.hex:
                    got = f"{wanted.digest.algorithm}:{hasher.hexdigest()}"
                    raise errors.wrong_digest(f"blob {wanted.digest} of {reference.name}", promised=wanted.digest, got=got)
                return
        raise failures[-1]

    def has_blob(self, reference: Reference, digest: Digest) -> bool:
        """Whether the repository holds a blob; asked of the registry itself, for a push."""
        at = self._endpoints.of_registry(reference.registry)
        response = self._send(at, "HEAD", f"blobs/{digest}", reference, actions="pull,push", doing=f"blob {digest}")
        response.close()
        if response.status == 404:
            return False
        self._expect(response, (200,), reference, f"blob {digest}")
        return True

    def mount_blob(self, reference: Reference, digest: Digest, from_repository: str) -> bool:
        """Make a blob of another repository of the same registry part of this one; False where the registry doesn't."""
        begun = self.begin_upload(reference, mount=(digest, from_repository))
        if begun.location:
            upload.cancel(self, reference, begun.location)
        return not begun.location

    def begin_upload(self, reference: Reference, *, mount: "tuple[Digest, str] | None" = None) -> upload.Begun:
        """Open an upload; with `mount`, try a cross-repository mount first: `location` is then "" where it succeeded."""
        return upload.begin(self, reference, mount)

    def upload_blob(
        self,
        reference: Reference,
        blob: Descriptor,
        open_blob: "Callable[[], upload.Readable]",
        *,
        begun: "upload.Begun | None" = None,
        on_bytes: "Callable[[int], None]" = lambda _: None,
    ) -> None:
        """Send one blob, whole. `open_blob` opens its bytes from the start and may be called again; `on_bytes` hears how many more went out."""
        upload.whole(self, reference, blob, open_blob, begun or self.begin_upload(reference), on_bytes)

    def upload_stream(
        self,
        reference: Reference,
        chunks: "Iterable[upload_stream.Buffer]",
        *,
        on_bytes: "Callable[[int], None]" = lambda _: None,
        digest_at_end: "Callable[[], Digest] | None" = None,
    ) -> tuple[Digest, int]:
        """Send bytes whose digest is only known at their end; the blob's digest and size.

        `digest_at_end`, asked when `chunks` has ended, spares hashing what its maker hashes anyway.
        """
        return upload_stream.stream(self, reference, chunks, on_bytes, digest_at_end)

    def put_manifest(self, reference: Reference, target: str, manifest: "Manifest | Index") -> Digest:
        """Put a manifest or index under a tag or its digest; everything that it names must be there already.

        docker-registry knows a blob not for a moment while somebody else uploads it again: a manifest that is refused for that is put again.
        """
        for attempt in range(1, _MANIFEST_PUTS):
            try:
                return self._put_manifest(reference, target, manifest)
            except RegistryError as refused:
                if "BLOB_UNKNOWN" not in str(refused):
                    raise
                self.http.back_off(attempt)
        return self._put_manifest(reference, target, manifest)

    def _put_manifest(self, reference: Reference, target: str, manifest: "Manifest | Index") -> Digest:
        at = self._endpoints.of_registry(reference.registry)
        doing = f"push of {reference.name}:{target}"
        headers = (("Content-Type", manifest.media_type),)
        response = self._send(at, "PUT", f"manifests/{target}", reference, actions="pull,push", doing=doing, headers=headers, body=manifest.raw)
        self._expect(response, (200, 201, 202), reference, doing)
        stated = response.headers.get("Docker-Content-Digest", "")
        response.close()
        if stated and stated != manifest.digest and stated.startswith("sha256:"):
            raise errors.wrong_digest(doing, promised=manifest.digest, got=stated)
        return manifest.digest

    def delete_manifest(self, reference: Reference, digest: Digest) -> None:
        """Delete a manifest, and every tag on it. Raises NotFound, or RegistryError (registry.refused) where the registry doesn't delete."""
        at = self._endpoints.of_registry(reference.registry)
        doing = f"deletion of {reference.name}@{digest}"
        response = self._send(at, "DELETE", f"manifests/{digest}", reference, actions="pull,push,delete", doing=doing)
        self._expect(response, (200, 202, 204), reference, doing)
        response.close()

    def tags(self, reference: Reference) -> "Iterator[str]":
        """The tags of a repository, page after page; none where there is no such repository."""
        at = self._endpoints.of_registry(reference.registry)
        path = "tags/list?n=1000"
        seen: set[str] = set()
        idle = 0
        doing = f"tags of {reference.name}"
        for _ in range(MAX_TAGS_PAGES):
            response = self._send(at, "GET", path, reference, actions="pull", doing=doing)
            if response.status == 404:
                response.close()
                return
            self._expect(response, (200,), reference, doing)
            page = endpoint.tag_names(response.read(manifests.MAX_BYTES), doing)
            fresh = [name for name in page if name not in seen]
            seen.update(fresh)
            yield from fresh
            following = endpoint.next_page(response.headers.get("Link", ""))
            # an empty page may have followers (some registries hide names after they counted them); ones that go on for ever don't matter
            idle = 0 if fresh else idle + 1
            if not following or idle == MAX_IDLE_PAGES:
                return
            path = endpoint.relative_to(at, reference, following, response.url, doing)

    def repositories(self, reference: Reference) -> "Iterator[str]":
        """The repositories of a reference's registry, page after page, as far as it lists them. Raises RegistryError where it doesn't."""
        at = self._endpoints.of_registry(reference.registry)
        url, doing = f"{at.base}/v2/_catalog?n=1000", f"repositories of {reference.registry}"
        for _ in range(MAX_TAGS_PAGES):
            response = self.call(reference, Request("GET", url), doing=doing, at=at, scopes=["registry:catalog:*"])
            self._expect(response, (200,), reference, doing)
            page = endpoint.repository_names(response.read(manifests.MAX_BYTES), doing)
            following = endpoint.next_page(response.headers.get("Link", ""))
            yield from page
            if not following or not page:
                return
            url = f"{at.base}/v2/_catalog?{following.partition('?')[2]}"

    def call(
        self,
        reference: Reference,
        request: Request,
        *,
        doing: str,
        at: "Endpoint | None" = None,
        actions: str = "pull,push",
        also_from: str = "",
        attempts: int = 0,
        scopes: "list[str] | None" = None,
    ) -> http.Response:
        """Send a request with whatever authorisation it takes (`scopes`, where it isn't for one repository); the answer, of any status.

        An upload that continues on another host (a storage service) goes there without the registry's authorisation.
        """
        base = at.base if at is not None else self._endpoints.of_registry(reference.registry).base
        if http.origin_of(request.url) != http.origin_of(base):
            return self.http.send(request, doing=doing, attempts=attempts)
        registry = reference.registry if at is None else at.registry
        scopes = scopes or [f"repository:{reference.repository}:{actions}"] + ([f"repository:{also_from}:pull"] if also_from else [])
        flow = auth.flow(request, registry=registry, scopes=scopes, credentials=lambda: self.credentials(registry, reference.repository), tokens=self._tokens)
        call = next(flow)
        while True:
            response = self.http.send(call.request, doing=doing, attempts=attempts)
            body = response.read(auth.MAX_TOKEN_BYTES) if call.wants_body else b""
            try:
                following = flow.send(auth.Answer(response.status, response.headers, body))
            except StopIteration:
                return response
            response.close()
            call = following

    def base_url(self, reference: Reference) -> str:
        """The URL of the repository at the registry itself."""
        return self._endpoints.of_registry(reference.registry).url(reference, "")

    def credentials(self, registry: str, repository: str) -> credentials.Credentials:
        key = f"{registry}/{repository}"
        if key not in self._credentials:
            self._credentials[key] = credentials.find(self.http.settings.auth_files, registry, repository)
        return self._credentials[key]

    def raise_for(self, response: http.Response, reference: Reference, doing: str) -> RegistryError:
        """The error that an answer stands for."""
        known = self._credentials.get(f"{reference.registry}/{reference.repository}")
        problem = known.problem if known else ""
        return errors.from_response(response.status, response.read_error(), doing=doing, registry=reference.registry, problem=problem)

    def _expect(self, response: http.Response, statuses: tuple[int, ...], reference: Reference, doing: str) -> None:
        if response.status not in statuses:
            raise self.raise_for(response, reference, doing)

    def _send(
        self, at: Endpoint, method: str, path: str, reference: Reference, *, actions: str, doing: str, headers: tuple[tuple[str, str], ...] = (),
        body: bytes | None = None,
    ) -> http.Response:  # fmt: skip
        request = Request(method, at.url(reference, path), headers, body, len(body or b""))
        return self.call(reference, request, doing=doing, at=at, actions=actions)

    def _pull_endpoints(self, reference: Reference) -> "Iterator[Endpoint]":
        yield from self._endpoints.mirrors_of(reference.registry)
        yield self._endpoints.of_registry(reference.registry)

    def _from_any(self, reference: Reference, ask: "Callable[[Endpoint], T]") -> "T":
        """The first endpoint's answer that is one: a mirror that fails, or doesn't have it, is passed over."""
        endpoints = list(self._pull_endpoints(reference))
        for at in endpoints[:-1]:
            try:
                answer = ask(at)
            except RegistryError:
                continue
            if answer is not None:
                return answer
        return ask(endpoints[-1])

    def _head_manifest(self, at: Endpoint, reference: Reference, *, actions: str = "pull") -> Descriptor | None:
        doing = f"look-up of {reference}"
        target = reference.digest or reference.tag
        response = self._send(at, "HEAD", f"manifests/{target}", reference, actions=actions, doing=doing, headers=_ACCEPT)
        response.close()
        if response.status == 404:
            return None
        digest, length = response.headers.get("Docker-Content-Digest", ""), response.headers.get("Content-Length", "")
        if response.status == 200 and digest and length.isdigit():
            return Descriptor(_media_type(response), _digest(digest, doing), int(length))
        # A HEAD has no body that would explain an error, and some registries don't answer it (405) or leave the digest out: ask with GET.
        try:
            raw, media_type = self._get_manifest(at, reference, str(target))
        except NotFound:
            return None
        return Descriptor(media_type, sha256(raw), len(raw))

    def _get_manifest(self, at: Endpoint, reference: Reference, target: str) -> tuple[bytes, str]:
        doing = f"manifest {reference.name}:{target}" if ":" not in target else f"manifest {reference.name}@{target}"
        response = self._send(at, "GET", f"manifests/{target}", reference, actions="pull", doing=doing, headers=_ACCEPT)
        self._expect(response, (200,), reference, doing)
        raw = response.read(manifests.MAX_BYTES)
        promised = target if ":" in target else response.headers.get("Docker-Content-Digest", "")
        if promised:
            digest = _digest(promised, doing)
            got = hashlib.new(digest.algorithm, raw).hexdigest()
            if got != digest.hex:
                raise errors.wrong_digest(doing, promised=promised, got=f"{digest.algorithm}:{got}")
        return raw, _media_type(response)

    def _blob_from(self, at: Endpoint, reference: Reference, wanted: Descriptor, offset: int) -> "Iterator[bytes]":
        """A blob's bytes from `offset` on; raises Unavailable for a cut, LyingRegistry for a length that isn't the descriptor's."""
        doing = f"blob {wanted.digest} of {reference.name}"
        headers = (("Range", f"bytes={offset}-"),) if offset else ()
        response = self._send(at, "GET", f"blobs/{wanted.digest}", reference, actions="pull", doing=doing, headers=headers)
        self._expect(response, (200, 206) if offset else (200,), reference, doing)
        skip = offset
        if response.status == 206:
            # RFC 9110, 15.3.7: a server may send another range than asked for, and says which.
            if not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
                response.close()
                raise LyingRegistry(f"{doing}: another range came than was asked for", code="registry.wrong-range")
            skip = 0
        missing = wanted.size_bytes - (0 if skip else offset)
        stated = response.headers.get("Content-Length", "")
        if stated.isdigit() and int(stated) != missing:
            response.close()
            raise _wrong_length(doing, wanted, int(stated) + wanted.size_bytes - missing)
        for piece in response.pieces():
            missing -= len(piece)
            if missing < 0:
                response.close()
                raise _wrong_length(doing, wanted, wanted.size_bytes - missing)
            if skip >= len(piece):
                skip -= len(piece)
                continue
            yield piece[skip:] if skip else piece
            skip = 0
        if missing:
            raise _wrong_length(doing, wanted, wanted.size_bytes - missing)


_ACCEPT = (("Accept", quick.ACCEPTED_MANIFESTS),)


def _target(reference: Reference) -> str:
    return str(reference.digest or reference.tag)


def _media_type(response: http.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip()


def _digest(text: str, doing: str) -> Digest:
    try:
        return Digest(text)
    except InputError as broken:
        raise LyingRegistry(f"{doing}: {text[:100]!r} is not a digest", code="registry.wrong-digest") from broken


def _wrong_length(doing: str, wanted: Descriptor, got: int) -> LyingRegistry:
    code = "registry.short-body" if got < wanted.size_bytes else "registry.long-body"
    hint = "the registry's storage is damaged, or a proxy cuts answers"
    return LyingRegistry(f"{doing}: {got} bytes came instead of {wanted.size_bytes}", code=code, hint=hint)
