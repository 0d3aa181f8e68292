"""`GitSource`: repositories as build contexts. A ref is resolved to a commit, the commit fetched into a mirror, the mirror checked out.

R/git/<hash of the url>/ is a bare repository that is only ever added to, so a second build moves only new commits; R/git/<hash>.lock is held while
it changes. A checkout lies in the session's scratch, with modes 644 and 755, submodules included, and .git only if asked for.
"""

import os
from hashlib import sha256

from chandlery.errors import ContextError, RegistryError
from chandlery.snapshot.checksum import ViewTree
from chandlery.snapshot.tree import clean, resolve
from chandlery.source import git_command
from chandlery.source.git_command import GitFailed
from chandlery.source.git_url import GitRemote, is_commit
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.content.session import Session
    from chandlery.content.store import Store

_LOCK_TIMEOUT_S = 1800.0
_CANT_FETCH_COMMIT = ("not our ref", "unadvertised object", "couldn't find remote ref", "remote error: upload-pack", "no such remote ref")
_CANT_BE_SHALLOW = ("does not support shallow", "shallow")


@value
class GitPin:
    """What a ref was when it was asked: `name` is the remote's full name for it, "" for a bare commit id."""

    remote: GitRemote
    commit: str
    name: str = ""


@value
class Checkout:
    """`root` is the directory to use as the context (the subdirectory, where one was named); it goes with its session. `committed_at_s` is the commit's
    time, in seconds since the epoch."""

    root: str
    commit: str
    committed_at_s: int = 0


