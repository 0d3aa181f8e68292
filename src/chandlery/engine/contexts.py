"""Opening what a request names as its context: a directory, a tar, a git URL or nothing, and the Dockerfile with it.

The Dockerfile and its ignore file are read whether or not the ignore file excludes them. `<Dockerfile>.dockerignore` beside the Dockerfile is preferred to
.dockerignore at the context's root (Dockerfile reference, ".dockerignore file").
"""

import os

from chandlery.content.session import Session
from chandlery.content.store import Store
from chandlery.engine.request import BuildRequest
from chandlery.errors import ContextError, RequestError
from chandlery.oci.digest import hasher
from chandlery.runtime.secrets import Secrets
from chandlery.source import git_url, ignore
from chandlery.source.context import LocalContext
from chandlery.source.ignore import Ignore
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.engine.steps import StepBook
    from chandlery.source.git import Checkout

MAX_DOCKERFILE_BYTES = 16 << 20
NAMES = ("Dockerfile", "dockerfile")


@value
class OpenedContext:
    """`root` is "" where there is no context; `source` says in words what it is; `dockerfile_name` is for messages; `committed_at_s` is when a git context's
    commit was made, None for others."""

    root: str
    source: str
    dockerfile_name: str
    dockerfile_text: str
    ignore: Ignore
    committed_at_s: int | None = None


class Contexts:
    """The local contexts of a build by name, "" the main one; each is looked at once. Named contexts are opened when first asked for."""

    def __init__(self, store: Store, main: OpenedContext, named: "dict[str, str]") -> None:
        self._store = store
        self._main = main
        self._named = named
        self._opened: dict[str, LocalContext] = {}

    def get(self, name: str) -> LocalContext:
        """Raises ContextError (context.none) for the main context of a build that has none."""
        if name not in self._opened:
            if name:
                root, ignore = self._named[name], _ignore_of(self._named[name])
            else:
                root, ignore = self._main.root, self._main.ignore
                if not root:
                    raise ContextError("the build has no context to copy from", code="context.none", hint="give the build a directory, or copy with --from")
            # what was fetched for this build lies elsewhere in the next: there is nothing to remember of it
            is_kept = bool(name) or self._main.source == self._main.root
            self._opened[name] = LocalContext(root, ignore, stat_cache_path=_stat_cache_path(self._store, root) if is_kept else "")
        return self._opened[name]

    def save(self) -> None:
        """Keep what was learned of files for the next build."""
        for context in self._opened.values():
            context.save()


def open_context(request: BuildRequest, *, store: Store, session: Session, secrets: Secrets, book: "StepBook") -> OpenedContext:
    """The main context and the Dockerfile of a request. Raises ContextError, RequestError; Unavailable for a git remote out of reach."""
    root, source, committed_at_s = _root(request, store, session, secrets, book)
    if request.dockerfile_text is not None:
        return OpenedContext(root, source, "Dockerfile", request.dockerfile_text, _ignore_of(root) if root else Ignore(), committed_at_s)
    if not root:
        raise RequestError("there is neither a context nor a Dockerfile", code="request.no-context", hint="for the current directory: chandlery build .")
    path = _dockerfile_path(request, root, is_remote=source != root)
    text = _read_text(path)
    name = os.path.relpath(path, root) if path.startswith(root + "/") else path
    own_ignore = path + ".dockerignore"
    ignore = _read_ignore(own_ignore) if os.path.isfile(own_ignore) else _ignore_of(root)
    return OpenedContext(root, source, name, text, ignore, committed_at_s)


def _root(request: BuildRequest, store: Store, session: Session, secrets: Secrets, book: "StepBook") -> tuple[str, str, int | None]:
    if request.context_tar:
        from chandlery.source.tar_context import unpack_context

        return book.during("[internal] load build context from a tar", lambda _: unpack_context(request.context_tar, session.scratch("c"))), "tar", None
    if not request.context:
        return "", "", None
    if git_url.is_git_url(request.context):
        remote = git_url.parse(request.context)
        keeps_git = dict(request.build_args).get("BUILDKIT_CONTEXT_KEEP_GIT_DIR", "").lower() in ("1", "true")
        checkout = book.during(f"[internal] load git source {remote.safe_url}", lambda _: _checkout(remote, keeps_git, store, session, secrets))
        return checkout.root, "git", checkout.committed_at_s
    if request.context.startswith(("http://", "https://")):
        raise RequestError("contexts from HTTP come with a later release", code="context.http", hint="clone or download it, or give a git URL ending in .git")
    root = os.path.realpath(request.context)
    if not os.path.isdir(root):
        problem = "is not a directory" if os.path.exists(root) else "does not exist"
        raise ContextError(f"the build context {request.context} {problem}", code="context.missing", hint="give the path of a directory")
    return root, root, None


def _checkout(remote: git_url.GitRemote, keeps_git: bool, store: Store, session: Session, secrets: Secrets) -> "Checkout":
    from chandlery.source.git import GitSource

    token = secrets.read("GIT_AUTH_TOKEN", is_required=False) or b""
    source = GitSource(store, auth_token=token.decode("utf-8", "surrogateescape").strip())
    return source.checkout(source.pin(remote), session, keeps_git_dir=keeps_git)


def _stat_cache_path(store: Store, root: str) -> str:
    return f"{store.layout.contexts}/{hasher(os.path.realpath(root).encode('utf-8', 'surrogateescape')).hexdigest()[:32]}"


def _dockerfile_path(request: BuildRequest, root: str, *, is_remote: bool) -> str:
    """Where the Dockerfile is: -f counts from the working directory for a local context, from the context's root for a fetched one."""
    if request.dockerfile:
        path = os.path.join(root, request.dockerfile) if is_remote else os.path.abspath(request.dockerfile)
        if not is_remote and not os.path.exists(path) and os.path.exists(os.path.join(root, request.dockerfile)):
            path = os.path.join(root, request.dockerfile)
        return path
    found = [name for name in NAMES if os.path.isfile(os.path.join(root, name))]
    return os.path.join(root, found[0] if found else NAMES[0])


def _read_text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_DOCKERFILE_BYTES + 1)
    except FileNotFoundError:
        raise ContextError(f"there is no Dockerfile at {path}", code="context.no-dockerfile", hint="name it with -f, or make one") from None
    except OSError as error:
        raise ContextError(f"can't read {path}: {error.strerror}", code="context.unreadable", hint="check the file and its permissions") from error
    if len(data) > MAX_DOCKERFILE_BYTES:
        raise ContextError(f"{path} is larger than {MAX_DOCKERFILE_BYTES} bytes", code="context.too-large", hint="is it a Dockerfile?")
    return data.decode("utf-8", "surrogateescape")


def _ignore_of(root: str) -> Ignore:
    path = os.path.join(root, ".dockerignore")
    return _read_ignore(path) if os.path.isfile(path) else Ignore()


def _read_ignore(path: str) -> Ignore:
    return ignore.parse(_read_text(path), file=path)
