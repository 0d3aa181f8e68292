"""`ImageSource`: base images, from a name to directories that a step can run on.

`pin` turns a name into digests, once a build: names made here resolve here, registry tags by one HEAD, digests by nothing at all. `materialise` makes
each missing layer a snapshot, several at a time: from its blob where the store has it, else streamed once, from the network into the blob store
and the file system side by side. What doesn't match its digests leaves nothing behind.

A name was made here if its image row isn't what a pull left: the pin of a pull remembers the config that it wrote, so that a build
which takes the name over makes it ours without saying so.
"""

import json
import time
from enum import StrEnum

from chandlery.errors import Lost, NotFound, RegistryError, Unavailable
from chandlery.events import Warned, discard
from chandlery.oci import image_config
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest
from chandlery.oci.image_config import ImageConfig
from chandlery.oci.platform import Platform
from chandlery.oci.platform import matches as platform_matches
from chandlery.oci.reference import Reference
from chandlery.values import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from chandlery.content.session import Session
    from chandlery.content.store import Store
    from chandlery.events import EventSink
    from chandlery.registry.client import RegistryClient
    from chandlery.registry.pull import Image, ImageReader
    from chandlery.registry.settings import RegistrySettings
    from chandlery.snapshot.snapshots import SnapshotStore
    from chandlery.source.layer_fetch import LayerProgress

PIN_RESOLUTION_S = 600.0


class PullPolicy(StrEnum):
    """DEFAULT: names made here resolve here, others are checked with their registry. ALWAYS: the registry is asked, whatever is here."""

    DEFAULT = "default"
    ALWAYS = "always"


@value
class PinnedImage:
    """An image, named by digests. `manifest_digest` is the platform's own manifest (for one made here that was never packed, its config).

    `top_digest` is what the name led to, perhaps an index; `layers` are the manifest's descriptors, bottom first, as many as `config.diff_ids`; () where no
    manifest is known.
    """

    reference: Reference
    manifest_digest: Digest
    config: ImageConfig
    config_digest: Digest
    layers: tuple[Descriptor, ...] = ()
    is_local: bool = False
    top_digest: Digest | None = None


@value
class PullReceipt:
    """`bytes_moved` is what crossed the network: 0 where everything was here."""

    image: PinnedImage
    snapshots: tuple[str, ...]
    bytes_moved: int


