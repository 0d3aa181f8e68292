"""`RegistryInventory`: the steps of a shared cache in a registry.

Registries tell neither when a tag was used nor when it was pushed: an entry counts as used when it was made, or when a build last told of it (use_notes.py).
They free the blobs of deleted manifests by themselves (docker's registry: when its garbage collection runs). Every entry has a manifest of its own, so
deleting by digest takes away that entry alone.
"""

import json
import time

from chandlery.buildcache import use_notes
from chandlery.buildcache.inventory import Held, understood
from chandlery.buildcache.repository import ENTRY_ANNOTATION, TAG_PREFIX
from chandlery.errors import Cancelled, NotFound, RegistryError, RequestError
from chandlery.oci.digest import Digest, sha256
from chandlery.oci.reference import Reference
from chandlery.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from chandlery.buildcache.address import RemoteAddress
    from chandlery.buildcache.use_notes import UseNote
    from chandlery.registry.client import RegistryClient

    T = TypeVar("T")
    U = TypeVar("U")

PARALLEL = 16
_STEP_TAGS = 67  # "s1-" and a sha256
_VOLUME = "/volume-"


class RegistryInventory:
    """`scope` "" is every scope: where each has a repository of its own, the registry must list its repositories."""

    def __init__(self, address: "RemoteAddress", client: "RegistryClient", *, scope: str = "") -> None:
        self.name = address.text
        self._address = address
        self._client = client
        self._scope = scope
        self._notes: list[UseNote] = []

    @property
    def notes_use(self) -> bool:
        """Whether any build told here of its uses."""
        return bool(self._notes)

    def entries(self) -> list[Held]:
        every = [replace(at, tag=tag) for at in self._repositories() for tag in self._client.tags(at)]
        self._notes = [note for note in _at_once(self._note, [at for at in every if use_notes.is_note(at.tag)]) if note is not None]
        uses = use_notes.last_uses(self._notes)
        tagged = [at for at in every if _is_step(at.tag)]
        found = [_used_at(held, uses) for held in _at_once(self._held, tagged) if held is not None]
        return [held for held in found if not self._scope or (held.entry is not None and held.entry.scope == self._scope)]

    def delete(self, held: Held) -> bool:
        return self._delete(held.place)

    def _delete(self, place: str) -> bool:
        name, _, digest = place.partition("@")
        repository = name.rpartition(":")[0].partition("/")[2]
        try:
            self._client.delete_manifest(Reference(self._address.reference("x").registry, repository), Digest(digest))
        except NotFound:
            return False
        return True

    def sweep(self, left: "Iterable[Held]", *, grace_s: float, dry_run: bool) -> int:  # noqa: ARG002 (the protocol's)
        """Blobs go by themselves; notes of use that say nothing more are deleted by whoever sees all scopes."""
        if not dry_run and not self._scope:
            names = [_name_of(held) for held in left]
            for note in use_notes.superfluous(self._notes, names, now_s=time.time()):
                try:
                    self._delete(note.place)
                except RegistryError:
                    break
        return 0

    def volume_bytes(self) -> int | None:
        try:
            volumes = [at for at in self._listed() if _VOLUME in at.repository]
        except RegistryError:
            return None
        heads = [replace(at, tag=tag) for at in volumes for tag in self._client.tags(at)]
        sizes: dict[str, int] = {}
        for raw in _at_once(self._manifest, heads):
            if raw is not None:
                sizes.update((item["digest"], int(item["size"])) for item in json.loads(raw).get("layers", ()))
        return sum(sizes.values())

    def _held(self, at: Reference) -> Held | None:
        raw = self._manifest(at)
        if raw is None:
            return None
        try:
            annotated = json.loads(raw)["annotations"][ENTRY_ANNOTATION]
            entry = understood(annotated.encode()) if at.tag.startswith(TAG_PREFIX) else None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            entry = None
        blobs = tuple((str(blob.digest), blob.size_bytes) for blob in entry.blobs) if entry is not None else ()
        return Held(_place(at, raw), entry, len(raw), entry.created_at_s if entry is not None else 0.0, blobs)

    def _note(self, at: Reference) -> "UseNote | None":
        raw = self._manifest(at)
        return use_notes.read(_place(at, raw), at.tag, raw) if raw is not None else None

    def _manifest(self, at: Reference) -> bytes | None:
        try:
            return self._client.get_manifest(at)[0]
        except NotFound:
            return None

    def _repositories(self) -> list[Reference]:
        if self._scope or not self._address.has_scope_in_it:
            return [self._address.reference(self._scope)]
        try:
            return [at for at in self._listed() if _VOLUME not in at.repository]
        except RegistryError as refused:
            hint = "name one with --cache-scope"
            raise RequestError(f"{self.name} doesn't say which scopes it has: {refused.message}", code="cache.no-catalogue", hint=hint) from refused

    def _listed(self) -> list[Reference]:
        """The repositories of this cache, as far as the registry lists what it has."""
        any_scope = self._address.reference("x")
        return [Reference(any_scope.registry, name) for name in self._client.repositories(any_scope) if self._address.has_repository(name)]


def _place(at: Reference, raw: bytes) -> str:
    return f"{at.registry}/{at.repository}:{at.tag}@{sha256(raw)}"


def _name_of(held: Held) -> str:
    """The entry's name, which its tag has."""
    return held.place.partition("@")[0].rpartition(":")[2].removeprefix(TAG_PREFIX)


def _used_at(held: Held, uses: dict[str, float]) -> Held:
    used_s = uses.get(_name_of(held)[: use_notes.SHORT], 0.0)
    return replace(held, last_used_s=used_s) if used_s > held.last_used_s and held.is_known else held


def _is_step(tag: str) -> bool:
    """Tags of other versions begin with another number."""
    return len(tag) == _STEP_TAGS and tag[0] == "s" and tag[2] == "-" and tag[1].isdigit()


def _at_once(work: "Callable[[T], U]", items: "list[T]") -> "list[U]":
    """Do something with each of many, several at a time; the first failure ends it."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="chandlery-list") as pool:
        try:
            return list(pool.map(work, items))
        except (RegistryError, Cancelled):
            pool.shutdown(cancel_futures=True)
            raise
