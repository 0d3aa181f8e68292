"""The command line's words as a request: everything checked before anything begins."""

import io
import sys

import pytest

from chandlery.cli import build
from chandlery.cli.arguments import parse
from chandlery.cli.build_request import to_request
from chandlery.cli.settings import trusting
from chandlery.config import Settings
from chandlery.engine.lowering import lower_options
from chandlery.engine.request import BuildRequest, Output, OutputKind
from chandlery.errors import RequestError
from chandlery.graph.op import Network
from chandlery.runtime.process import Ulimit
from chandlery.runtime.secrets import SecretSource


def request(*arguments: str, environment: dict[str, str] | None = None) -> BuildRequest:
    settings = Settings(environment or {}, "/nowhere")
    return to_request(parse("build", build, [*arguments, "."], settings), settings)


def refusal(*arguments: str, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(RequestError) as raised:
        request(*arguments, environment=environment)
    return raised.value.code


def test_a_build_argument_without_a_value_comes_from_the_environment_or_not_at_all():
    made = request("--build-arg", "A", "--build-arg", "B=2", "--build-arg", "C", environment={"A": "1"})
    assert made.build_args == (("A", "1"), ("B", "2"))


def test_source_date_epoch_of_the_environment_is_a_build_argument():
    assert request(environment={"SOURCE_DATE_EPOCH": "7"}).build_args == (("SOURCE_DATE_EPOCH", "7"),)
    assert request("--build-arg=SOURCE_DATE_EPOCH=1", environment={"SOURCE_DATE_EPOCH": "7"}).build_args == (("SOURCE_DATE_EPOCH", "1"),)


def test_labels_may_be_empty_but_not_nameless():
    assert request("--label", "a", "--label", "b=c=d").labels == (("a", ""), ("b", "c=d"))
    assert refusal("--label", "=x") == "request.usage"


@pytest.mark.parametrize("name", ["UPPER", "a b", "x:", "x@sha256:" + "0" * 64])
def test_names_are_checked_before_the_build(name):
    assert refusal("-t", name) == "reference.malformed"
    assert refusal("-o", f"type=image,name={name}") == "reference.malformed"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("--push", "-t", "a"), (Output(OutputKind.IMAGE, "", (("push", "true"),)),)),
        (("--push", "-t", "a", "-o", "type=image"), (Output(OutputKind.IMAGE, "", (("push", "true"),)),)),
        (("--push", "-t", "a", "-o", "type=tar,dest=/x"), (Output(OutputKind.TAR, "/x"), Output(OutputKind.IMAGE, "", (("push", "true"),)))),
        (("--load",), (Output(OutputKind.IMAGE),)),
        ((), ()),
    ],
)
def test_push_and_load_add_to_the_outputs(given, expected):
    assert request(*given).outputs == expected


def test_a_push_needs_a_name():
    assert refusal("--push") == "request.no-name"
    assert refusal("-o", "type=registry") == "request.no-name"


def test_two_outputs_can_not_share_standard_output():
    assert refusal("-o", "-", "-o", "type=oci") == "request.usage"


def test_an_archive_is_not_written_to_a_terminal(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert refusal("-o", "type=tar") == "request.terminal"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id=a,env=B", SecretSource("a", env="B")),
        ("id=a,type=env", SecretSource("a", env="a")),
        ("id=HOME_TOKEN", SecretSource("HOME_TOKEN", env="HOME_TOKEN")),
        ('"id=a,b",env=B', SecretSource("a,b", env="B")),
    ],
)
def test_secrets_of_the_environment(text, expected):
    assert request("--secret", text, environment={"HOME_TOKEN": "t", "B": "b"}).secrets == (expected,)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("src=x", "request.bad-secret"),
        ("id=a,typ=env", "request.bad-secret"),
        ("id=a,type=x", "request.bad-secret"),
        ("id=a,src=/nothing", "request.missing-secret"),
    ],
)
def test_secrets_that_can_not_be(text, code):
    assert refusal("--secret", text) == code


