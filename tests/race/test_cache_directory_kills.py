"""A writer of --cache-to type=local that is killed: the directory holds a whole cache at every moment, the older one or the newer."""

import json
import os
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from random import Random

from chandlery.linux.atomic import TEMP_MARK

ROUNDS = 40
WRITER = """
import io, os, sys
from chandlery.buildcache.buildkit_artifact import assemble
from chandlery.buildcache.buildkit_config import CacheConfig, CacheLayer
from chandlery.buildcache.cache_directory import write
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import sha256
from chandlery.oci.media_type import OCI_LAYER

while True:
    known = {sha256(data): data for data in (os.urandom(30_000) for _ in range(3))}
    blobs = {digest: (digest, Descriptor(OCI_LAYER, digest, len(data))) for digest, data in known.items()}
    config = CacheConfig(tuple(CacheLayer(digest, at - 1) for at, digest in enumerate(blobs)))
    write(sys.argv[1], assemble(config, blobs, is_oci=True, is_image=True), lambda blob: io.BytesIO(known[blob.digest]), tag="latest")
    print(flush=True)
"""


def blob(directory: Path, digest: str) -> bytes:
    data = (directory / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()
    assert f"sha256:{sha256(data).hexdigest()}" == digest
    return data


def check(directory: Path) -> None:
    (entry,) = json.loads((directory / "index.json").read_text())["manifests"]
    manifest = json.loads(blob(directory, entry["digest"]))
    document = json.loads(blob(directory, manifest["config"]["digest"]))
    assert len(document["layers"]) == len([blob(directory, row["digest"]) for row in manifest["layers"]]) == 3


def test_a_killed_writer_leaves_a_whole_cache(tmp_path):
    random = Random(11)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(ROUNDS):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, env=environment) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"\n"
            time.sleep(random.uniform(0.0, 0.02))
            writer.send_signal(signal.SIGKILL)
        check(tmp_path)
    assert len([name for name in os.listdir(tmp_path / "blobs/sha256") if TEMP_MARK in name]) <= 1  # the next one removes what a dead one left
