"""A failed step once more, to look into it: the same files, mounts, network and user, and nothing of it kept.

`keep` writes beside the build's log what it takes (R/logs/<build id>.step, mode 0600, gone with the logs); `run_again` runs it, or another command in its
place. Values of secrets and proxies aren't in the file: they come from where they came from before. The layers are the cache's, so a prune may have taken
them: then the build has to run again.
"""

import json
import os
from enum import StrEnum

from chandlery.engine.request import BuildRequest, CacheKind, CacheSpec, Output, OutputKind
from chandlery.engine.tools import Tools
from chandlery.errors import InternalError, Lost, RequestError
from chandlery.graph.mount import BindMount, CacheMount, SecretMount, Sharing, TmpfsMount
from chandlery.graph.op import ExecOp, HttpOp, Network
from chandlery.linux.cgroup import Limits
from chandlery.oci.digest import Digest
from chandlery.runtime.process import Ulimit
from chandlery.runtime.secrets import Secrets, SecretSource
from chandlery.snapshot.state import FileSystem, LayerRef
from chandlery.source.git_url import is_git_url
from chandlery.source.ignore import Ignore
from chandlery.values import fields, replace
from chandlery.worker.results import ContextFiles, HttpFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from chandlery.content.layout import StoreLayout
    from chandlery.engine.steps import StepBook
    from chandlery.events import EventSink
    from chandlery.runtime.process import ExitStatus

FORMAT = 1
_KINDS: "dict[str, type]" = {
    kind.__name__: kind
    for kind in (
        BindMount, BuildRequest, CacheKind, CacheMount, CacheSpec, ContextFiles, ExecOp, FileSystem, HttpFile, HttpOp, LayerRef, Limits, Network, Output,
        OutputKind, SecretMount, SecretSource, Sharing, TmpfsMount, Ulimit, Digest,
    )
}  # fmt: skip


def path(layout: "StoreLayout", build_id: str) -> str:
    return layout.log(build_id).removesuffix(".log") + ".step"


