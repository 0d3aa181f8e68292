"""Cache volumes and remotes that are unreachable, slow, full, read-only, lying or odd: the build goes on, with one warning that says why."""

import json
import os
import random
import shutil
import subprocess
import sys
import time

import pytest
from tests.fakes.machine import KEY, Machine
from tests.fakes.registry import FakeRegistry

from chandlery.oci import reference
from chandlery.registry.client import RegistryClient
from chandlery.registry.settings import RegistrySettings
from chandlery.volume.remote_directory import DirectoryRemote
from chandlery.volume.remote_registry import RegistryRemote

# several frames, so that several requests are made
FILES = {"org/big.jar": random.Random(1).randbytes(10_000_000), "org/small.jar": b"small" * 2000, "org/index": b"1"}
OWN = {"own": b"own"}
MORE = {"com/more.jar": b"more" * 5000}


@pytest.fixture
def fake():
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def machines(tmp_path, fake):
    """Three machines with a client each, which gives up as soon as a build's does, only faster."""
    made, clients = [], []
    for name in ("one", "two", "three"):
        settings = RegistrySettings(insecure=(fake.host,), auth_files=(auth_file(tmp_path, fake),), connect_timeout_s=0.5, read_timeout_s=0.5, attempts=3)
        clients.append(RegistryClient(settings, sleep=lambda seconds: time.sleep(min(seconds, 0.01))))
        made.append(Machine(tmp_path / name, RegistryRemote(clients[-1], reference.parse(f"{fake.host}/caches"), KEY)))
    yield made
    for machine, client in zip(made, clients, strict=True):
        machine.store.close()
        client.close()


def auth_file(tmp_path, fake):
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": {fake.host: {"username": "user", "password": "secret"}}}))
    return str(path)


def heads_and_blobs(fake):
    return {key: raw for key, (raw, _) in fake.manifests.items() if ":" not in key[1]}, set(fake.blobs)


# what works in spite of it


@pytest.mark.parametrize(
    "fault",
    [
        "ignores_range",
        "refuses_delete",
        "immutable_tags",
        "expiring_redirects",
        "no_digest_header",
        "odd_pages",
        "endless_pages",
    ],
)
def test_a_registry_s_oddity_costs_nobody_anything(fake, machines, fault):
    one, two, three = machines
    setattr(fake.faults, fault, True)
    one.build(FILES)
    assert two.build(MORE) == FILES
    assert three.sees() == {**FILES, **MORE}
    assert one.build() == {**FILES, **MORE}
    assert [machine.warnings for machine in machines] == [[], [], []]


def test_many_pages_of_heads_are_all_read(fake, machines):
    one, two, three = machines
    fake.faults.refuses_delete = True
    fake.page_size = 2
    for number in range(7):
        (one, two)[number % 2].build({f"{number}.jar": b"%d" % number * 5000})
    assert len(three.sees()) == 7
    assert three.warnings == []


def test_rate_limits_are_waited_out(fake, machines):
    one, two, _ = machines
    for machine, files in ((one, FILES), (two, MORE)):
        fake.faults.rate_limits, fake.faults.retry_after = 2, "1"
        machine.build(files)
    assert one.sees() == {**FILES, **MORE}
    assert one.warnings == two.warnings == []


@pytest.mark.parametrize("fault", ["drops", "server_errors", "cuts", "upload_cuts", "lost_answers", "stalls"])
def test_a_fault_that_passes_is_tried_again(fake, machines, fault):
    one, two, _ = machines
    setattr(fake.faults, fault, 1)
    one.build(FILES)
    setattr(fake.faults, fault, 1)
    assert two.sees() == FILES
    assert one.warnings == two.warnings == []


# what doesn't: nothing is fetched or published, the build goes on, and the next one finds everything


def healthy(fake):
    fake.faults = type(fake.faults)()
    fake.access.is_refusing, fake.access.refuses_after = False, -1


FETCHING = {
    "unreachable": ("drops", 1000, "registry.unavailable"),
    "unavailable": ("status_for_all", 503, "registry.unavailable"),
    "forbidden": ("status_for_all", 403, "registry.denied"),
    "limits rates for ever": ("rate_limits", 1000, "registry.rate-limited"),
    "asks for an hour": ("rate_limits", 1000, "registry.rate-limited"),
    "stalls": ("stalls", 1000, "registry.timeout"),
    "wrong bytes": ("wrong_bytes", True, "volume.bad-frame"),
    "cut short": ("short_body", True, "volume.short-blob"),
    "cut off": ("cuts", 1000, "registry.unavailable"),
    "another manifest": ("wrong_manifest", True, "registry.wrong-digest"),
    "leads in circles": ("redirect_loop", True, "registry.redirect-loop"),
    "slow": ("delay_s", 3.0, "registry.timeout"),
}


