"""`Scopes`: whose cache a build reads and writes (design.md section 5, "Scope and trust").

A scope is "<project>@<branch>": the project is the git remote's host/path without user info, port or ".git", and the context's place inside it. What a CI
system's variables say comes first, then what lies in .git, read as files: git is not run. A scope that is guessed from a directory's name means nothing to
others and stays on this machine. Reads follow an ordered list, the build's own scope first; writes go to one.
"""

import os

from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_FILE_BYTES = 1 << 20
_USUAL_BRANCHES = ("main", "master")


@value
class Scopes:
    """`write` is where what this build makes goes, `reads` where it looks, in order; `reason` says why, in words."""

    write: str
    reads: tuple[str, ...]
    reason: str
    is_shared: bool = True


@value
class _Place:
    """What is known of where a source comes from; "" where it isn't."""

    project: str = ""
    branch: str = ""
    targets: tuple[str, ...] = ()  # more trusted branches, read after the own one
    reason: str = ""


def find(context: str, environment: "Mapping[str, str]", *, chosen: str = "", fork_from: tuple[str, ...] = ()) -> Scopes:
    """The scopes of a build of `context`, a directory, a git URL or ""; `chosen` is the scope that the user named, `fork_from` scopes to read as well."""
    if chosen:
        return Scopes(chosen, tuple(dict.fromkeys((chosen, *fork_from))), "--cache-scope")
    place = _of_url(context) if _is_url(context) else _of_directory(context)
    ci = _of_ci(environment, place.project)
    if ci is not None and (not place.project or ci.project == place.project or ci.project.rpartition("/")[0] == ""):
        place = _Place(place.project or ci.project, ci.branch, ci.targets or place.targets, ci.reason)
    if not place.project:
        name = os.path.basename(os.path.realpath(context)) if context and not _is_url(context) else "build"
        guessed = f"local/{name}"
        return Scopes(guessed, (guessed,), "guessed from the directory's name, so it stays on this machine: name one with --cache-scope", is_shared=False)
    own = f"{place.project}@{place.branch or 'detached'}"
    others = fork_from or tuple(f"{place.project}@{branch}" for branch in place.targets or _USUAL_BRANCHES)
    return Scopes(own, tuple(dict.fromkeys((own, *others))), place.reason)


def normalised_remote(url: str) -> str:
    """A git remote as host/path; "" for one that only this machine knows (a path, file://)."""
    url = url.strip()
    if "://" in url:
        scheme, _, rest = url.partition("://")
        if scheme.lower() == "file":
            return ""
        host, _, path = rest.partition("/")
        host = host.rpartition("@")[2]
        host = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    else:
        host, colon, path = url.partition(":")
        if not colon or "/" in host:
            return ""
        host = host.rpartition("@")[2]
    path = path.partition("?")[0].strip("/").removesuffix(".git").strip("/")
    return f"{host.lower()}/{path}" if host and path else ""


def _is_url(context: str) -> bool:
    return "://" in context or context.startswith("git@") or (context.partition("#")[0].endswith(".git") and not os.path.isdir(context))


def _of_url(context: str) -> _Place:
    url, _, fragment = context.partition("#")
    reference, _, inside = fragment.partition(":")
    project = normalised_remote(url if "://" in url or "@" in url else f"https://{url}")
    branch = reference.removeprefix("refs/heads/") or "default"
    return _Place("/".join(part for part in (project, inside.strip("/")) if part) if project else "", branch, (), "the git URL that is built")


def _of_directory(context: str) -> _Place:
    root = os.path.realpath(context) if context else ""
    top = root
    while top and not os.path.exists(top + "/.git"):
        top = os.path.dirname(top) if top != "/" else ""
    if not top:
        return _Place()
    git = _git_directory(top + "/.git")
    common = os.path.normpath(os.path.join(git, _read(git + "/commondir").strip() or "."))
    remote = normalised_remote(_remote_url(_read(common + "/config")))
    if not remote:
        return _Place()
    inside = os.path.relpath(root, top)
    head = _read(git + "/HEAD").strip().removeprefix("ref: refs/heads/")
    branch = "" if len(head) == 40 and " " not in head else head
    default = _read(common + "/refs/remotes/origin/HEAD").strip().removeprefix("ref: refs/remotes/origin/")
    return _Place(remote if inside == "." else f"{remote}/{inside}", branch, (default,) if default else (), "the git remote and branch of the context")


def _git_directory(path: str) -> str:
    """Where .git leads: itself, or what a worktree's or a submodule's file names."""
    if os.path.isdir(path):
        return path
    return os.path.normpath(os.path.join(os.path.dirname(path), _read(path).removeprefix("gitdir:").strip()))


def _remote_url(config: str) -> str:
    """The URL of origin, or else of the first remote, of a git configuration."""
    urls: dict[str, str] = {}
    section = ""
    for line in config.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line.strip("[]")
        name, equals, text = line.partition("=")
        if equals and name.strip() == "url" and section.startswith('remote "'):
            urls.setdefault(section[len('remote "') :].rstrip('"'), text.strip())
    return urls.get("origin") or next(iter(urls.values()), "")


def _of_ci(environment: "Mapping[str, str]", project: str) -> _Place | None:
    """What a CI system says. A change from a fork, or a pull request, has a scope of its own and reads its target's."""
    get = environment.get
    if get("GITHUB_ACTIONS") and get("GITHUB_REPOSITORY"):
        host = normalised_remote(f"{get('GITHUB_SERVER_URL', 'https://github.com')}/{get('GITHUB_REPOSITORY')}")
        pull = get("GITHUB_REF", "").removeprefix("refs/pull/").partition("/")[0] if get("GITHUB_REF", "").startswith("refs/pull/") else ""
        target = get("GITHUB_BASE_REF", "")
        return _Place(project or host, f"pull/{pull}" if pull else get("GITHUB_REF_NAME", ""), (target,) if target else (), "GitHub's variables")
    if get("GITLAB_CI") and get("CI_PROJECT_PATH"):
        host = f"{get('CI_SERVER_HOST', 'gitlab.com').lower()}/{get('CI_PROJECT_PATH')}"
        merge = get("CI_MERGE_REQUEST_IID", "")
        target = get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME") or get("CI_DEFAULT_BRANCH") or ""
        return _Place(project or host, f"merge/{merge}" if merge else get("CI_COMMIT_REF_NAME", ""), (target,) if target else (), "GitLab's variables")
    if get("JENKINS_URL") and (get("BRANCH_NAME") or get("GIT_BRANCH")):
        remote = normalised_remote(get("GIT_URL", ""))
        change, fork = get("CHANGE_ID", ""), get("CHANGE_FORK", "")
        branch = f"change/{change}" + (f"/{fork}" if fork else "") if change else get("BRANCH_NAME") or get("GIT_BRANCH", "").removeprefix("origin/")
        target = get("CHANGE_TARGET", "")
        return _Place(project or remote, branch, (target,) if target else (), "Jenkins' variables")
    return None


def _read(path: str) -> str:
    """A small file's text; "" where there is none to read."""
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
