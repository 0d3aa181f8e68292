"""Real repositories over file://, the git protocol and (dumb) http on loopback."""

import http.server
import os
import socket
import subprocess
import threading
from functools import partial
from pathlib import Path

import pytest

from chandlery.content.store import Store
from chandlery.errors import ChandleryError
from chandlery.source.git import GitSource
from chandlery.source.git_url import parse

ENV = {
    "PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t",
    "GIT_AUTHOR_DATE": "2001-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2001-01-01T00:00:00Z",
}  # fmt: skip


def git(directory: Path, *arguments: str) -> str:
    settings = ("-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always", "-c", "uploadpack.allowAnySHA1InWant=true")
    return subprocess.run(["git", *settings, *arguments], cwd=directory, env=ENV, check=True, capture_output=True, text=True).stdout.strip()


def commit(repository: Path, **files: str) -> str:
    for name, text in files.items():
        path = repository / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "m")
    return git(repository, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path):
    path = tmp_path / "srv" / "repo.git"
    path.mkdir(parents=True)
    git(path, "init", "-q")
    commit(path, a="1", sub__b="2")
    return path


@pytest.fixture
def box(tmp_path):
    with Store.open(str(tmp_path / "R")) as store, store.begin() as session:
        yield Box(store, session)


class Box:
    def __init__(self, store, session) -> None:
        self.store = store
        self.session = session
        self.source = GitSource(store, timeout_s=60)

    def files(self, url: str, **options) -> dict[str, str]:
        root = Path(self.source.checkout(self.source.pin(parse(url)), self.session, **options).root)
        return {
            str(path.relative_to(root)): path.read_text(errors="replace") for path in sorted(root.rglob("*")) if path.is_file() and ".git" not in path.parts
        }

    def fails(self, url: str) -> str:
        with pytest.raises(ChandleryError) as caught:
            self.files(url)
        return caught.value.code


def test_branches_tags_commits_and_subdirectories(box, repository) -> None:
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", "-a", "v1", "-m", "annotated")
    git(repository, "checkout", "-q", "-b", "feature/x")
    second = commit(repository, a="3")
    git(repository, "checkout", "-q", "main")
    url = f"file://{repository}"
    assert box.files(url) == {"a": "1", "sub/b": "2"}
    assert box.files(url + "#v1") == box.files(url + "?tag=v1") == box.files(f"{url}#{first}") == box.files(f"{url}#{first[:10]}")
    assert box.files(url + "#feature/x") == box.files(url + "?branch=feature/x") == box.files(f"{url}#{second}") == {"a": "3", "sub/b": "2"}
    assert box.files(url + "#main:sub") == box.files(url + "#:sub") == {"b": "2"}
    assert box.source.pin(parse(url + "#v1")).commit == first


def test_modes_are_normalised_and_git_is_left_out(box, repository) -> None:
    (repository / "run").write_text("x")
    (repository / "run").chmod(0o777)
    commit(repository)
    before = os.umask(0o077)
    try:
        root = Path(box.source.checkout(box.source.pin(parse(f"file://{repository}")), box.session).root)
    finally:
        os.umask(before)
    assert [(root / name).stat().st_mode & 0o777 for name in ("a", "run", "sub")] == [0o644, 0o755, 0o755]
    assert not (root / ".git").exists()


def test_git_is_kept_on_request_and_complete(box, repository) -> None:
    for url, options in ((f"file://{repository}", {"keeps_git_dir": True}), (f"file://{repository}?keep-git-dir=1", {})):
        root = Path(box.source.checkout(box.source.pin(parse(url)), box.session, **options).root)
        assert git(root, "status", "--porcelain") == ""
        assert git(root, "remote", "get-url", "origin") == f"file://{repository}"
        assert not (root / ".git/objects/info/alternates").exists()


def test_a_second_fetch_moves_only_new_commits(box, repository) -> None:
    (repository / "big").write_bytes(os.urandom(400_000))
    commit(repository)
    box.files(f"file://{repository}")
    before = mirror_size(box)
    commit(repository, a="new")
    assert box.files(f"file://{repository}")["a"] == "new"
    assert mirror_size(box) - before < 50_000


def mirror_size(box) -> int:
    return sum(path.stat().st_size for path in Path(box.store.layout.git).rglob("*") if path.is_file())


