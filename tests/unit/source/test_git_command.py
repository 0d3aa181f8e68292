"""What git's words mean."""

import pytest

from chandlery.source.git_command import GitFailed, translated


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("fatal: unable to access 'http://127.0.0.1:40123/r.git/': The requested URL returned error: 403", "git.denied"),
        ("fatal: Authentication failed for 'https://host/r.git/'", "git.denied"),
        ("error: RPC failed; HTTP 401 curl 22", "git.denied"),
        ("fatal: repository 'http://127.0.0.1:40123/none.git/' not found", "git.not-found"),
        ("fatal: unable to access 'http://127.0.0.1:40321/r.git/': Failed to connect to 127.0.0.1 port 40321", "git.unreachable"),
    ],
)
def test_a_failure_is_told_by_its_words_and_not_by_a_port_that_looks_like_a_status(said: str, code: str) -> None:
    assert translated(GitFailed(said), "fetching").code == code