class GitSource:
    """Safe for threads and processes. `auth_token` (the secret GIT_AUTH_TOKEN) is sent to https remotes only."""

    def __init__(self, store: "Store", *, auth_token: str = "", timeout_s: float = git_command.DEFAULT_TIMEOUT_S) -> None:
        self._store = store
        self._auth_token = auth_token
        self._timeout_s = timeout_s

    def pin(self, remote: GitRemote) -> GitPin:
        """Resolve the ref to a commit: one question to the remote, none for a whole commit id.

        Raises ContextError (codes git.unknown-ref, git.checksum-mismatch), RegistryError and its kinds (codes git.*).
        """
        if is_commit(remote.ref):
            return _checked(GitPin(remote, remote.ref))
        asked = [remote.ref, remote.ref + "^{}"] if remote.ref else ["HEAD"]
        listing = self._remote_git(remote, "ls-remote", "--", remote.url, *asked)
        refs = {name: commit for commit, _, name in (line.partition("\t") for line in listing.splitlines())}
        for name in _meanings(remote.ref):
            if name in refs:
                return _checked(GitPin(remote, refs.get(name + "^{}", refs[name]), name))
        commit = self._abbreviated(remote)
        if commit:
            return _checked(GitPin(remote, commit))
        hint = "name a branch, a tag or a commit of that repository"
        raise ContextError(f"{remote.safe_url} has no ref {remote.ref or 'HEAD'}", code="git.unknown-ref", hint=hint)

    def checkout(self, pin: GitPin, session: "Session", *, keeps_git_dir: bool = False) -> Checkout:
        """The commit's files in the session's scratch, fetching what the mirror lacks. What the URL says of .git goes first.

        Raises ContextError (codes git.unknown-ref, git.unknown-subdir), RegistryError and its kinds, NoSpace.
        """
        mirror = self._fetched(pin)
        keeps = keeps_git_dir if pin.remote.keeps_git_dir is None else pin.remote.keeps_git_dir
        root = session.scratch("g")
        git_dir = root + "/.git" if keeps else session.scratch("m")
        env = git_command.local_environment(GIT_DIR=git_dir, GIT_WORK_TREE=root)
        doing = f"checking out {pin.commit[:12]} of {pin.remote.safe_url}"
        try:
            self._fill(pin, mirror, env, root, git_dir, keeps_git_dir=keeps)
        except GitFailed as failed:
            raise git_command.translated(failed, doing) from failed
        if pin.remote.has_submodules is not False and os.path.lexists(root + "/.gitmodules"):
            self._add_submodules(pin, root, git_dir)
        if not keeps:
            from chandlery.linux.removal import remove_tree

            remove_tree(git_dir)
            _remove_git_files(root)
        committed_at_s = _commit_time(mirror, pin.commit)
        if pin.remote.mtime == "commit":
            self._set_times(root, committed_at_s)
        return Checkout(self._subdir(pin, root), pin.commit, committed_at_s)

    # -- the mirror

    def _mirror(self, remote: GitRemote) -> str:
        return f"{self._store.layout.git}/{sha256(remote.url.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}"

    def _fetched(self, pin: GitPin) -> str:
        """The mirror, with the commit in it."""
        from chandlery.linux.flock import FileLock

        mirror = self._mirror(pin.remote)
        with FileLock(mirror + ".lock", timeout_s=_LOCK_TIMEOUT_S):
            self._make_mirror(mirror)
            if not _has_commit(mirror, pin.commit):
                self._fetch(pin, mirror)
            if not _has_commit(mirror, pin.commit):
                hint = "a force push may have removed it: build again, or name another commit"
                raise ContextError(f"{pin.remote.safe_url} has no commit {pin.commit}", code="git.unknown-ref", hint=hint)
        return mirror

    @staticmethod
    def _make_mirror(mirror: str) -> None:
        if not os.path.exists(mirror + "/HEAD"):
            git_command.run("init", "--quiet", "--bare", "--template=", mirror, env=git_command.local_environment())

    def _fetch(self, pin: GitPin, mirror: str) -> None:
        """Fetch one commit without its history; or, where the remote won't give that, everything."""
        keep = f"refs/chandlery/{pin.commit}"
        wanted = [f"+{pin.commit}:{keep}"] + ([f"+{pin.name}:{keep}"] if pin.name else [])
        for spec in wanted:
            for depth in (["--depth=1"], []):
                try:
                    self._remote_git(pin.remote, "fetch", "--quiet", "--no-tags", *depth, "--", pin.remote.url, spec, git_dir=mirror, translates=False)
                except GitFailed as failed:
                    text = failed.text.lower()
                    if depth and any(part in text for part in _CANT_BE_SHALLOW):
                        continue
                    if any(part in text for part in _CANT_FETCH_COMMIT):
                        break
                    raise git_command.translated(failed, f"fetching {pin.remote.safe_url}") from failed
                if _has_commit(mirror, pin.commit):
                    return
                break
        self._fetch_everything(pin.remote, mirror)

    def _fetch_everything(self, remote: GitRemote, mirror: str) -> None:
        unshallow = ["--unshallow"] if os.path.exists(mirror + "/shallow") else []
        specs = ("+refs/heads/*:refs/remote/heads/*", "+refs/tags/*:refs/remote/tags/*")
        self._remote_git(remote, "fetch", "--quiet", "--no-tags", *unshallow, "--", remote.url, *specs, git_dir=mirror)

    def _abbreviated(self, remote: GitRemote) -> str:
        """The commit of an abbreviated id, "" if it isn't one: only a repository knows, so everything is fetched."""
        from chandlery.linux.flock import FileLock

        if not 7 <= len(remote.ref) < 40 or remote.ref.strip("0123456789abcdef"):
            return ""
        mirror = self._mirror(remote)
        with FileLock(mirror + ".lock", timeout_s=_LOCK_TIMEOUT_S):
            self._make_mirror(mirror)
            commit = _parse_commit(mirror, remote.ref)
            if not commit:
                self._fetch_everything(remote, mirror)
                commit = _parse_commit(mirror, remote.ref)
        return commit

    # -- the checkout

    def _fill(self, pin: GitPin, mirror: str, env: dict[str, str], root: str, git_dir: str, *, keeps_git_dir: bool) -> None:
        git_command.run("init", "--quiet", "--template=", env=env)
        git_command.run("remote", "add", "origin", pin.remote.url, env=env)
        if keeps_git_dir:
            git_command.run("fetch", "--quiet", "--depth=1", "--no-tags", "file://" + mirror, pin.commit, env=env)
        else:
            _borrow(mirror, git_dir)
        git_command.run("checkout", "--quiet", "--force", "--detach", pin.commit, env=env, cwd=root)

    def _add_submodules(self, pin: GitPin, root: str, git_dir: str) -> None:
        env = self._environment(pin.remote) | {"GIT_DIR": git_dir, "GIT_WORK_TREE": root}
        if pin.remote.url.startswith("file://"):
            env = git_command.allowing_files(env)
        try:
            git_command.run("submodule", "--quiet", "update", "--init", "--recursive", "--depth=1", env=env, cwd=root, timeout_s=self._timeout_s)
        except GitFailed as failed:
            raise git_command.translated(failed, f"fetching the submodules of {pin.remote.safe_url}") from failed

    @staticmethod
    def _set_times(root: str, mtime_s: int) -> None:
        mtime_ns = mtime_s * 1_000_000_000
        for directory, directories, files in os.walk(root, topdown=False):
            for name in (*files, *directories):
                os.utime(os.path.join(directory, name), ns=(mtime_ns, mtime_ns), follow_symlinks=False)
        os.utime(root, ns=(mtime_ns, mtime_ns))

    @staticmethod
    def _subdir(pin: GitPin, root: str) -> str:
        wanted = clean(pin.remote.subdir)
        tree = ViewTree(root)
        found = resolve(tree, wanted)
        entry = tree.lookup(found)
        if entry is None or not entry.is_directory:
            hint = "check the part of the URL behind the colon"
            raise ContextError(f"{pin.remote.safe_url} has no directory {wanted} at {pin.commit[:12]}", code="git.unknown-subdir", hint=hint)
        return os.path.join(root, found) if found else root

    # -- talking to the remote

    def _environment(self, remote: GitRemote) -> dict[str, str]:
        if not self._auth_token or not remote.url.startswith("https://"):
            return git_command.remote_environment()
        import base64

        encoded = base64.b64encode(b"x-access-token:" + self._auth_token.encode()).decode()
        host = remote.url.partition("://")[2].partition("/")[0].rpartition("@")[2]
        return git_command.remote_environment(f"Authorization: basic {encoded}", f"https://{host}/")

    def _remote_git(self, remote: GitRemote, *arguments: str, git_dir: str = "", translates: bool = True) -> str:
        env = self._environment(remote)
        if git_dir:
            env["GIT_DIR"] = git_dir
        try:
            return git_command.run(*arguments, env=env, timeout_s=self._timeout_s)
        except GitFailed as failed:
            if not translates:
                raise
            raise git_command.translated(failed, f"asking {remote.safe_url}") from failed


