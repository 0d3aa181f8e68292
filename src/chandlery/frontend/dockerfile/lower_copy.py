"""COPY and ADD -> one FileOp: an action for each source path, URL and heredoc."""

import re

from chandlery.errors import InputError
from chandlery.frontend.dockerfile import instructions as ins
from chandlery.frontend.dockerfile.container_path import copy_target, rooted
from chandlery.frontend.dockerfile.excerpt import Misplaced
from chandlery.frontend.dockerfile.lower_run import origin_vertex
from chandlery.frontend.dockerfile.lowered import PinnedUrl, UrlReference
from chandlery.frontend.dockerfile.scope import Scope
from chandlery.frontend.dockerfile.stage_state import StageState
from chandlery.frontend.dockerfile.words import Lex
from chandlery.graph.op import CopyAction, FileAction, FileOp, HttpOp, InlineFileAction
from chandlery.oci.digest import Digest, from_hex
from chandlery.snapshot.globs import is_malformed
from chandlery.values import replace

_SYMBOLIC_MODE = re.compile(r"[ugoa]*(?:[-+=][rwxXstugo]*)+(?:,[ugoa]*(?:[-+=][rwxXstugo]*)+)*")
_SCP_LIKE = re.compile(r"[a-zA-Z0-9\-_]+@[a-zA-Z0-9\-.]+:.*", re.DOTALL)


class _Copying:
    """One COPY or ADD on its way to a FileOp."""

    def __init__(self, state: StageState, copy: ins.Copy, scope: Scope) -> None:
        self.state = state
        self.copy = copy
        self.scope = scope
        self.inputs = [state.vertex]
        self.target = copy_target(state.work_dir, copy.target)
        self.mode = _mode(copy.mode)
        self.owner = _owner(copy.owner)

    def index(self, vertex: int) -> int:
        if vertex not in self.inputs[1:]:
            self.inputs.append(vertex)
        return self.inputs.index(vertex, 1)


def lower_copy(state: StageState, copy: ins.Copy, sources: tuple[StageState, ...], scope: Scope) -> None:
    """Append the layer that `copy` makes to the stage; raises Misplaced."""
    _refuse_unsupported(copy)
    written = copy.text
    copy = _expanded(copy, state, scope)
    copying = _Copying(state, copy, scope)
    _check(copy)
    name = state.step_name(scope.shown(written, state.env))
    actions = [_action(copying, path, sources, name) for path in copy.sources]
    for file in copy.inline_files:
        data = file.data.encode("utf-8", "surrogateescape")
        actions.append(InlineFileAction(file.name, data, copying.target, copying.owner, copying.mode))
    created_by = _created_by(copy)
    op = FileOp(tuple(actions), is_linked=copy.is_linked and not copy.mode)
    vertex = scope.vertex(op, tuple(copying.inputs), state=state, name=name, created_by=created_by, source=copy.source)
    state.vertex = vertex
    state.record(created_by, vertex=vertex)


def _refuse_unsupported(copy: ins.Copy) -> None:
    for flag, is_used in (("--exclude", bool(copy.excludes)), ("--parents", copy.keeps_parents)):
        if is_used:
            hint = "copy the wanted paths one by one, or list the others in .dockerignore"
            raise Misplaced(f"{flag} is left to a later release", code="dockerfile.unsupported", hint=hint, token=flag)


def _expanded(copy: ins.Copy, state: StageState, scope: Scope) -> ins.Copy:
    def expand(text: str) -> str:
        try:
            return scope.expand(text, state.env)
        except Misplaced as failed:
            if failed.code != "dockerfile.quote":
                raise
            hint = f'a path with blanks needs the exec form: {"ADD" if copy.is_add else "COPY"} ["a b", "target/"]'
            raise Misplaced(failed.message, code=failed.code, hint=hint, token=text) from None

    contents = Lex(reads_quotes=False)
    files = tuple(replace(file, data=contents.word(file.data, state.env)) if file.expands else file for file in copy.inline_files)
    return replace(
        copy, sources=tuple(expand(path) for path in copy.sources), inline_files=files, target=expand(copy.target),
        owner=expand(copy.owner), mode=expand(copy.mode), checksum=expand(copy.checksum),
    )  # fmt: skip


def _check(copy: ins.Copy) -> None:
    if copy.is_linked and any(part and not part.isdecimal() for part in copy.owner.split(":", 1)):
        hint = "names can't be looked up in a layer of its own: write numbers, --chown=1000:1000"
        raise Misplaced(f"--link can't have --chown={copy.owner}", code="dockerfile.link-owner", hint=hint, token="--chown=")
    if copy.checksum:
        if len(copy.sources) != 1:
            hint = "write one ADD for each source"
            raise Misplaced("--checksum stands for one source only", code="dockerfile.checksum", hint=hint, token="--checksum=")
        if not (is_url(copy.sources[0]) or is_git(copy.sources[0])):
            hint = "a file of the context needs no checksum"
            raise Misplaced("--checksum is for http and https sources", code="dockerfile.checksum", hint=hint, token="--checksum=")


