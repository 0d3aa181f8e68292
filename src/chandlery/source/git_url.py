"""Git URLs as build contexts and ADD sources: what is one, and what it asks for. Pure.

    https://host/repo.git#ref:subdir      ssh://user@host/repo.git     git@host:path/repo.git     git://host/repo.git     file:///repo
    https://host/repo.git?tag=v1&subdir=src&keep-git-dir=true          (queries: ref tag branch subdir checksum commit keep-git-dir submodules mtime
                                                                        fetch-by-commit)

An http(s) URL is one only if its path ends in ".git". What could be taken for an option or a remote helper by git or ssh is refused here, before
anything runs.
"""

import re

from chandlery.errors import RequestError
from chandlery.values import value

_SCHEMES = ("https", "http", "ssh", "git", "file")
# compiled when first used: most contexts are directories
_SCHEME = r"([a-zA-Z][a-zA-Z0-9+.-]*)://"
_SCP = r"(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@(?P<host>[A-Za-z0-9.-]+):(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?"
_COMMIT = r"[0-9a-f]{40}|[0-9a-f]{64}"
_CHECKSUM = r"[0-9a-f]{7,64}"
_TRUE, _FALSE = frozenset({"1", "t", "true", ""}), frozenset({"0", "f", "false"})
_QUERIES = frozenset({"ref", "tag", "branch", "subdir", "checksum", "commit", "keep-git-dir", "submodules", "mtime", "fetch-by-commit"})
_HINT = "write https://host/path.git#ref:subdir, ssh://user@host/path.git, git@host:path.git or file:///path"


@value
class GitRemote:
    """`url` is what git fetches from; `ref` "" is the remote's HEAD; `commit` is what the ref must turn out to be ("" anything), a prefix of at
    least 7 digits; `keeps_git_dir` and `has_submodules` are None where the URL doesn't say; `mtime` is "checkout" or "commit"."""

    url: str
    ref: str = ""
    subdir: str = ""
    commit: str = ""
    keeps_git_dir: bool | None = None
    has_submodules: bool | None = None
    mtime: str = "checkout"

    @property
    def safe_url(self) -> str:
        """The URL for people: without a password, and over HTTP without a user either, who may be a token."""
        without_password = re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", self.url)
        return re.sub(r"^(https?://)[^/@]*@", r"\1***@", without_password)


def is_commit(ref: str) -> bool:
    """Whether a ref is a whole commit id."""
    return re.fullmatch(_COMMIT, ref) is not None


def is_git_url(text: str) -> bool:
    """Whether a context argument or an ADD source means a git repository, well-formed or not."""
    if ":" not in text and not text.startswith("github.com/"):
        return False
    scheme = re.match(_SCHEME, text)
    if scheme is None:
        return text.startswith("github.com/") or re.fullmatch(_SCP, text) is not None
    name = scheme[1].lower()
    if name in ("http", "https"):
        return text.partition("#")[0].partition("?")[0].endswith(".git")
    return name in ("ssh", "git", "file") or name.startswith(("git+", "ssh+"))


def parse(text: str) -> GitRemote:
    """What a git URL asks for; raises RequestError (code git.malformed-url, git.hostile-url)."""
    if any(ord(char) < 0x21 or ord(char) == 0x7F for char in text):
        raise RequestError(f"{text!r} has white space or control characters", code="git.malformed-url", hint=_HINT)
    if text.startswith("github.com/"):
        text = "https://" + text
    scheme = re.match(_SCHEME, text)
    if scheme is not None:
        if scheme[1].lower() not in _SCHEMES:
            raise RequestError(f"git can't be used over {scheme[1]}://", code="git.malformed-url", hint=_HINT)
        rest, _, fragment = text.partition("#")
        url, _, query = rest.partition("?")
        authority, _, path = url[scheme.end() :].partition("/")
        _refuse_options(text, authority.rpartition("@")[2], authority.partition("@")[0], path)
    else:
        found = re.fullmatch(_SCP, text)
        if found is None:
            raise RequestError(f"{text!r} is not a git URL", code="git.malformed-url", hint=_HINT)
        _refuse_options(text, found["host"], found["user"], found["path"])
        url, query, fragment = f"{found['user']}@{found['host']}:{found['path']}", found["query"] or "", found["fragment"] or ""
    ref, _, subdir = fragment.partition(":")
    return _with_query(text, url, ref, subdir, query)


