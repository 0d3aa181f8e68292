"""The instructions of a Dockerfile, one value each, as written: nothing is expanded yet.

Every instruction knows its `source` (for messages) and its `text` (the logical line, for progress and history). A Dockerfile is its global
ARGs and its stages; a stage is a FROM and what follows it.
"""

from chandlery.frontend.dockerfile.lines import Heredoc
from chandlery.graph.source_range import SourceRange
from chandlery.values import value


@value
class KeyValue:
    key: str
    value: str


@value
class Declaration:
    """One name of an ARG; `value` is None without a default."""

    key: str
    value: str | None


@value
class InlineFile:
    """A heredoc that is a source of COPY or ADD."""

    name: str
    data: str
    expands: bool


@value
class Arg:
    source: SourceRange
    text: str
    declarations: tuple[Declaration, ...]


@value
class Env:
    source: SourceRange
    text: str
    pairs: tuple[KeyValue, ...]


@value
class Label:
    source: SourceRange
    text: str
    pairs: tuple[KeyValue, ...]


@value
class Maintainer:
    source: SourceRange
    text: str
    name: str


@value
class Run:
    """`words` is one command line where `is_shell_form`. `mounts` are the flags' texts; `mount_froms` their `from` options, in step."""

    source: SourceRange
    text: str
    words: tuple[str, ...]
    is_shell_form: bool
    heredocs: tuple[Heredoc, ...] = ()
    mounts: tuple[str, ...] = ()
    mount_froms: tuple[str, ...] = ()
    network: str = "default"
    security: str = "sandbox"
    devices: tuple[str, ...] = ()


@value
class Cmd:
    source: SourceRange
    text: str
    words: tuple[str, ...]
    is_shell_form: bool


@value
class Entrypoint:
    source: SourceRange
    text: str
    words: tuple[str, ...]
    is_shell_form: bool


@value
class Copy:
    """COPY, and ADD where `is_add`. Flags that only one of them has keep their defaults in the other."""

    source: SourceRange
    text: str
    is_add: bool
    sources: tuple[str, ...]
    inline_files: tuple[InlineFile, ...]
    target: str
    origin: str = ""
    owner: str = ""
    mode: str = ""
    is_linked: bool = False
    excludes: tuple[str, ...] = ()
    keeps_parents: bool = False
    checksum: str = ""
    unpacks: bool | None = None
    keeps_git_dir: bool | None = None


@value
class Expose:
    source: SourceRange
    text: str
    ports: tuple[str, ...]


@value
class Healthcheck:
    """`test` is ("NONE",), ("CMD", ...) or ("CMD-SHELL", text); times in nanoseconds, 0 where not given."""

    source: SourceRange
    text: str
    test: tuple[str, ...]
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


@value
class OnBuild:
    """`expression` is the trigger as a later build will parse it, heredocs included."""

    source: SourceRange
    text: str
    expression: str


@value
class Shell:
    source: SourceRange
    text: str
    words: tuple[str, ...]


@value
class StopSignal:
    source: SourceRange
    text: str
    signal: str


@value
class User:
    source: SourceRange
    text: str
    name: str


@value
class Volume:
    source: SourceRange
    text: str
    paths: tuple[str, ...]


@value
class WorkDir:
    source: SourceRange
    text: str
    path: str


Instruction = Arg | Env | Label | Maintainer | Run | Cmd | Entrypoint | Copy | Expose | Healthcheck | OnBuild | Shell | StopSignal | User | Volume | WorkDir


@value
class Stage:
    """A FROM (`base` and `platform` unexpanded, `name` lower case or "") and the instructions after it."""

    source: SourceRange
    text: str
    index: int
    base: str
    name: str
    platform: str
    instructions: tuple[Instruction, ...]


@value
class Dockerfile:
    """`text` is the whole file, for excerpts. `syntax` is the # syntax directive's text: accepted, its front end isn't fetched.

    `empty_continuations` are the lines at which an instruction with an empty continuation line ended.
    """

    file: str
    text: str
    escape: str
    syntax: str
    check: str
    global_args: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    empty_continuations: tuple[int, ...] = ()