def test_what_is_mirrored_needs_no_remote(box, repository, tmp_path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    url = f"file://{repository}#{first}"
    box.files(url)
    repository.rename(tmp_path / "gone")
    assert box.files(url)["a"] == "1"


def test_submodules_come_along_unless_they_are_not_wanted(box, repository, tmp_path) -> None:
    inner = tmp_path / "srv" / "inner.git"
    inner.mkdir()
    git(inner, "init", "-q")
    commit(inner, x="inner")
    git(repository, "submodule", "--quiet", "add", f"file://{inner}", "mod")
    commit(repository)
    assert box.files(f"file://{repository}")["mod/x"] == "inner"
    root = Path(box.source.checkout(box.source.pin(parse(f"file://{repository}")), box.session).root)
    assert not (root / "mod/.git").exists()
    assert "mod/x" not in box.files(f"file://{repository}?submodules=false")


def test_times_of_the_commit_on_request(box, repository) -> None:
    root = Path(box.source.checkout(box.source.pin(parse(f"file://{repository}?mtime=commit")), box.session).root)
    assert {path.stat().st_mtime for path in (root, *root.rglob("*"))} == {978307200.0}


def test_what_can_not_be_had_is_said(box, repository) -> None:
    url = f"file://{repository}"
    assert box.fails(url + "#none") == "git.unknown-ref"
    assert box.fails(url + "#" + "0" * 40) == "git.unknown-ref"
    assert box.fails(url + "#abcdef12") == "git.unknown-ref"
    assert box.fails(url + "#:none") == "git.unknown-subdir"
    assert box.fails(url + "#:a") == "git.unknown-subdir"
    assert box.fails(url + "?checksum=" + "1" * 40) == "git.unknown-ref"
    assert box.fails(url + "?ref=main&checksum=" + "1" * 40) == "git.checksum-mismatch"
    assert box.fails(f"file://{repository}-none") == "git.not-found"


def test_a_subdirectory_that_is_a_link_stays_inside(box, repository) -> None:
    os.symlink("/etc", repository / "out")
    os.symlink("sub", repository / "in")
    commit(repository)
    assert box.fails(f"file://{repository}#:out") == "git.unknown-subdir"
    assert box.files(f"file://{repository}#:in") == {"b": "2"}


def test_nothing_listens(box) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for scheme in ("git", "http"):
        with pytest.raises(ChandleryError) as caught:
            box.source.pin(parse(f"{scheme}://127.0.0.1:{port}/repo.git"))
        assert (caught.value.code, caught.value.retryable) == ("git.unreachable", True)


def test_over_the_git_protocol(box, repository, tmp_path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    daemon = subprocess.Popen(
        ["git", "daemon", f"--port={port}", "--listen=127.0.0.1", "--export-all", "--reuseaddr", f"--base-path={tmp_path}/srv"],
        env=ENV | {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(port)
        url = f"git://127.0.0.1:{port}/repo.git"
        assert box.files(url)["a"] == "1"
        commit(repository, a="2")
        assert box.files(url)["a"] == "2"
        assert box.fails(f"git://127.0.0.1:{port}/none.git") in ("git.not-found", "git.denied")
    finally:
        os.killpg(daemon.pid, 15)
        daemon.wait()


def wait_for(port: int) -> None:
    import time

    for _ in range(100):
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.05)


def test_over_http_from_a_server_that_knows_nothing_of_git(box, repository, tmp_path) -> None:
    bare = tmp_path / "web" / "repo.git"
    git(tmp_path, "clone", "-q", "--bare", str(repository), str(bare))
    git(bare, "update-server-info")
    handler = partial(Quiet, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/repo.git"
            assert box.files(url)["a"] == "1"
            assert box.fails(f"http://127.0.0.1:{server.server_port}/none.git") == "git.not-found"
            Quiet.status = 401
            assert box.fails(f"http://127.0.0.1:{server.server_port}/secret.git") == "git.denied"
        finally:
            Quiet.status = 0
            server.shutdown()
            thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    status = 0

    def do_GET(self) -> None:
        if self.status:
            self.send_response(self.status)
            self.send_header("WWW-Authenticate", "Basic realm=x")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


def test_builds_at_once_share_a_mirror(box, repository) -> None:
    found: list[dict[str, str]] = []
    threads = [threading.Thread(target=lambda: found.append(box.files(f"file://{repository}"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{"a": "1", "sub/b": "2"}] * 4