def _refuse_options(text: str, *parts: str) -> None:
    # CVE-2017-1000117 and its kin: a host that begins with "-" becomes an option of ssh; "ext::" runs a command
    if any(part.startswith("-") for part in parts) or "::" in text.partition("#")[0].partition("[")[0]:
        raise RequestError(f"{text!r} could be taken for an option or a command by git", code="git.hostile-url", hint=_HINT)


def _with_query(text: str, url: str, ref: str, subdir: str, query: str) -> GitRemote:
    asked = _queries(text, query)
    for name, prefix in (("ref", ""), ("tag", "refs/tags/"), ("branch", "refs/heads/")):
        wanted = asked.get(name, "")
        if wanted:
            wanted = wanted if wanted.startswith(prefix) else prefix + wanted
            if ref and ref != wanted:
                raise RequestError(f"{text!r} asks for both {ref} and {wanted}", code="git.malformed-url", hint="name one ref")
            ref = wanted
    if asked.get("subdir", subdir) != (subdir or asked.get("subdir", "")):
        raise RequestError(f"{text!r} names two subdirectories", code="git.malformed-url", hint="name one")
    subdir = subdir or asked.get("subdir", "")
    commit = asked.get("checksum", "") or asked.get("commit", "")
    if commit and not re.fullmatch(_CHECKSUM, commit):
        raise RequestError(f"{commit!r} is not a commit id", code="git.malformed-url", hint="give the commit's hexadecimal id")
    if ref.startswith("-") or ".." in ref.split("/") or not _is_ref(ref):
        raise RequestError(
            f"{ref!r} can't be a ref", code="git.hostile-url" if ref.startswith("-") else "git.malformed-url", hint="name a branch, tag or commit"
        )
    mtime = asked.get("mtime", "checkout")
    if mtime not in ("checkout", "commit"):
        raise RequestError(f"{text!r}: mtime is checkout or commit", code="git.malformed-url", hint="leave it out for checkout")
    if commit and not ref:
        ref = commit
    return GitRemote(url, ref, subdir, commit, _flag(text, asked, "keep-git-dir"), _flag(text, asked, "submodules"), mtime)


def _queries(text: str, query: str) -> dict[str, str]:
    if not query:
        return {}
    from urllib.parse import parse_qsl

    asked: dict[str, str] = {}
    for name, content in parse_qsl(query, keep_blank_values=True):
        if name not in _QUERIES:
            raise RequestError(f"{text!r}: unknown query {name!r}", code="git.malformed-url", hint="known are " + ", ".join(sorted(_QUERIES)))
        if name in asked:
            raise RequestError(f"{text!r}: {name} is given twice", code="git.malformed-url", hint="give it once")
        if not content and name not in ("keep-git-dir", "submodules", "fetch-by-commit"):
            raise RequestError(f"{text!r}: {name} has no value", code="git.malformed-url", hint=f"write {name}=...")
        asked[name] = content
    return asked


def _flag(text: str, asked: dict[str, str], name: str) -> bool | None:
    if name not in asked:
        return None
    said = asked[name].lower()
    if said not in _TRUE and said not in _FALSE:
        raise RequestError(f"{text!r}: {name} is true or false", code="git.malformed-url", hint="leave the value out for true")
    return said in _TRUE


def _is_ref(ref: str) -> bool:
    return not any(char in ref for char in "~^:?*[\\") and "@{" not in ref and not ref.endswith(("/", ".lock"))
