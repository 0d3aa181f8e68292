from chandlery.runtime import bundle, seccomp
from chandlery.runtime.etc_files import hosts_text
from chandlery.runtime.process import RuntimeMount, StepNetwork, StepSpec, StepUser, Ulimit


def spec(**changes):
    return StepSpec(**({"argv": ("true",), "rootfs": "/r"} | changes))


def namespaces(document):
    return {one["type"]: one.get("path", "") for one in document["linux"]["namespaces"]}


def test_networks_are_namespaces():
    assert namespaces(bundle.config(spec(), network_path="/proc/1/fd/3"))["network"] == "/proc/1/fd/3"
    assert namespaces(bundle.config(spec(network=StepNetwork.NONE), network_path="/proc/1/fd/3"))["network"] == ""
    assert "network" not in namespaces(bundle.config(spec(network=StepNetwork.HOST)))


def test_home_is_the_users_unless_the_step_has_one():
    assert "HOME=/home/a" in bundle.config(spec(user=StepUser(5, 5, (), "/home/a")))["process"]["env"]
    assert bundle.config(spec(env=("HOME=/x",)))["process"]["env"] == ["HOME=/x"]


def test_only_root_has_capabilities_at_once():
    assert bundle.config(spec(user=StepUser(5)))["process"]["capabilities"]["effective"] == []
    assert len(bundle.config(spec())["process"]["capabilities"]["effective"]) == 14


def test_unlimited_is_the_kernels_largest_number():
    (limit,) = bundle.config(spec(ulimits=(Ulimit("core", -1, -1),)))["process"]["rlimits"]
    assert limit == {"type": "RLIMIT_CORE", "soft": 2**64 - 1, "hard": 2**64 - 1}


def test_mounts_come_behind_the_runtimes_own():
    mounts = bundle.config(spec(mounts=(RuntimeMount("/t", kind="tmpfs", size_bytes=5), RuntimeMount("/b", "/s", is_read_only=True))))["mounts"]
    assert mounts[-2]["options"] == ["nosuid", "nodev", "mode=1777", "size=5"]
    assert mounts[-1] == {"destination": "/b", "type": "bind", "source": "/s", "options": ["rbind", "rprivate", "ro"]}


def test_the_profile_denies_by_default_and_answers_clone3_as_unknown():
    profile = seccomp.profile()
    allowed = {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {"openat2", "fchmodat2", "statx"} <= allowed
    assert not allowed & {"mount", "setns", "unshare", "bpf", "keyctl", "clone3", "io_uring_setup", "reboot", "kexec_load", "userfaultfd"}


def test_hosts_begin_with_the_requests():
    assert hosts_text("ship", [("db", "10.0.0.5")]).splitlines()[:2] == ["10.0.0.5\tdb", "127.0.0.1\tlocalhost ship"]