class ImageSource:
    """`connect` makes the registry client when one is first needed; it is called at most once. `settings` gives that client's: with them a
    registry that answers one plain question needs no client at all, which is most of what such a build would load.
    """

    def __init__(
        self,
        store: "Store",
        snapshots: "SnapshotStore",
        connect: "Callable[[], RegistryClient]",
        *,
        settings: "Callable[[], RegistrySettings] | None" = None,
        emit: "EventSink" = discard,
        clock: "Callable[[], float]" = time.time,
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._connect = connect
        self._client: RegistryClient | None = None
        self._settings = settings
        self._emit = emit
        self._clock = clock
        self._should_stop: Callable[[], bool] | None = None

    def client(self) -> "RegistryClient":
        """The client, made if need be."""
        if self._client is None:
            self._client = self._connect()
            if self._should_stop is not None:
                self._client.http.watch(self._should_stop)
        return self._client

    def watch(self, should_stop: "Callable[[], bool]") -> None:
        """Let transfers and waits ask this, and raise Cancelled once it says so."""
        self._should_stop = should_stop
        if self._client is not None:
            self._client.http.watch(should_stop)

    def pin(self, reference: Reference, platform: Platform, session: "Session", *, policy: PullPolicy = PullPolicy.DEFAULT) -> PinnedImage:
        """What a name means now. Raises NotFound, Unavailable where the registry can't be reached and nothing here can stand in, RegistryError."""
        return self._pin(reference, platform, policy, self._reader(session))

    def materialise(self, pinned: PinnedImage, session: "Session", *, on_progress: "Callable[[LayerProgress], None]" = lambda _: None) -> tuple[str, ...]:
        """Snapshots of the image's layers, bottom first, leased to `session`. Raises RegistryError, Lost for one made here whose layers are gone."""
        diff_ids = pinned.config.diff_ids
        found = dict(zip(diff_ids, self._snapshots.by_diff_ids(diff_ids, session), strict=True))
        missing = [(index, diff_id) for index, diff_id in enumerate(diff_ids) if found[diff_id] is None]
        if missing:
            from chandlery.source.layer_fetch import LayerFetch

            by_diff_id = {diff_id: pinned.layers[index] if index < len(pinned.layers) else None for index, diff_id in reversed(missing)}
            fetch = LayerFetch(self._store, self._snapshots, session, self.client, pinned.reference, on_progress, self._should_stop or (lambda: False))
            found |= fetch.all(by_diff_id)
        return tuple(snapshot for diff_id in diff_ids if (snapshot := found[diff_id]) is not None)

    def has_layer(self, diff_id: str) -> bool:
        """Whether the layer's files are on this machine."""
        return self._snapshots.has_diff_id(diff_id)

    def has_snapshot(self, snapshot: str) -> bool:
        try:
            return bool(self._snapshots.path(snapshot))
        except Lost:
            return False

    def fetch_blob(self, pinned: PinnedImage, blob: Descriptor, session: "Session", *, on_progress: "Callable[[LayerProgress], None]") -> None:
        """Bring a layer's blob into the store, leased, whether or not its files are here: a push needs the very bytes. Raises RegistryError."""
        from chandlery.source.layer_fetch import LayerProgress

        try:
            self._store.blobs.lease(session, blob.digest)
        except Lost:
            done = 0
            with self._store.blobs.ingest(session, blob.digest.algorithm) as ingest:
                for piece in self.client().read_blob(pinned.reference, blob, is_hashed_by_caller=True):
                    ingest.write(piece)
                    done += len(piece)
                    on_progress(LayerProgress(blob.digest, done, blob.size_bytes, len(piece)))
                ingest.commit(blob.digest, blob.size_bytes)

    def pull(
        self, reference: Reference, platform: Platform, session: "Session", *, on_progress: "Callable[[LayerProgress], None]" = lambda _: None
    ) -> PullReceipt:
        """Make an image of the registry one of this store: its blobs, its snapshots and its name. A pull of what is here moves nothing."""
        moved = [0]

        def count(progress: "LayerProgress") -> None:
            moved[0] += progress.moved_bytes
            on_progress(progress)

        reader = self._reader(session)
        pinned = self._pin(reference, platform, PullPolicy.ALWAYS, reader)
        snapshots = self.materialise(pinned, session, on_progress=count)
        self._name(pinned)
        return PullReceipt(pinned, snapshots, reader.bytes_moved + moved[0])

    def _pin(self, reference: Reference, platform: Platform, policy: PullPolicy, reader: "ImageReader") -> PinnedImage:
        known = self._last_pin(reference, platform)
        if policy is PullPolicy.DEFAULT and reference.digest is None:
            local = self._made_here(reference, platform, known)
            if local is not None:
                return local
        top = reference.digest
        if top is None:
            try:
                top = self._look_up(reference)
            except Unavailable as broken:
                return self._stand_in(reference, known, reader, broken)
        if known.get("top") == top:
            image = self._again(reference, known, reader)
        else:
            image = reader.read(reference, top, platform)
        self._remember(reference, platform, known, image)
        self._check_platform(reference, image.config, platform)
        return _pinned(reference, image)

    def _look_up(self, reference: Reference) -> Digest:
        if self._settings is not None and self._client is None:
            from chandlery.registry import quick

            answer = quick.head_manifest(self._settings(), reference)
            if answer is not None:
                return answer.digest
        found = self.client().head_manifest(reference)
        if found is None:
            hint = "check the name and the tag; a private repository may look absent without credentials"
            raise NotFound(f"{reference.familiar} was not found: {reference.registry} has no such image", hint=hint)
        return found.digest

    def _made_here(self, reference: Reference, platform: Platform, known: "dict[str, str]") -> PinnedImage | None:
        rows = self._store.db.read("SELECT config_digest, manifest_digest FROM image WHERE name = ?", (str(reference),))
        if not rows or rows[0][0] == known.get("config"):
            return None
        config_digest = Digest(str(rows[0][0]))
        try:
            config = image_config.decode(self._store.blobs.read(config_digest))
        except Lost:
            return None  # a name without an image: perhaps a registry has one
        if not platform_matches(Platform(config.os, config.architecture, config.variant), platform):
            return None
        layers, manifest_digest = self._local_layers(str(rows[0][1] or ""))
        return PinnedImage(reference, manifest_digest or config_digest, config, config_digest, layers, is_local=True)

    def _local_layers(self, manifest_digest: str) -> tuple[tuple[Descriptor, ...], Digest | None]:
        from chandlery.oci import manifest as manifests

        if not manifest_digest:
            return (), None
        try:
            found = manifests.decode(self._store.blobs.read(manifest_digest))
        except Lost:
            return (), None
        return (found.layers, found.digest) if isinstance(found, manifests.Manifest) else ((), None)

    def _stand_in(self, reference: Reference, known: "dict[str, str]", reader: "ImageReader", broken: Unavailable) -> PinnedImage:
        """The image that the name last meant, if all that pinning needs of it is here."""
        if not known:
            raise broken
        try:
            image = self._again(reference, known, reader, is_offline=True)
        except (Lost, RegistryError):
            raise broken from None
        text = f"{reference.familiar} can't be checked with its registry, so the copy of {known['top'][:19]} that is here is used: {broken.message}"
        self._emit(Warned("image.unchecked", text, self._clock()))
        return _pinned(reference, image)

    def _again(self, reference: Reference, known: "dict[str, str]", reader: "ImageReader", *, is_offline: bool = False) -> "Image":
        """An image whose manifest is known from an earlier pin: no index has to be read again."""
        from chandlery.registry.pull import Image

        digest = Digest(known["manifest"])
        if is_offline and not (self._store.blobs.has(digest) and self._store.blobs.has(known["config"])):
            raise Lost(digest)
        manifest = reader.manifest(reference, digest)
        return Image(Digest(known["top"]), manifest, reader.config(reference, manifest))

    def _check_platform(self, reference: Reference, config: ImageConfig, wanted: Platform) -> None:
        offered = Platform(config.os, config.architecture, config.variant)
        if not platform_matches(offered, wanted):
            self._emit(Warned("image.platform", f"{reference.familiar} is an image for {offered}, not for {wanted}", self._clock()))

    def _reader(self, session: "Session") -> "ImageReader":
        from chandlery.registry.pull import ImageReader

        return ImageReader(self._store.blobs, session, self.client)

    # rows

    def _last_pin(self, reference: Reference, platform: Platform) -> "dict[str, str]":
        rows = self._store.db.read("SELECT value, checked_at FROM pin WHERE name = ?", (_pin_name(reference, platform),))
        return {**json.loads(str(rows[0][0])), "checked_at": str(rows[0][1])} if rows else {}

    def _remember(self, reference: Reference, platform: Platform, known: "dict[str, str]", image: "Image") -> None:
        """Note what the name means. A note that still holds is renewed now and then, so that a cached build writes nothing."""
        pin = {"top": image.top, "manifest": image.manifest.digest, "config": image.manifest.config.digest}
        now = self._clock()
        if all(known.get(key) == digest for key, digest in pin.items()) and now - float(known["checked_at"]) < PIN_RESOLUTION_S:
            return
        with self._store.db.transaction(durable=False) as tx:
            tx.execute(
                "INSERT INTO pin (name, value, checked_at) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value, checked_at = excluded.checked_at",
                (_pin_name(reference, platform), json.dumps(pin), now),
            )

    def _name(self, pinned: PinnedImage) -> None:
        """The image's row: what a pull leaves under the name."""
        now = self._clock()
        name = str(replace(pinned.reference, digest=None) if pinned.reference.tag else pinned.reference)
        with self._store.db.transaction() as tx:
            tx.execute(
                "INSERT INTO image (name, config_digest, manifest_digest, layers, created_at, last_used_at) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET config_digest = excluded.config_digest, manifest_digest = excluded.manifest_digest,"
                " layers = excluded.layers, last_used_at = excluded.last_used_at",
                (name, pinned.config_digest, pinned.manifest_digest, json.dumps(pinned.config.diff_ids), now, now),
            )


def _pinned(reference: Reference, image: "Image") -> PinnedImage:
    return PinnedImage(reference, image.manifest.digest, image.config, image.manifest.config.digest, image.manifest.layers, top_digest=image.top)


def _pin_name(reference: Reference, platform: Platform) -> str:
    return f"image {reference} {platform}"