@pytest.mark.parametrize("fault", FETCHING)
def test_a_fault_while_fetching_costs_what_it_hides_and_one_warning(fake, machines, fault):
    one, two, _ = machines
    two.build(OWN, publishes=False)
    one.build(FILES)
    name, setting, code = FETCHING[fault]
    setattr(fake.faults, name, setting)
    fake.faults.retry_after = "3600" if fault == "asks for an hour" else ""
    began = time.monotonic()
    found = two.build(MORE, publishes=False)
    assert time.monotonic() - began < 15
    assert all({**FILES, **OWN}[path] == content for path, content in found.items())
    assert found != {**FILES, **OWN}
    assert len(two.warnings) == 1, two.warnings
    assert "cache volume m2 was not fetched" in two.warnings[0]
    assert two.codes[0][0] in ("volume.not-fetched", "volume.not-whole")
    assert two.codes[0][1] == code
    healthy(fake)
    assert two.build() == {**FILES, **MORE, **OWN}
    assert one.sees() == {**FILES, **MORE, **OWN}
    assert len(two.warnings) == 1


@pytest.mark.parametrize("fault", ["wrong_range", "mislabelled_range", "ignores_range"])
def test_ranges_that_are_others_are_not_believed_and_the_whole_blob_is_read(fake, machines, fault):
    one, two, _ = machines
    two.build(OWN, publishes=False)
    one.build(FILES)
    setattr(fake.faults, fault, True)
    assert two.build(MORE) == {**FILES, **OWN}
    assert one.sees() == {**FILES, **MORE, **OWN}
    assert two.warnings == []


PUBLISHING = {
    "full": ("is_full", True, "registry.unavailable"),
    "read-only": ("is_read_only", True, "registry.denied"),
    "cut off": ("upload_cuts", 1000, "registry.unavailable"),
    "unavailable": ("status_for_all", 503, "registry.unavailable"),
    "unreachable": ("drops", 1000, "registry.unavailable"),
    "another digest": ("wrong_put_digest", True, "registry.wrong-digest"),
}


@pytest.mark.parametrize("fault", PUBLISHING)
def test_a_fault_while_publishing_leaves_what_others_see(fake, machines, fault):
    one, two, _ = machines
    one.build(FILES)
    before, _ = heads_and_blobs(fake)
    warnings = []

    name, setting, code = PUBLISHING[fault]

    def break_it(_):
        setattr(fake.faults, name, setting)

    assert two.build(MORE, act=break_it) == FILES
    warnings, two.warnings = two.warnings, []
    assert len(warnings) == 1, warnings
    assert two.codes == [("volume.read-only" if fault == "read-only" else "volume.not-published", code)]
    healthy(fake)
    if fault != "another digest":
        assert heads_and_blobs(fake)[0] == before, "nothing half-visible"
        assert one.sees() == FILES
    two.build({"x": b"x"})
    assert one.sees() == {**FILES, **MORE, "x": b"x"}
    assert two.warnings == []


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_credentials_are_those_of_a_push(fake, machines, scheme):
    one, two, _ = machines
    fake.access.scheme = scheme
    one.build(FILES)
    assert two.sees() == FILES
    assert one.warnings == two.warnings == []


@pytest.mark.parametrize("requests", range(0, 14, 2))
@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_credentials_that_are_refused_half_way(fake, machines, scheme, requests):
    one, two, _ = machines
    fake.access.scheme = scheme
    one.build(FILES)
    fake.access.refuses_after = requests
    found = two.build(MORE)
    assert all(FILES[path] == content for path, content in found.items())
    assert len(two.warnings) <= 2, "one of fetching, one of publishing"
    assert two.warnings or requests > 8
    healthy(fake)
    two.build({"x": b"x"})
    assert one.sees() == {**FILES, **MORE, "x": b"x"}


def test_no_registry_at_all(tmp_path):
    settings = RegistrySettings(connect_timeout_s=0.5, read_timeout_s=0.5, attempts=2, back_off_s=0.01)
    client = RegistryClient(settings)
    with Machine(tmp_path / "one", RegistryRemote(client, reference.parse("127.0.0.1:1/caches"), KEY)) as machine:
        machine.build(FILES)
        assert machine.build() == FILES
        assert ["not fetched" in warning for warning in machine.warnings] == [True, True], "one a build"


# a blob that is gone or damaged for good


