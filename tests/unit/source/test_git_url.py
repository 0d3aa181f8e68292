"""Git URLs: what they ask for, and what is refused before git or ssh sees it."""

import pytest

from chandlery.errors import RequestError
from chandlery.source.git_url import GitRemote, is_git_url, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://host/x/repo.git", GitRemote("https://host/x/repo.git")),
        ("https://host/x/repo.git#main", GitRemote("https://host/x/repo.git", "main")),
        ("https://host/x/repo.git#feature/a:sub/dir", GitRemote("https://host/x/repo.git", "feature/a", "sub/dir")),
        ("https://host/x/repo.git#:dir", GitRemote("https://host/x/repo.git", "", "dir")),
        ("git@host:x/repo.git#v1", GitRemote("git@host:x/repo.git", "v1")),
        ("ssh://git@host:2222/x/repo", GitRemote("ssh://git@host:2222/x/repo")),
        ("git://host/repo.git", GitRemote("git://host/repo.git")),
        ("file:///srv/repo#main", GitRemote("file:///srv/repo", "main")),
        ("github.com/a/b", GitRemote("https://github.com/a/b")),
        ("https://host/r.git?tag=v1", GitRemote("https://host/r.git", "refs/tags/v1")),
        ("https://host/r.git?branch=b&subdir=s", GitRemote("https://host/r.git", "refs/heads/b", "s")),
        ("https://host/r.git?ref=r&commit=abcdef1", GitRemote("https://host/r.git", "r", "", "abcdef1")),
        ("https://host/r.git?checksum=abcdef1", GitRemote("https://host/r.git", "abcdef1", "", "abcdef1")),
        ("https://host/r.git?keep-git-dir&submodules=false", GitRemote("https://host/r.git", keeps_git_dir=True, has_submodules=False)),
        ("https://host/r.git?mtime=commit", GitRemote("https://host/r.git", mtime="commit")),
        ("git@host:r.git?branch=b", GitRemote("git@host:r.git", "refs/heads/b")),
    ],
)
def test_a_url_is_taken_apart(text: str, expected: GitRemote) -> None:
    assert is_git_url(text)
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["https://host/a.tar.gz", "http://host/x", ".", "./a.git", "/a/b.git", "a", "docker-image://x", "C:/a", "host:path"])
def test_other_things_are_no_git_urls(text: str) -> None:
    assert not is_git_url(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("ssh://-oProxyCommand=touch%20x/repo.git", "git.hostile-url"),
        ("ssh://git@-oProxyCommand=x/repo.git", "git.hostile-url"),
        ("git@-oProxyCommand:repo.git", "git.hostile-url"),
        ("git@host:-x/repo.git", "git.hostile-url"),
        ("https://host/r.git#--upload-pack=x", "git.hostile-url"),
        ("ext::sh -c id", "git.malformed-url"),
        ("ext::sh%20-c%20id", "git.malformed-url"),
        ("git+ext://x", "git.malformed-url"),
        ("https://ext::x/r.git", "git.hostile-url"),
        ("https://host/r.git\n", "git.malformed-url"),
        ("https://host/r.git#a..b/../c", "git.malformed-url"),
        ("https://host/r.git#a~1", "git.malformed-url"),
        ("https://host/r.git?x=1", "git.malformed-url"),
        ("https://host/r.git?ref=a&tag=b", "git.malformed-url"),
        ("https://host/r.git?ref=b#a", "git.malformed-url"),
        ("https://host/r.git?ref=", "git.malformed-url"),
        ("https://host/r.git?subdir=a#:b", "git.malformed-url"),
        ("https://host/r.git?keep-git-dir=maybe", "git.malformed-url"),
        ("https://host/r.git?commit=xyz", "git.malformed-url"),
    ],
)
def test_what_can_not_be_meant_is_refused(text: str, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(text)
    assert caught.value.code == code


def test_a_password_is_not_shown() -> None:
    assert "hunter2" not in parse("https://me:hunter2@host/r.git").safe_url
    assert "ghp_token" not in parse("https://ghp_token@host/r.git").safe_url
    assert parse("ssh://git@host/r.git").safe_url == "ssh://git@host/r.git"
