import base64
import json
import os
import stat

import pytest

from chandlery.registry.credentials import Credentials, find
from chandlery.registry.settings import Proxies, from_environment


@pytest.fixture
def config(tmp_path):
    def write(document: object, name: str = "config.json") -> str:
        path = tmp_path / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return str(path)

    return write


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """Put a program docker-credential-NAME first on the PATH."""

    def write(name: str, script: str) -> None:
        path = tmp_path / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return write


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize("key", ["r.example:5000", "https://r.example:5000", "http://r.example:5000/v1/"])
def test_auths_are_found_by_host_however_written(config, key):
    path = config({"auths": {key: auth("me:p:w")}})
    assert find((path,), "r.example:5000") == Credentials("me", "p:w")
    assert find((path,), "r.example").is_anonymous


def test_docker_hub_is_kept_under_its_old_address(config):
    path = config({"auths": {"https://index.docker.io/v1/": auth("me:pw")}})
    assert find((path,), "docker.io") == Credentials("me", "pw")


def test_namespace_of_a_podman_file_wins_over_its_host(config):
    path = config({"auths": {"r.example": auth("all:1"), "r.example/team": auth("team:2")}})
    assert find((path,), "r.example", "team/app").username == "team"
    assert find((path,), "r.example", "other").username == "all"


def test_identity_token_is_recognised(config):
    path = config({"auths": {"r.example": {**auth("<token>:"), "identitytoken": "t"}}})
    assert find((path,), "r.example") == Credentials(identity_token="t")


def test_first_file_that_knows_something_wins(config):
    first, second = config({"auths": {"a": auth("a:1")}}, "1"), config({"auths": {"a": auth("b:2"), "c": auth("c:3")}}, "2")
    assert find((first, second), "a").username == "a"
    assert find((first, second), "c").username == "c"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"auths": null}', '{"auths": {"a": 1}}', '{"auths": {"a": {"auth": "%%%"}}}'])
def test_damaged_file_leaves_us_anonymous(config, text):
    assert find((config(text),), "a").is_anonymous


def test_helper_is_asked_with_the_server_on_its_input(config, helper):
    helper("box", 'read server; echo "{\\"Username\\": \\"for-$server\\", \\"Secret\\": \\"s\\"}"')
    assert find((config({"credHelpers": {"r.example": "box"}}),), "r.example") == Credentials("for-r.example", "s")
    assert find((config({"credsStore": "box"}),), "docker.io") == Credentials("for-https://index.docker.io/v1/", "s")


def test_helper_may_hold_an_identity_token(config, helper):
    helper("box", 'echo \'{"Username": "<token>", "Secret": "t"}\'')
    assert find((config({"credsStore": "box"}),), "r.example") == Credentials(identity_token="t")


def test_helper_that_knows_nothing_falls_through_to_auths(config, helper):
    helper("box", "echo 'credentials not found in native keychain'; exit 1")
    assert find((config({"credsStore": "box", "auths": {"a": auth("x:y")}}),), "a").username == "x"


@pytest.mark.parametrize("script", ["exit 3", "echo no json", "echo '{}'"])
def test_helper_that_fails_leaves_us_anonymous_with_the_reason(config, helper, script):
    helper("box", script)
    found = find((config({"credsStore": "box"}),), "a")
    assert found.is_anonymous
    assert "docker-credential-box" in found.problem


def test_missing_helper_is_a_reason_and_a_path_is_none(config):
    assert "not installed" in find((config({"credsStore": "surely-absent"}),), "a").problem
    assert "not a name" in find((config({"credsStore": "../../bin/sh"}),), "a").problem


def test_helper_that_hangs_is_given_up(config, helper, monkeypatch):
    monkeypatch.setattr("chandlery.registry.credentials.HELPER_TIMEOUT_S", 0.2)
    helper("box", "exec sleep 5")
    assert "TimeoutExpired" in find((config({"credsStore": "box"}),), "a").problem


def test_settings_come_from_the_environment(config):
    settings = from_environment(
        {"HOME": "/h", "DOCKER_CONFIG": "/d", "XDG_RUNTIME_DIR": "/run/u", "CHANDLERY_INSECURE_REGISTRIES": "a:1, b:2", "SSL_CERT_FILE": "/ca"},
        insecure=("c",),
    )
    assert settings.auth_files == ("/d/config.json", "/run/u/containers/auth.json")
    assert settings.insecure == ("c", "a:1", "b:2")
    assert settings.ca_file == "/ca"
    assert "/h/.config/containers/certs.d" in settings.certs_d


def test_proxies_come_from_the_environment_or_else_from_docker(tmp_path, config):
    config({"proxies": {"default": {"httpsProxy": "http://d:1", "noProxy": "x"}}})
    place = {"DOCKER_CONFIG": str(tmp_path)}
    assert from_environment(place).proxies == Proxies("", "http://d:1", "x")
    assert from_environment({**place, "HTTPS_PROXY": "http://e:2", "no_proxy": "y"}).proxies == Proxies("", "http://e:2", "y")
    assert from_environment({"HTTP_PROXY": "http://evil", "REQUEST_METHOD": "GET"}).proxies == Proxies()