def test_ulimits_have_known_names_and_a_soft_one_below_the_hard_one():
    assert request("--ulimit", "nofile=10:20", "--ulimit", "core=-1").ulimits == (Ulimit("nofile", 10, 20), Ulimit("core", -1, -1))
    for text in ("nofile", "files=1", "nofile=2:1", "nofile=a", "nofile=-1:5", "nofile=-2"):
        assert refusal("--ulimit", text) == "request.bad-ulimit"


def test_hosts_take_every_form_of_address():
    hosts = request("--add-host", "a:10.0.0.1", "--add-host", "b=::1", "--add-host", "c:[2001:db8::1]", "--add-host", "d:host-gateway").hosts
    assert hosts == (("a", "10.0.0.1"), ("b", "::1"), ("c", "2001:db8::1"), ("d", "host-gateway"))
    assert refusal("--add-host", "a:nowhere") == "request.bad-host"


def test_limits_come_from_both_spellings_and_the_short_one_wins():
    limits = request("--resource", "memory=1g,cpu-quota=50000", "-m", "2g", "--cpuset-cpus", "0-1").limits
    assert (limits.memory_bytes, limits.cpu_quota_us, limits.cpuset_cpus) == (2 << 30, 50000, "0-1")
    assert refusal("--resource", "disk=1g") == "request.bad-resource"


def test_networks():
    assert request("--network", "none").network is Network.NONE
    assert refusal("--network", "container:x") == "request.bad-network"


def test_dockers_proxies_become_build_arguments(tmp_path):
    (tmp_path / "config.json").write_text('{"proxies": {"default": {"httpProxy": "http://p"}}}')
    environment = {"DOCKER_CONFIG": str(tmp_path)}
    assert request(environment=environment).proxy_args == (("HTTP_PROXY", "http://p"), ("http_proxy", "http://p"))


@pytest.mark.parametrize("text", ["{", "[]", '{"proxies": []}', '{"proxies": {"default": []}}', '{"proxies": {"default": "x"}}', "[" * 100_000])
def test_a_broken_docker_configuration_is_told_and_not_a_traceback(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    assert refusal(environment={"DOCKER_CONFIG": str(tmp_path)}) == "config.unreadable"


def stdin(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_dockerfile_comes_from_standard_input(monkeypatch):
    stdin(monkeypatch, b"FROM scratch\n")
    made = request("-f", "-")
    assert (made.context, made.dockerfile_text) == (".", "FROM scratch\n")


@pytest.mark.parametrize(("data", "code"), [(b"  \n", "request.empty-stdin"), (b"\xff\xfe", "request.bad-stdin"), (b"#" * (17 << 20), "request.bad-stdin")])
def test_standard_input_that_is_no_dockerfile_is_refused(monkeypatch, data, code):
    stdin(monkeypatch, data)
    assert refusal("-f", "-") == code


def test_a_closed_standard_input_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert refusal("-f", "-") == "request.empty-stdin"


def test_an_output_may_name_its_registry_insecure():
    made = request("-t", "registry.lan:5000/app", "-o", "type=registry,registry.insecure=true")
    assert trusting(made, Settings({}, "/")).insecure_registries == ("registry.lan:5000",)
    assert trusting(request("-t", "registry.lan:5000/app", "--push"), Settings({}, "/")).insecure_registries == ()


def test_caches_of_dependencies_are_checked_and_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    made = request("--deps-cache", "tar:share", "--deps-cache", "dir:/npm,target=/root/.npm")
    assert made.deps_caches == (f"tar:{tmp_path}/share,target=/root/.m2", "dir:/npm,target=/root/.npm")
    assert refusal("--deps-cache", "/share") == "request.bad-deps-cache"
    assert refusal("--deps-cache=tar:/a", "--deps-cache=tar:/b") == "request.bad-deps-cache"


def test_an_image_as_a_context_may_be_optional():
    contexts = dict(lower_options(request("--build-context", "a=docker-image://x", "--build-context", "b=docker-image://x,optional")).contexts)
    assert (contexts["a"].is_optional, contexts["b"].is_optional) == (False, True)
    with pytest.raises(RequestError) as raised:
        lower_options(request("--build-context", "a=docker-image://x,perhaps"))
    assert raised.value.code == "request.bad-context"