@pytest.mark.parametrize("damage", ["gone", "zeroed", "cut"])
def test_a_lost_pack_is_said_and_published_again_by_whoever_has_its_files(fake, machines, damage):
    one, two, three = machines
    one.build(FILES)
    (pack,) = [key for key, data in fake.blobs.items() if len(data) > 10_000]
    whole = fake.blobs[pack]
    if damage == "gone":
        del fake.blobs[pack]
    else:
        fake.blobs[pack] = bytes(len(whole)) if damage == "zeroed" else whole[: len(whole) // 2]
    assert two.build(MORE) == {}
    assert len(two.warnings) == 1
    one.build({"x": b"x"})
    three.warnings.clear()
    assert three.sees() == {**FILES, **MORE, "x": b"x"}
    assert three.warnings == []


# directories


@pytest.fixture
def share(tmp_path):
    return str(tmp_path / "share")


@pytest.fixture
def pair(tmp_path, share):
    with Machine(tmp_path / "one", DirectoryRemote(share, KEY)) as one, Machine(tmp_path / "two", DirectoryRemote(share, KEY)) as two:
        yield one, two


def test_a_directory_that_is_not_there_is_made_or_said(pair, share):
    one, two = pair
    one.build(FILES)
    assert two.sees() == FILES
    shutil.rmtree(share)
    assert two.build(MORE) == FILES
    assert one.build() == {**FILES, **MORE}


def test_a_directory_that_disappears_during_a_build(pair, share):
    one, two = pair
    one.build(FILES)

    def vanish(_):
        shutil.rmtree(share)
        with open(share, "w"):
            pass

    assert two.build(MORE, act=vanish) == FILES
    assert len(two.warnings) == 1
    assert "not published" in two.warnings[0]
    os.unlink(share)
    two.build({"x": b"x"})
    assert one.build() == {**FILES, **MORE, "x": b"x"}


needs_mount = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def small_share(tmp_path):
    """A directory on a file system of 4 MiB."""
    directory = tmp_path / "small"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)], check=True)
    yield str(directory)
    subprocess.run(["umount", str(directory)], check=True)


@needs_mount
def test_a_full_directory(tmp_path, small_share):
    with Machine(tmp_path / "one", DirectoryRemote(small_share, KEY)) as one, Machine(tmp_path / "two", DirectoryRemote(small_share, KEY)) as two:
        one.build(MORE)
        one.build({"noise": os.urandom(6 << 20)})
        assert len(one.warnings) == 1
        assert one.codes == [("volume.not-published", "machine.no-space")]
        assert two.sees() == MORE
        assert [name for _, _, names in os.walk(small_share) for name in names if "noise" in name or ".tmp" in name] == []
        assert two.build({"x": b"x"}) == MORE
        assert one.sees()["x"] == b"x"


@needs_mount
def test_a_directory_that_is_mounted_read_only(tmp_path, small_share):
    with Machine(tmp_path / "one", DirectoryRemote(small_share, KEY)) as one, Machine(tmp_path / "two", DirectoryRemote(small_share, KEY)) as two:
        one.build(MORE)
        subprocess.run(["mount", "-o", "remount,ro", small_share], check=True)
        assert two.build({"x": b"x"}) == MORE
        assert len(two.warnings) == 1
        subprocess.run(["mount", "-o", "remount,rw", small_share], check=True)
        two.build({"y": b"y"})
        assert one.sees() == {**MORE, "x": b"x", "y": b"y"}


AS_ANOTHER = """
import sys
sys.path[:0] = {path!r}
import os
os.umask(int(sys.argv[1], 8))
from tests.fakes.machine import KEY, Machine
from chandlery.volume.remote_directory import DirectoryRemote
with Machine(sys.argv[2], DirectoryRemote(sys.argv[3], KEY)) as machine:
    print(sorted(machine.build({{sys.argv[4]: b"1" * 5000}})), machine.warnings)
"""


@needs_mount
@pytest.mark.parametrize(("umask", "shares"), [("002", True), ("077", False)])
def test_writers_of_different_users(tmp_path, umask, shares):
    """A set-group-id directory of a common group; a writer whose umask hides its files takes nothing from the others."""
    os.chmod(tmp_path, 0o755)
    for parent in tmp_path.parents:
        if parent.owner() == "root" and not parent.stat().st_mode & 0o001:
            os.chmod(parent, parent.stat().st_mode | 0o011)
    share = tmp_path / "share"
    share.mkdir()
    os.chown(share, 0, 4242)
    os.chmod(share, 0o2775)

    def run(user, umask, name):
        home = tmp_path / f"home{user}"
        home.mkdir(exist_ok=True)
        os.chown(home, user, 4242)
        sources = [path for path in (os.getcwd(), os.path.abspath("src"), *sys.path) if path]
        command = ["setpriv", f"--reuid={user}", "--regid=4242", "--clear-groups", "unshare", "--map-root-user", sys.executable, "-c"]
        command += [AS_ANOTHER.format(path=sources), umask, str(home / "store"), str(share), name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(5001, umask, "a.jar")
    second = run(5002, "002", "b.jar")
    third = run(5003, "002", "c.jar")
    assert ("a.jar" in second) is shares
    assert ("not fetched" in second) is not shares
    if shares:
        assert "a.jar" in third
        assert "b.jar" in third
        assert "not" not in third
