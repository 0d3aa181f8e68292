"""The tables of chandlery.db, their format version, and how an older one becomes this one.

The version is the database's `user_version`. `MIGRATIONS[n]` are the statements that turn format n into n + 1, and format 0 is an
empty file; a new table or column is a new entry at the end, never an edit of one that was released. All run in one transaction,
so an interrupted migration leaves the older store whole.

What the columns mean:

snapshot      one row for each R/snapshots/<id>. `diff_id` is the digest of its uncompressed tar and `tar_size` that tar's length, once it was
              packed; `content_digest` the digest of the same without modification times. `boot_id` is the boot in which it was made, as long
              as its files may not be on the disk yet; NULL once a syncfs covered them.
layer_blob    the compressed forms of a layer that exist as blobs, one for each compression, and the encoder that made it
image         names: `layers` is the JSON list of diff ids, bottom first
step_record   what a step made. `document` is the preimage of `key`. `layers` is a JSON list, bottom first, of objects with "snapshot" (an id of this
              store) and whatever else the cache wants to keep ("diff_id", "created" ...), or of snapshot ids or diff ids alone
volume, volume_generation   cache volumes; `instance` tells the private ones of concurrent steps apart, `head` is the number of the one generation that
              has a row, `document` what it consists of (package volume, head.py)
volume_object the state in which R/objects/<key> was left; an object in another one is read again before it is used
memo          small values that can be computed again
pin           what a mutable name (image tag, URL, git ref) last was; a digest anywhere in `value` keeps that blob
setting       one value each, of the store itself
"""

FORMAT_VERSION = 1

_FORMAT_1 = """
CREATE TABLE snapshot (
    id TEXT PRIMARY KEY,
    diff_id TEXT,
    size_bytes INTEGER NOT NULL,
    content_digest TEXT,
    tar_size INTEGER,
    created_at REAL NOT NULL,
    last_used_at REAL NOT NULL,
    boot_id TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX snapshot_diff_id ON snapshot (diff_id) WHERE diff_id IS NOT NULL;
CREATE INDEX snapshot_unsynced ON snapshot (boot_id) WHERE boot_id IS NOT NULL;

CREATE TABLE layer_blob (
    diff_id TEXT NOT NULL,
    compression TEXT NOT NULL CHECK (compression IN ('gzip', 'zstd', 'none')),
    media_type TEXT NOT NULL,
    digest TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    encoder TEXT NOT NULL,
    last_used_at REAL NOT NULL,
    PRIMARY KEY (diff_id, compression)
) STRICT, WITHOUT ROWID;
CREATE INDEX layer_blob_digest ON layer_blob (digest);

CREATE TABLE image (
    name TEXT PRIMARY KEY,
    config_digest TEXT NOT NULL,
    manifest_digest TEXT,
    layers TEXT NOT NULL,
    created_at REAL NOT NULL,
    last_used_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE step_record (
    key TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('chain', 'content')),
    op_digest TEXT NOT NULL,
    document TEXT NOT NULL,
    layers TEXT NOT NULL,
    result_content_key TEXT,
    observed TEXT NOT NULL DEFAULT '[]',
    stage TEXT NOT NULL DEFAULT '',
    name TEXT NOT NULL DEFAULT '',
    duration_s REAL NOT NULL DEFAULT 0,
    size_bytes INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    last_used_at REAL NOT NULL,
    use_count INTEGER NOT NULL DEFAULT 0,
    build_id TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX step_record_op_digest ON step_record (op_digest);

CREATE TABLE volume (
    id TEXT PRIMARY KEY,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    platform TEXT NOT NULL,
    instance INTEGER NOT NULL DEFAULT 0,
    head INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    last_used_at REAL NOT NULL,
    UNIQUE (scope, name, platform, instance)
) STRICT, WITHOUT ROWID;

CREATE TABLE volume_generation (
    volume_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    document TEXT NOT NULL,
    size_bytes INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    PRIMARY KEY (volume_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE volume_object (
    key TEXT PRIMARY KEY,
    size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE memo (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    last_used_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE pin (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    checked_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE setting (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""

MIGRATIONS: tuple[str, ...] = (_FORMAT_1,)


def statements(script: str) -> list[str]:
    """The single statements of one migration; no statement here contains a semicolon of its own."""
    return [statement for part in script.split(";") if (statement := part.strip())]
