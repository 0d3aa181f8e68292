"""Every error that Chandlery raises on purpose, drawn once.

    ChandleryError
    |- InputError            the author of the Dockerfile, the request or the context must act     exit 2
    |  |- DockerfileError    ... at a line and column, with an excerpt
    |  |- RequestError       ... a flag, a configuration key, a file name
    |  `- ContextError       ... the build context: a missing file, one that changed while read
    |- StepFailed            the step's own command ended badly (its code, the command that repeats it)   exit 1
    |- RegistryError         the network or a registry                                             exit 69
    |  |- Unavailable        ... and the same build may pass later: retryable                      exit 75
    |  |- AccessDenied       ... credentials are missing or do not suffice
    |  |- NotFound           ... there is no such image, blob or tag
    |  `- LyingRegistry      ... what came is not what was promised: digest, length, media type
    |- MachineError          this machine lacks or refuses something                               exit 71
    |  |- NoSpace            ... the disk is full                                                  exit 73
    |  `- StoreError         ... the store can't be used: newer, read-only, damaged, on NFS
    |- Lost                  a blob or snapshot that a record promised is gone: never shown, the solver revokes the hit
    |- Cancelled             the user or the system stopped the build                              exit 130 / 143
    `- InternalError         a bug of ours                                                         exit 70

`code` is stable and is what tests, the metadata file and rawjson name; a class gives a default, a raise may refine it
("dockerfile.unknown-instruction"). `retryable` is decided by the class alone. Every error pickles.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ChandleryError(Exception):
    """What went wrong (`message`), what to do about it (`hint`), and a stable `code`.

    `where` is "file:line:column" and `excerpt` the marked source lines, rendered, where an instruction is to blame; else empty. `end_line` is the
    instruction's last line, 0 where only the first is known. `build` is what the build that it ended did before, an engine.request.BuildResult.
    """

    code = "internal"
    exit_status = 70
    retryable = False
    where = ""
    excerpt = ""
    end_line = 0
    build: object = None

    def __init__(self, message: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code:
            self.code = code

    def __reduce__(self) -> "tuple[Any, ...]":
        return (_rebuild, (type(self), self.args, self.__dict__))

    def __str__(self) -> str:
        return self.message


def _rebuild(cls: type[ChandleryError], args: tuple[object, ...], state: dict[str, object]) -> ChandleryError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class InputError(ChandleryError):
    code = "input"
    exit_status = 2


class DockerfileError(InputError):
    """The Dockerfile's text, at `where`."""

    code = "dockerfile"

    def __init__(self, message: str, *, code: str = "", hint: str = "", where: str = "", excerpt: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
        self.where = where
        self.excerpt = excerpt


class RequestError(InputError):
    code = "request"


class ContextError(InputError):
    code = "context"


class StepFailed(ChandleryError):
    """`status` is the command's exit status (128 + n for signal n); the driver adds where, excerpt, tail and reproduce."""

    code = "step.failed"
    exit_status = 1

    def __init__(self, message: str, *, status: int = 1, code: str = "", hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
        self.status = status
        self.log_tail = ""
        self.reproduce = ""


class RegistryError(ChandleryError):
    code = "registry"
    exit_status = 69


class Unavailable(RegistryError):
    code = "registry.unavailable"
    exit_status = 75
    retryable = True


class AccessDenied(RegistryError):
    code = "registry.denied"


class NotFound(RegistryError):
    code = "registry.not-found"


class LyingRegistry(RegistryError):
    code = "registry.lied"


class MachineError(ChandleryError):
    code = "machine"
    exit_status = 71


class NoSpace(MachineError):
    code = "machine.no-space"
    exit_status = 73


class StoreError(MachineError):
    code = "store"


class Lost(ChandleryError):
    """`what` names the blob digest or snapshot id that a record promised and the store no longer has."""

    code = "store.lost"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is gone from the store")
        self.what = what


class Cancelled(ChandleryError):
    """`signal` is what asked for it: 2 (exit 130) or 15 (exit 143)."""

    code = "cancelled"

    def __init__(self, signal: int = 2) -> None:
        super().__init__("cancelled")
        self.signal = signal
        self.exit_status = 128 + signal


class InternalError(ChandleryError):
    code = "internal"
