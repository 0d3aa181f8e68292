"""`Artifact`: a cache document with the manifest that names it and its layers, in one of the forms that BuildKit reads.

An image manifest whose config is the document (since BuildKit 0.12; image-manifest=true), or an index, of OCI's or Docker's type, that lists layers and
document side by side as if they were manifests. A layer's descriptor says what it is uncompressed and when it was made: readers take it by that.
"""

import json

from chandlery.buildcache.buildkit_config import MEDIA_TYPE, CacheConfig, encode
from chandlery.buildcache.imported import CREATED, DIFF_ID
from chandlery.oci import descriptor as descriptors
from chandlery.oci import media_type as types
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import Digest, sha256
from chandlery.oci.manifest import Index, Manifest, build_manifest
from chandlery.source.layer_forms import layer_media_type
from chandlery.values import value


@value
class Artifact:
    """`document` is the blob that `config` describes; `layers` each once."""

    manifest: Manifest | Index
    config: Descriptor
    document: bytes
    layers: tuple[Descriptor, ...]

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.manifest.media_type, self.manifest.digest, len(self.manifest.raw))


def assemble(config: CacheConfig, blobs: "dict[Digest, tuple[Digest, Descriptor]]", *, is_oci: bool, is_image: bool) -> Artifact:
    """`blobs` by digest, each with its diff id."""
    document = encode(config)
    described = Descriptor(MEDIA_TYPE, sha256(document), len(document))
    layers: dict[Digest, Descriptor] = {}
    for layer in config.layers:
        if layer.blob not in layers:
            diff_id, blob = blobs[layer.blob]
            notes = ((CREATED, layer.created),) if layer.created else ()
            kind = layer_media_type(blob.media_type, is_docker=not is_oci)
            layers[layer.blob] = Descriptor(kind, blob.digest, blob.size_bytes, (*notes, (DIFF_ID, str(diff_id))))
    named = tuple(layers.values())
    if is_image:
        return Artifact(build_manifest(config=described, layers=named), described, document, named)
    kind = types.OCI_INDEX if is_oci else types.DOCKER_INDEX
    listed = {"schemaVersion": 2, "mediaType": kind, "manifests": [descriptors.encode(blob) for blob in (*named, described)]}
    raw = json.dumps(listed, separators=(",", ":")).encode()
    return Artifact(Index(kind, (*named, described), raw), described, document, named)
