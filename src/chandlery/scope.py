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

MACHINE_SCOPE = "machine"
"""Of volumes that are the machine's, whoever builds: where nothing is shared."""
_MAX_FILE_BYTES = 1 << 20
_LONGEST_NAME = 64
_USUAL_BRANCHES = (("", "main"), ("", "master"))


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
    targets: tuple[tuple[str, str], ...] = ()  # (project, branch) that are trusted more, read after the own one; "" is the own project
    reason: str = ""
    inside: str = ""  # the context's place in the project


def machine_name(environment: "Mapping[str, str]") -> str:
    """What others are told that this machine is called: CHANDLERY_MACHINE, else the host's name."""
    return told_name(environment.get("CHANDLERY_MACHINE", "") or os.uname().nodename)


def told_name(name: str) -> str:
    """A machine's name as it may be told, whoever says it."""
    return "".join(sign if sign.isprintable() else "?" for sign in name[:_LONGEST_NAME])


def find(context: str, environment: "Mapping[str, str]", *, chosen: str = "", fork_from: tuple[str, ...] = ()) -> Scopes:
    """The scopes of a build of `context`, a directory, a git URL or ""; `chosen` is the scope that the user named, `fork_from` scopes to read as well."""
    if chosen:
        return Scopes(chosen, tuple(dict.fromkeys((chosen, *fork_from))), "--cache-scope")
    place = _of_url(context) if _is_url(context) else _of_directory(context)
    ci = _of_ci(environment)
    if ci is not None and _is_of(ci, place):
        place = _Place(place.project or ci.project, ci.branch, ci.targets or place.targets, ci.reason, place.inside)
    if not place.project:
        name = os.path.basename(os.path.realpath(context)) if context and not _is_url(context) else "build"
        guessed = f"local/{name}"
        return Scopes(guessed, (guessed,), "guessed from the directory's name, so it stays on this machine: name one with --cache-scope", is_shared=False)
    own = _scope(place, place.project, place.branch or "detached")
    others = fork_from or tuple(_scope(place, project or place.project, branch) for project, branch in place.targets or _USUAL_BRANCHES)
    return Scopes(own, tuple(dict.fromkeys((own, *others))), place.reason)


def _scope(place: _Place, project: str, branch: str) -> str:
    return f"{project}/{place.inside}@{branch}" if place.inside else f"{project}@{branch}"


def _is_of(ci: _Place, place: _Place) -> bool:
    """Whether a CI system's job is of the project that is built: else its branch says nothing, and must not name that of somebody else's source."""
    path = ci.project.partition("/")[2].lower()
    return not ci.project or not place.project or place.project.partition("/")[2].lower() == path


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
    return _Place(project, branch, (), "the git URL that is built", inside.strip("/"))


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
    targets = (("", default),) if default else ()
    return _Place(remote, branch, targets, "the git remote and branch of the context", "" if inside == "." else inside)


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


def _of_ci(environment: "Mapping[str, str]") -> _Place | None:
    """What a CI system says. A change from a fork, or a pull request, has a scope of its own and reads its target's."""
    get = environment.get
    if get("GITHUB_ACTIONS") and get("GITHUB_REPOSITORY"):
        return _of_github(environment)
    if get("GITLAB_CI") and get("CI_PROJECT_PATH"):
        return _of_gitlab(environment)
    if get("JENKINS_URL") and (get("BRANCH_NAME") or get("GIT_BRANCH")):
        remote = normalised_remote(get("GIT_URL", ""))
        change, fork = get("CHANGE_ID", ""), get("CHANGE_FORK", "")
        branch = f"change/{change}" + (f"/{fork}" if fork else "") if change else get("BRANCH_NAME") or get("GIT_BRANCH", "").removeprefix("origin/")
        target = get("CHANGE_TARGET", "")
        return _Place(remote, branch, (("", target),) if target else (), "Jenkins' variables")
    return None


def _of_github(environment: "Mapping[str, str]") -> _Place:
    """GitHub's variables, and the event's own document: `pull_request_target`, comments and `workflow_run` run with main's reference on a stranger's source."""
    get = environment.get
    project = normalised_remote(f"{get('GITHUB_SERVER_URL', 'https://github.com')}/{get('GITHUB_REPOSITORY')}")
    event = _event(get("GITHUB_EVENT_PATH", ""))
    request, reference = _mapping(event, "pull_request"), get("GITHUB_REF", "")
    number = reference.removeprefix("refs/pull/").partition("/")[0] if reference.startswith("refs/pull/") else str(request.get("number", ""))
    issue, run = _mapping(event, "issue"), _mapping(event, "workflow_run")
    if not number and "pull_request" in issue:
        number = str(issue.get("number", ""))
    target = get("GITHUB_BASE_REF", "") or str(_mapping(request, "base").get("ref", "")) or str(_mapping(event, "repository").get("default_branch", ""))
    targets = (("", target),) if target else ()
    if number or get("GITHUB_EVENT_NAME", "").startswith("pull_request") or "pull_request" in issue:
        fork = str(_mapping(_mapping(request, "head"), "repo").get("full_name", ""))
        reason = f"GitHub's variables, a pull request of {fork}" if fork not in ("", get("GITHUB_REPOSITORY")) else "GitHub's variables, a pull request"
        return _Place(project, f"pull/{number or 'of-' + get('GITHUB_HEAD_REF', '')}", targets, reason)
    if str(run.get("event", "push")) != "push":
        source = f"{_mapping(run, 'head_repository').get('full_name', '')}/{run.get('head_branch', '')}"
        return _Place(project, f"run/{source}", targets, "GitHub's variables, a workflow that follows another's run")
    return _Place(project, get("GITHUB_REF_NAME", ""), targets, "GitHub's variables")


def _of_gitlab(environment: "Mapping[str, str]") -> _Place:
    """A merge request's pipeline may run in the fork (CI_PROJECT_PATH is the fork's then): the target's branch is in the target's project."""
    get = environment.get
    host, merge = get("CI_SERVER_HOST", "gitlab.com").lower(), get("CI_MERGE_REQUEST_IID", "")
    project, upstream = f"{host}/{get('CI_PROJECT_PATH')}", get("CI_MERGE_REQUEST_PROJECT_PATH", "")
    reason = "GitLab's variables"
    if merge:
        source, target = get("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", ""), get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME") or get("CI_DEFAULT_BRANCH", "")
        reason += f", a merge request of {source}" if source not in ("", upstream) else ", a merge request"
        return _Place(project, f"merge/{merge}", ((f"{host}/{upstream}" if upstream else "", target),) if target else (), reason)
    default = get("CI_DEFAULT_BRANCH", "")
    return _Place(project, get("CI_COMMIT_REF_NAME", ""), (("", default),) if default else (), reason)


def _event(path: str) -> "dict[str, object]":
    """The document of the event that started a GitHub workflow; empty where there is none."""
    import json

    try:
        found = json.loads(_read(path)) if path else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _mapping(document: "dict[str, object]", name: str) -> "dict[str, object]":
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _read(path: str) -> str:
    """A small file's text; "" where there is none to read."""
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
