"""Secrets lent to a step: read when a step needs them, given as files in memory of their own or as variables, and gone with the step.

Nothing here is logged or hashed, and a value never touches a disk. A secret's file is made with the owner and mode that the step's mount asks for.
"""

import errno
import os

from chandlery.errors import RequestError
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

MAX_BYTES = 500 << 10
"""BuildKit's bound: a secret is a key, not a data set."""


@value
class SecretSource:
    """Where a secret comes from: a file of this machine, or a variable of the caller's environment. `--secret id=ID,src=FILE|env=NAME`."""

    id: str
    file: str = ""
    env: str = ""


class Secrets:
    """Those that the request offers, by id."""

    def __init__(self, sources: "Iterable[SecretSource]", environment: "Mapping[str, str]") -> None:
        self._sources = {source.id: source for source in sources}
        self._environment = environment
        self._lent: dict[str, bytes] = {}

    def lent(self) -> tuple[bytes, ...]:
        """The values that steps were given so far: what holds one of them must not leave this machine."""
        return tuple(self._lent.values())

    def read(self, secret_id: str, *, is_required: bool) -> bytes | None:
        """Its value; None where it isn't offered and not required. Raises RequestError "request.missing-secret"."""
        source = self._sources.get(secret_id)
        if source is not None:
            self._lent[secret_id] = data = self._load(source)
            return data
        if is_required:
            raise RequestError(
                f"the step requires secret {secret_id!r}, which this build wasn't given",
                code="request.missing-secret",
                hint=f"add --secret id={secret_id},src=FILE or --secret id={secret_id},env=NAME",
            )
        return None

    def _load(self, source: SecretSource) -> bytes:
        if source.env:
            text = self._environment.get(source.env)
            if text is None:
                raise RequestError(
                    f"secret {source.id!r} comes from variable {source.env}, which isn't set",
                    code="request.missing-secret",
                    hint=f"export {source.env} before the build",
                )
            return os.fsencode(text)
        try:
            with open(source.file, "rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise RequestError(
                f"secret {source.id!r} can't be read from {source.file}: {error.strerror}",
                code="request.missing-secret",
                hint="check --secret's src",
            ) from error
        if len(data) > MAX_BYTES:
            raise RequestError(f"secret {source.id!r} is larger than {MAX_BYTES} bytes", code="request.secret-too-large", hint="use a bind mount")
        return data


def mount_memory(directory: str) -> None:
    """Make an empty directory one in memory, never swapped where the kernel can promise it (6.4)."""
    from chandlery.linux import libc, mount

    try:
        libc.mount("tmpfs", directory, "tmpfs", mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC, "mode=0700,noswap")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        mount.mount_tmpfs(directory, mode=0o700)


class LentFiles:
    """A directory in memory, at the empty directory `directory`, for one step's secrets."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._count = 0

    def __enter__(self) -> "LentFiles":
        mount_memory(self._directory)
        return self

    def __exit__(self, kind: "type[BaseException] | None", error: BaseException | None, trace: "TracebackType | None") -> None:
        from chandlery.linux import mount

        mount.unmount(self._directory)

    def add(self, data: bytes, *, uid: int = 0, gid: int = 0, mode: int = 0o400) -> str:
        """A new file with `data`; its path, to be bound where the step wants it."""
        path = os.path.join(self._directory, str(self._count))
        self._count += 1
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            os.fchown(fd, uid, gid)
            os.fchmod(fd, mode)
        return path