def _owner(text: str) -> str:
    """--chown's text in one spelling: "u:" is u, ":g" is root's user with that group."""
    user, _, group = text.partition(":")
    return f"{user or '0'}:{group}" if group else user or ("0" if text else "")


def _mode(text: str) -> int | None:
    """Permission bits from --chmod; raises Misplaced for symbolic ones (later) and for others."""
    if not text:
        return None
    if all(char in "01234567" for char in text) and int(text, 8) <= 0o7777:
        return int(text, 8)
    if _SYMBOLIC_MODE.fullmatch(text):
        hint = "write octal digits, --chmod=755"
        raise Misplaced(f"symbolic modes ({text}) are left to a later release", code="dockerfile.unsupported", hint=hint, token="--chmod=")
    raise Misplaced(f"{text!r} is no mode", code="dockerfile.chmod", hint="write octal digits from 0 to 7777, --chmod=755", token="--chmod=")


def is_git(source: str) -> bool:
    """Whether BuildKit would take a source for a git repository (dfgitutil.ParseGitRef)."""
    if source.startswith(("./", "../", "github.com/")):
        return False
    scheme = re.match(r"([a-zA-Z0-9]+)://", source)
    if scheme is None:
        return _SCP_LIKE.fullmatch(source) is not None
    if scheme[1].lower() in ("git", "ssh"):
        return True
    return scheme[1].lower() in ("http", "https") and re.split("[?#]", source, maxsplit=1)[0].endswith(".git")


def is_url(source: str) -> bool:
    return source.startswith(("http://", "https://")) and not is_git(source)


def _action(copying: _Copying, path: str, sources: tuple[StageState, ...], name: str) -> FileAction:
    copy = copying.copy
    if is_git(path):
        if copy.is_add:
            hint = "clone it in a step: RUN git clone ..."
            raise Misplaced(f"ADD of a git repository ({path}) is left to a later release", code="dockerfile.unsupported", hint=hint, token=path)
        raise Misplaced(f"COPY can't fetch {path}", code="dockerfile.copy-url", hint="ADD fetches repositories", token=path)
    if is_url(path):
        if not copy.is_add:
            raise Misplaced(f"COPY can't fetch {path}", code="dockerfile.copy-url", hint="ADD fetches http and https URLs", token=path)
        return _url_action(copying, path, name)
    if sources:
        vertex = origin_vertex(copy.origin, path, sources[0], copying.scope)
    else:
        if is_malformed(path):
            hint = "close the bracket, or quote it with a backslash: [[]name]"
            raise Misplaced(f"{path!r} is no pattern", code="dockerfile.pattern", hint=hint, token=path)
        copying.scope.use_context("", rooted(path))
        vertex = copying.scope.context()
    unpacks = copy.is_add if copy.unpacks is None else copy.unpacks
    return CopyAction(copying.index(vertex), (rooted(path),), copying.target, copying.owner, copying.mode, unpacks)


def _url_action(copying: _Copying, url: str, name: str) -> CopyAction:
    copy, scope = copying.copy, copying.scope
    reference = UrlReference(url, _checksum(copy.checksum))
    pinned = scope.pins.urls.get(reference)
    if pinned is None:
        scope.unpinned_urls[reference] = None
        pinned = PinnedUrl(from_hex("0" * 64))
    if reference.checksum and pinned.digest != reference.checksum and reference not in scope.unpinned_urls:
        hint = f"it is {pinned.digest} now: check who changed it"
        raise Misplaced(f"{url} isn't what --checksum says", code="dockerfile.checksum", hint=hint, token="--checksum=")
    file_name = url_file_name(url)
    vertex = scope.vertex(HttpOp(url, pinned.digest, file_name, pinned.mtime_s), name=name, source=copy.source)
    source = ("/" + file_name,)
    return CopyAction(copying.index(vertex), source, copying.target, copying.owner, copying.mode, copy.unpacks is True, allows_wildcards=False)


def _checksum(text: str) -> str:
    if not text:
        return ""
    try:
        return Digest(text)
    except InputError as failed:
        raise Misplaced(f"--checksum: {failed.message}", code="dockerfile.checksum", hint=failed.hint, token="--checksum=") from None


def url_file_name(url: str) -> str:
    """The name that a fetched file gets: the last part of the URL's path."""
    path = re.split("[?#]", url.partition("://")[2], maxsplit=1)[0]
    last = path.partition("/")[2].rstrip("/").rpartition("/")[2]
    if "%" in last:
        from urllib.parse import unquote

        last = unquote(last).rstrip("/").rpartition("/")[2]
    return last if last not in ("", ".", "..") else "__unnamed__"


def _created_by(copy: ins.Copy) -> str:
    pieces = ["ADD" if copy.is_add else "COPY"]
    if copy.owner:
        pieces.append("--chown=" + copy.owner)
    if copy.mode:
        pieces.append("--chmod=" + copy.mode)
    pieces += [*copy.sources, *("<<" + file.name for file in copy.inline_files), copy.target]
    return " ".join(pieces) + " # buildkit"