def _meanings(ref: str) -> tuple[str, ...]:
    """Full names that a ref can mean, in the order in which git checkout prefers them: branches before tags."""
    if not ref:
        return ("HEAD",)
    return (ref, f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/{ref}")


def _checked(pin: GitPin) -> GitPin:
    if pin.remote.commit and not pin.commit.startswith(pin.remote.commit):
        raise ContextError(
            f"{pin.remote.safe_url} is at {pin.commit}, not at {pin.remote.commit}",
            code="git.checksum-mismatch",
            hint="the ref has moved, or the checksum is another one's",
        )
    return pin


def _has_commit(mirror: str, commit: str) -> bool:
    return _parse_commit(mirror, commit) == commit


def _commit_time(mirror: str, commit: str) -> int:
    text = git_command.run("show", "--no-patch", "--format=%ct", commit, env=git_command.local_environment(GIT_DIR=mirror))
    return int(text.split()[0])


def _parse_commit(mirror: str, ref: str) -> str:
    try:
        return git_command.run("rev-parse", "--quiet", "--verify", f"{ref}^{{commit}}", env=git_command.local_environment(GIT_DIR=mirror)).strip()
    except (GitFailed, RegistryError):
        return ""


def _borrow(mirror: str, git_dir: str) -> None:
    """Let a repository use the mirror's objects instead of copying them (gitrepository-layout(5), objects/info/alternates)."""
    os.makedirs(git_dir + "/objects/info", exist_ok=True)
    with open(git_dir + "/objects/info/alternates", "w", encoding="utf-8") as file:
        file.write(mirror + "/objects\n")
    try:
        with open(mirror + "/shallow", "rb") as source:
            grafts = source.read()
    except FileNotFoundError:
        return
    with open(git_dir + "/shallow", "wb") as out:
        out.write(grafts)


def _remove_git_files(root: str) -> None:
    """Remove the .git that each submodule has."""
    from chandlery.linux.removal import remove_tree

    for directory, directories, files in os.walk(root):
        if ".git" in files:
            os.unlink(directory + "/.git")
        if ".git" in directories:
            directories.remove(".git")
            remove_tree(directory + "/.git")
