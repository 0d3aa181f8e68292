"""Operations: what a vertex does, as frozen values without names of files on this machine.

Every mutable name is already a digest here (pinning came first), so an op's canonical document is all that its cache key needs
beside its inputs' keys. `inputs` of the vertex are positional; ops refer to them by index.
"""

from enum import StrEnum

from chandlery.graph.mount import Mount
from chandlery.oci.digest import Digest
from chandlery.values import value


class Network(StrEnum):
    DEFAULT = "default"
    NONE = "none"
    HOST = "host"


@value
class ScratchOp:
    """The empty file system (FROM scratch). No inputs."""


@value
class ImageOp:
    """A base image, pinned. `reference` is for people; `manifest_digest` fetches; `diff_ids` are the key. No inputs."""

    reference: str
    manifest_digest: Digest
    diff_ids: tuple[Digest, ...]


@value
class ContextOp:
    """Files of a named local context ("" is the build context); consumers select paths, and only those are digested. No inputs."""

    name: str


@value
class HttpOp:
    """One file from a URL, as pinning found it: its digest, and its name and mtime (seconds, 0 unknown) in the image. No inputs."""

    url: str
    digest: Digest
    file_name: str
    mtime_s: int = 0


@value
class ExecOp:
    """Run a command in input 0's file system. `env` is complete, as KEY=value; `args` are the in-scope ARGs that the key counts but
    the order of which doesn't matter. `stdin`-less. `network`, `hosts` (name, address) as the request and the flags said."""

    argv: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: str = ""
    network: Network = Network.DEFAULT
    mounts: tuple[Mount, ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()
    unkeyed_env: tuple[str, ...] = ()


@value
class CopyAction:
    """COPY or ADD of `sources` (patterns, "/"-rooted in input `input`) to `target` (absolute; a trailing "/" means a directory).

    `owner` is --chown's text with names resolved against input 0 when it runs ("" is 0:0, or for --from the source's own owner);
    `mode` permission bits or None; `unpacks` extracts local archives (ADD); `contents_only`: a directory's content is copied, not itself.
    `allows_no_match` and `allows_wildcards` as the instruction form said.
    """

    input: int
    sources: tuple[str, ...]
    target: str
    owner: str = ""
    mode: int | None = None
    unpacks: bool = False
    allows_wildcards: bool = True


@value
class InlineFileAction:
    """A heredoc of COPY or ADD: `data` written to `target` (a directory when it ends in "/": then `name` is the file's name)."""

    name: str
    data: bytes
    target: str
    owner: str = ""
    mode: int | None = None


@value
class MakeDirAction:
    """WORKDIR: make `path` and its missing parents, owned by `owner` ("" is root), mode 0755."""

    path: str
    owner: str = ""


FileAction = CopyAction | InlineFileAction | MakeDirAction


@value
class FileOp:
    """Change files of input 0, action by action; the result is one layer. `is_linked` (--link) changes nothing here; BuildKit names such a step otherwise."""

    actions: tuple[FileAction, ...]
    is_linked: bool = False


@value
class ExportOp:
    """Make output number `output` of the request from input 0: pack, assemble, write or push. Never cached, so a layer that turns out to be
    lost while it is packed or pushed takes the same way back through the solver as one lost between steps."""

    output: int


Op = ScratchOp | ImageOp | ContextOp | HttpOp | ExecOp | FileOp | ExportOp
