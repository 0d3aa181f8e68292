"""A volume's content as an image, for `COPY --from` and as a base image: the same content gives the same digest, and a change changes few layers.

Layers are ranges of the files in order of path. Where a range ends is decided by hashes of directories' names, weighted by size, not by counting: a file that
comes or goes changes the range that it lies in and leaves the others, and files of one group of artifacts lie together. Times are all the same.
"""

from chandlery.content.session import Session
from chandlery.content.store import Store
from chandlery.exporter.assemble import Image, with_manifest
from chandlery.layer.compression import Compression
from chandlery.layer.pack import compress
from chandlery.oci import image_config
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest, hasher
from chandlery.oci.image_config import HistoryEntry, ImageConfig
from chandlery.oci.platform import Platform
from chandlery.values import replace
from chandlery.volume.entry_tar import tar_chunks
from chandlery.volume.tree import Entry, ancestors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    File = tuple[Entry, str]

# the earliest that a zip can say; some tools take 0 for no time
MTIME_S, CREATED = 315532800, "1980-01-01T00:00:00Z"
_SMALLEST_AIM, _MOST_LAYERS = 4 << 20, 32
_HASH_BITS = 32


def make(
    store: Store, session: Session, files: "Sequence[File]", *, path: str, platform: Platform, base: Image | None = None, compression: Compression
) -> Image:
    """An image that has `files` (directories before what is in them, the root first) at `path`, on top of `base` where one is given.

    Its blobs are in the store, leased to the session. Raises StoreError, NoSpace, InternalError.
    """
    prefix = path.strip("/")
    diff_ids: list[Digest] = []
    layers: list[Descriptor] = []
    for part in ranges(files):
        with store.blobs.ingest(session, is_hashed_by_caller=True) as ingest:
            packed = compress(tar_chunks(_with_parents(part, prefix), mtime_s=MTIME_S), ingest.write, compression=compression)
            ingest.commit(packed.digest, packed.size_bytes)
        diff_ids.append(packed.diff_id)
        layers.append(Descriptor(packed.media_type, packed.digest, packed.size_bytes))
    config = image_config.decode(base.config_blob) if base is not None else ImageConfig(platform.architecture, platform.os, platform.variant)
    history = [HistoryEntry(created=CREATED, created_by=f"chandlery volume push --as-image # /{prefix}")] * len(layers)
    config = replace(config, created=config.created or CREATED, diff_ids=(*config.diff_ids, *diff_ids), history=(*config.history, *history))
    image = with_manifest(config, (*(base.manifest.layers if base is not None else ()), *layers), is_docker=False)
    store.blobs.put(image.config_blob, session=session)
    return image


def ranges(files: "Sequence[File]") -> "list[list[File]]":
    """`files` in ranges that are layers, each with the directories that its files are in. At least one, if only of the root."""
    directories = {entry.path: (entry, file) for entry, file in files if entry.is_directory}
    weights: dict[str, int] = {}
    members: dict[str, list[File]] = {}
    for entry, file in files:
        home = entry.path if entry.is_directory else entry.path.rpartition("/")[0]
        members.setdefault(home, [])
        if not entry.is_directory:
            members[home].append((entry, file))
            weights[home] = weights.get(home, 0) + entry.size
    aim = _aim(sum(weights.values()))
    made: list[list[File]] = []
    homes: list[str] = []
    size = 0
    for home in sorted(members, key=lambda path: path.split("/")):
        homes.append(home)
        size += weights.get(home, 0)
        if size >= aim // 4 and (_ends(home, weights.get(home, 0), aim) or size >= 2 * aim):
            made.append(_range(homes, members, directories))
            homes, size = [], 0
    if homes or not made:
        made.append(_range(homes, members, directories))
    return made


def _aim(size_bytes: int) -> int:
    """How large a layer should be: one of few sizes, so that it seldom changes with the whole."""
    aim = _SMALLEST_AIM
    while size_bytes > aim * _MOST_LAYERS:
        aim *= 2
    return aim


def _ends(directory: str, weight: int, aim: int) -> bool:
    """Whether a range ends behind a directory: as likely as it is heavy, so that ranges are about as large as they should be."""
    drawn = int(hasher(directory.encode("utf-8", "surrogateescape")).hexdigest()[: _HASH_BITS // 4], 16)
    return drawn * aim < weight << _HASH_BITS


def _range(homes: list[str], members: "dict[str, list[File]]", directories: "dict[str, File]") -> "list[File]":
    wanted = {above for home in homes for above in (*ancestors(home), home)}
    listed = [directories[path] for path in wanted if path in directories]
    listed += [file for home in homes for file in members[home]]
    return sorted(listed, key=lambda file: file[0].path.split("/"))


def _with_parents(files: "list[File]", prefix: str) -> "list[File]":
    """The files below `prefix`, and the directories that it stands in, which are root's."""
    template = files[0][0]
    parents = ancestors(prefix)[1:]
    above = [(replace(template, path=path, mode=0o700 if path == "root" else 0o755, uid=0, gid=0, xattrs=()), "") for path in parents]
    return [*above, *((replace(entry, path=f"{prefix}/{entry.path}" if entry.path else prefix), file) for entry, file in files)]
