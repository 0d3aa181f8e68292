"""What an ExecOp mounts beside its root file system, as values.

`source` selects a path inside the input; inputs are indexes into the vertex's `inputs`, None for an empty or local origin. Targets are
absolute: lowering resolved them against WORKDIR. Everything here but ids, targets and options stays out of cache keys (dockerfile.md, section 5).
"""

from enum import StrEnum

from chandlery.values import value


class Sharing(StrEnum):
    SHARED = "shared"
    PRIVATE = "private"
    LOCKED = "locked"


@value
class BindMount:
    """A directory or file of another vertex's result, `source` selected; writes (where not read-only) are thrown away."""

    target: str
    input: int
    source: str = "/"
    is_read_only: bool = True


@value
class CacheMount:
    """A cache volume's directory; `input`/`source` seed a volume that is new. `mode` are the permission bits of a new directory."""

    target: str
    id: str
    sharing: Sharing = Sharing.SHARED
    is_read_only: bool = False
    input: int | None = None
    source: str = "/"
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@value
class TmpfsMount:
    """`size_bytes` 0 means the kernel's default."""

    target: str
    size_bytes: int = 0


@value
class SecretMount:
    """A secret lent as a file at `target`, or as the environment variable `env` (or both); never stored, logged or hashed."""

    id: str
    target: str = ""
    env: str = ""
    is_required: bool = False
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


Mount = BindMount | CacheMount | TmpfsMount | SecretMount