def keep(tools: Tools, request: BuildRequest, op: ExecOp, inputs: tuple[object, ...]) -> str:
    """Write down a step that failed; the command that repeats it, "" where nothing could be written or its files are gone with the build."""
    from chandlery.engine.volume_use import volume_scope

    needs_context = any(isinstance(source, ContextFiles) for source in inputs)
    if needs_context and (request.context_tar or is_git_url(request.context)):
        return ""  # what was fetched for this build is gone with it, and the URL may hold credentials
    names = tuple(entry.partition("=")[0] for entry in op.unkeyed_env)
    stripped = replace(
        request,
        proxy_args=(),
        outputs=(),
        cache_scope=volume_scope(request, tools.scopes),
        cache_remotes=(),
        context=_absolute(request.context) if needs_context else "",
        dockerfile=_absolute(request.dockerfile),
        build_contexts=tuple((name, _absolute(location)) for name, location in request.build_contexts),
    )
    document = {"format": FORMAT, "request": _plain(stripped), "op": _plain(replace(op, unkeyed_env=names)), "inputs": _plain(inputs)}
    try:
        fd = os.open(path(tools.store.layout, tools.session.id), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(document, file)
    except OSError:
        return ""
    return f"chandlery run --failed {tools.session.id}"


def run_again(tools: Tools, build_id: str, *, command: tuple[str, ...], is_interactive: bool, sink: "EventSink") -> "ExitStatus":
    """Run the step at which a build failed. Raises InputError (run.no-failed-step), MachineError, Cancelled."""
    from chandlery.buildcache.records import RecordStore
    from chandlery.engine.contexts import Contexts, OpenedContext, open_context
    from chandlery.engine.lowering import named_directories
    from chandlery.engine.steps import StepBook
    from chandlery.engine.workshop import Workshop
    from chandlery.source.layer_forms import LayerForms

    request, op, inputs = _load(path(tools.store.layout, build_id), build_id)
    environment = tools.environment
    op = replace(op, argv=command or op.argv, unkeyed_env=tuple(f"{name}={environment[name]}" for name in op.unkeyed_env if name in environment))
    book = StepBook(sink)
    forms = LayerForms(tools.store, tools.snapshots, tools.session, fetch=lambda diff_id: tools.snapshots.by_diff_id(diff_id, tools.session) or _lost(diff_id))
    needs_context = any(isinstance(source, ContextFiles) for source in inputs)
    secrets = Secrets(request.secrets, environment)
    if needs_context:
        opened = open_context(request, store=tools.store, session=tools.session, secrets=secrets, book=book)
    else:
        opened = OpenedContext("", "", "", "", Ignore())
    contexts = Contexts(tools.store, opened, named_directories(request))
    with Workshop(request, tools, forms, contexts, RecordStore(tools.store, tools.session), created_s=None, warn=_warner(book)) as workshop:
        step = book.start(" ".join(op.argv))
        try:
            layers = [layer.snapshot for source in inputs if isinstance(source, FileSystem) for layer in source.layers if layer.snapshot]
            tools.snapshots.lease(tools.session, tuple(layers))
            return workshop.alone(lambda: workshop.worker().rehearse(op, inputs, step, is_interactive=is_interactive))
        except Lost as lost:
            hint = "run the build again: it fails again, and leaves the step anew"
            raise RequestError(f"the files that the step ran on are gone from the store ({lost.what})", code="run.no-failed-step", hint=hint) from lost


def _warner(book: "StepBook") -> "Callable[[str, str, str], None]":
    return lambda code, message, cause: book.warn(code, message, cause=cause)


def _absolute(location: str) -> str:
    """Paths of this machine, whatever the working directory is next time; anything else as it is."""
    return os.path.abspath(location) if location and os.path.exists(location) else location


def _lost(diff_id: str) -> str:
    raise Lost(diff_id)


def _load(file_name: str, build_id: str) -> "tuple[BuildRequest, ExecOp, tuple[object, ...]]":
    hint = "'chandlery run --failed' takes the id of a build whose RUN step failed; its logs must not have been pruned"
    if not build_id.isalnum():
        raise RequestError(f"--failed {build_id!r} is not the id of a build", code="run.no-failed-step", hint=hint)
    try:
        with open(file_name, encoding="utf-8", errors="surrogateescape") as file:
            document = json.load(file)
    except FileNotFoundError:
        raise RequestError(f"there is no failed step of a build {build_id}", code="run.no-failed-step", hint=hint) from None
    except (OSError, ValueError) as error:
        raise RequestError(f"the failed step of build {build_id} can't be read: {error}", code="run.no-failed-step", hint=hint) from error
    if document.get("format") != FORMAT:
        raise RequestError(f"the failed step of build {build_id} was written by another version", code="run.no-failed-step", hint=hint)
    request, op, inputs = (_value(document[name]) for name in ("request", "op", "inputs"))
    if not isinstance(request, BuildRequest) or not isinstance(op, ExecOp) or not isinstance(inputs, tuple):
        raise InternalError(f"{file_name} holds something else than a step")
    return request, op, inputs


def _plain(item: object) -> object:
    """A value as JSON: objects carry the name of their class under ""."""
    if isinstance(item, StrEnum | Digest):
        return {"": type(item).__name__, "text": str(item)}
    if hasattr(type(item), "__value_fields__"):
        return {"": type(item).__name__, **{name: _plain(getattr(item, name)) for name in fields(item)}}
    return [_plain(part) for part in item] if isinstance(item, tuple) else item


def _value(document: object) -> object:
    if isinstance(document, list):
        return tuple(_value(part) for part in document)
    if not isinstance(document, dict):
        return document
    kind = _KINDS[document.pop("")]
    made: object = kind(document["text"]) if issubclass(kind, StrEnum | Digest) else kind(**{name: _value(part) for name, part in document.items()})
    return made
