"""The image output: a configuration blob and names in the store. Layers stay what they are, directories; blobs are made when somebody wants to carry them."""

import json
import time

from chandlery.content.session import Session
from chandlery.content.store import Store
from chandlery.oci.digest import Digest


class ImageNames:
    """Names of the images in the store; a name is a full reference with a tag."""

    def __init__(self, store: Store, session: Session) -> None:
        self._store = store
        self._session = session

    def put(self, names: tuple[str, ...], config: bytes, diff_ids: tuple[Digest, ...], *, manifest_digest: Digest | None = None) -> Digest:
        """Store a configuration and let the names mean it, all or none; its digest. A build without a name is kept under its own digest."""
        digest = self._store.blobs.put(config, session=self._session)
        now = time.time()
        layers = json.dumps([str(diff_id) for diff_id in diff_ids])
        with self._store.db.transaction() as tx:
            for name in names or (str(digest),):
                tx.execute(
                    "INSERT INTO image (name, config_digest, manifest_digest, layers, created_at, last_used_at) VALUES (?,?,?,?,?,?)"
                    " ON CONFLICT (name) DO UPDATE SET config_digest = excluded.config_digest, manifest_digest = excluded.manifest_digest,"
                    " layers = excluded.layers, last_used_at = excluded.last_used_at"
                    " WHERE config_digest <> excluded.config_digest OR manifest_digest IS NOT excluded.manifest_digest",
                    (name, str(digest), str(manifest_digest) if manifest_digest else None, layers, now, now),
                )
        return digest
