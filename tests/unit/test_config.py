"""Settings: who wins, and what a stranger's project may not choose."""

import os

import pytest

from chandlery.config import Settings, load
from chandlery.errors import RequestError


class Machine:
    """A machine's, a user's and a project's file, below one directory."""

    def __init__(self, directory) -> None:
        self.directory = directory
        self.environment = {"HOME": str(directory / "home"), "CHANDLERY_CONFIG": str(directory / "machine.toml")}

    def write(self, *, machine: str = "", user: str = "", project: str = "") -> "Machine":
        for name, text in (("machine.toml", machine), ("home/.config/chandlery/chandlery.toml", user), ("project/chandlery.toml", project)):
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return self

    def load(self, **environment: str) -> Settings:
        return load({**self.environment, **environment}, str(self.directory / "project"))

    def refusal(self) -> str:
        with pytest.raises(RequestError) as raised:
            self.load()
        return raised.value.code


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_without_files_there_are_defaults(machine):
    settings = machine.load()
    assert settings.max_steps == 64
    assert os.path.isabs(settings.root)


def test_the_user_wins_over_the_machine_and_the_environment_over_both(machine):
    machine.write(machine='root = "/m"\nruntime = "runc"', user='root = "/u"')
    assert (machine.load().root, machine.load().runtime) == ("/u", "runc")
    assert machine.load(CHANDLERY_ROOT="/e", CHANDLERY_RUNTIME="crun").root == "/e"
    assert machine.load(CHANDLERY_RUNTIME="crun").runtime == "crun"


def test_defaults_of_commands_come_in_the_order_of_the_files(machine):
    machine.write(machine='[build]\nprogress = "tty"', user="[build]\nno-cache = true", project='[build]\nprogress = "plain"\nlabel = ["a=1", "b=2"]')
    assert machine.load().defaults("build") == [("progress", "tty"), ("no-cache", "true"), ("progress", "plain"), ("label", "a=1"), ("label", "b=2")]
    assert machine.load().defaults("push") == []


@pytest.mark.parametrize("text", ['root = "/p"', 'insecure-registries = ["x"]', '[mirrors]\n"docker.io" = ["http://evil"]', "[prune]", 'certs-d = ["/p"]'])
def test_a_project_does_not_choose_the_store_or_whom_to_trust(machine, text):
    assert machine.write(project=text).refusal() == "config.untrusted-key"


@pytest.mark.parametrize(
    "text",
    [
        '[build]\nroot = "/p"', '[build]\nsecret = ["id=k,src=/home/me/.ssh/id_rsa"]', '[build]\nnetwork = "host"', '[run]\nvolume = ["/:/host"]',
        '[build]\noutput = ["type=local,dest=/etc"]', '[build]\nbuild-context = ["etc=/etc"]', '[push]\ninsecure-registry = ["registry.example"]',
        '[build]\nca-certs = "evil.pem"', '[build]\niidfile = "/etc/passwd"', '[build]\ncache-scope = "other"',
    ],
)  # fmt: skip
def test_a_project_does_not_reach_into_this_machine(machine, text):
    assert machine.write(project=text).refusal() == "config.untrusted-key"
    machine.write(user=text, project="")
    assert machine.load().commands


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("rot = 1", "config.unknown-key"), ("root =", "config.unreadable"), ("root = 1", "config.bad-value"), ("max-steps = 0", "config.bad-value"),
        ("max-steps = true", "config.bad-value"), ('mirrors = "x"', "config.bad-value"), ("[mirrors]\na = 1", "config.bad-value"),
        ("insecure-registries = [1]", "config.bad-value"), ("[prune]\nmax = 1", "config.unknown-key"), ("[build]\nlabel = 1.5", "config.bad-value"),
        ("[build]\nlabel = [[1]]", "config.bad-value"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(machine, text, code):
    assert machine.write(user=text).refusal() == code


def test_one_text_stands_for_a_list_of_one(machine):
    machine.write(user='insecure-registries = "r:1"\n[mirrors]\n"docker.io" = "http://m"')
    assert machine.load().insecure_registries == ("r:1",)
    assert machine.load().mirrors == (("docker.io", ("http://m",)),)


def test_insecure_registries_of_the_environment_replace_the_files(machine):
    machine.write(user='insecure-registries = ["r:1"]')
    assert machine.load(CHANDLERY_INSECURE_REGISTRIES="a:1, b:2").insecure_registries == ("a:1", "b:2")
