"""A base image made from distribution packages: one layer that never was a tar.

The packages are installed straight into a layer being prepared, so that the base is ready to be mounted as it was written; its diff id is
computed by packing it to nowhere, and its blob is made when somebody pushes or saves it.
"""

import json
import time

from chandlery.layer.pack import digest_diff
from chandlery.oci import image_config, platform, reference
from chandlery.oci.digest import Digest
from chandlery.oci.image_config import HistoryEntry, ImageConfig
from chandlery.source.distribution import DistributionRoot, make_root
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from chandlery.content.session import Session
    from chandlery.content.store import Store
    from chandlery.snapshot.snapshots import SnapshotStore

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SUITE_LABEL = "chandlery.base.suite"
PACKAGES_LABEL = "chandlery.base.packages"


@value
class BaseImage:
    """`name` is the full reference under which the image is known; `packages` are "name=version"."""

    name: str
    suite: str
    snapshot: str
    diff_id: Digest
    config_digest: Digest
    size_bytes: int
    packages: tuple[str, ...]


def create_image(
    store: "Store",
    snapshots: "SnapshotStore",
    session: "Session",
    name: str,
    *,
    suite: str = "",
    include: tuple[str, ...] = (),
    variant: str = "minbase",
    report: "Callable[[str], None]" = lambda _: None,
) -> BaseImage:
    """Make an image called `name`, replacing what was called so; raises what make_root does, RequestError for a bad name, NoSpace."""
    full_name = str(reference.parse(name))
    active = snapshots.prepare(session)
    try:
        root = make_root(active.upper, suite=suite, include=include, variant=variant, report=report)
        digests = digest_diff(active.upper)
        snapshot = snapshots.by_diff_id(digests.diff_id, session)
        if snapshot is None:
            snapshot = snapshots.commit(active, diff_id=digests.diff_id, tar_size=digests.tar_size, content_digest=digests.content_digest)
    finally:
        snapshots.discard(active)
    snapshots.sync()
    config_digest = store.blobs.put(image_config.encode(_config(root, include, digests.diff_id)), session=session)
    now = time.time()
    with store.db.transaction() as tx:
        tx.execute(
            "INSERT OR REPLACE INTO image (name, config_digest, manifest_digest, layers, created_at, last_used_at) VALUES (?, ?, NULL, ?, ?, ?)",
            (full_name, config_digest, json.dumps([digests.diff_id]), now, now),
        )
    return BaseImage(full_name, root.suite, snapshot, digests.diff_id, config_digest, digests.tar_size, root.packages)


def _config(root: DistributionRoot, include: tuple[str, ...], diff_id: Digest) -> ImageConfig:
    """The image's configuration; like the layer it depends on the packages alone, not on when it was made."""
    machine = platform.native()
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(root.epoch_s))
    shell = "/bin/bash" if any(package.startswith("bash=") for package in root.packages) else "/bin/sh"
    made_by = f"chandlery base create --suite {root.suite}" + (f" --include {','.join(include)}" if include else "")
    return ImageConfig(
        architecture=machine.architecture,
        os=machine.os,
        variant=machine.variant,
        created=created,
        runtime={"Env": [_PATH], "Cmd": [shell], "Labels": {SUITE_LABEL: root.suite, PACKAGES_LABEL: " ".join(root.packages)}},
        diff_ids=(diff_id,),
        history=(HistoryEntry(created=created, created_by=made_by),),
    )
