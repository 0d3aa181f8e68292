"""Random deletion and corruption of what lies on remotes and in stores, between builds: every build succeeds, with the same image and the same files.

CHANDLERY_FAULT_ROUNDS says how many rounds (`make test-faults`: 200); a few without it.
"""

import os
import random
import shutil
from pathlib import Path

import pytest
from tests.fakes.machine import KEY, Machine

from chandlery.config import Settings
from chandlery.engine.request import BuildRequest, Output, OutputKind
from chandlery.events import Warned
from chandlery.volume.remote_directory import DirectoryRemote
from chandlery.volume.volumes import Volumes
from chandlery.wiring import build

ROUNDS = int(os.environ.get("CHANDLERY_FAULT_ROUNDS", "15"))
DOCKERFILE = "FROM scratch\nCOPY a /a\nCOPY b /b\nWORKDIR /w\nCOPY c /c\n"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a store keeps owners, which needs root")


def damage(rng: random.Random, path: Path) -> str:
    """Delete a file, cut it, empty it, or change bytes in it; a new inode, so that links to it elsewhere stay whole."""
    whole = path.read_bytes()
    how = rng.choice(("delete", "cut", "empty", "change"))
    mode = path.stat().st_mode
    path.unlink()
    if how != "delete":
        at = rng.randrange(len(whole) or 1)
        noise = rng.randbytes(min(64, len(whole)))
        path.write_bytes({"cut": whole[:at], "empty": b"", "change": whole[:at] + noise + whole[at + len(noise) :]}[how])
        path.chmod(mode)
    return f"{how} {path}"


def files_below(*directories: Path) -> list[Path]:
    return sorted(path for directory in directories if directory.is_dir() for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


def test_builds_over_damaged_caches_make_the_same_image(tmp_path):
    """Steps: two machines and a directory that they share. Layers' times are fixed, so that a step that ran again makes the same image as well."""
    rng = random.Random(ROUNDS)
    context = tmp_path / "context"
    context.mkdir()
    for name in "abc":
        (context / name).write_bytes(rng.randbytes(60_000))
    share, stores = tmp_path / "share", [tmp_path / "one", tmp_path / "two"]
    digests, codes, cached = set(), set(), 0

    def run(store: Path) -> None:
        nonlocal cached
        request = BuildRequest(
            context=str(context), dockerfile_text=DOCKERFILE, cache_scope="main", cache_remotes=(f"file://{share}",), cache_publish_timeout_s=60.0,
            build_args=(("SOURCE_DATE_EPOCH", "1700000000"),), outputs=(Output(OutputKind.OCI, str(tmp_path / "image.tar")),),
        )  # fmt: skip
        warned: list[str] = []
        result = build(request, sink=lambda event: warned.append(event.code) if isinstance(event, Warned) else None, settings=Settings({}, str(store)))
        digests.add(str(result.config_digest))
        codes.update(warned)
        assert len(warned) == len(set(warned)) or len(warned) <= 6
        cached += all(step.outcome == "cached" for step in result.steps if step.name.startswith("[") and "internal" not in step.name)

    run(stores[0])
    for _ in range(ROUNDS):
        victims = files_below(share, *(store / "blobs" for store in stores))
        for path in rng.sample(victims, min(len(victims), rng.randint(1, 3))):
            damage(rng, path)
        if rng.random() < 0.4:
            snapshots = [path for store in stores if (store / "snapshots").is_dir() for path in (store / "snapshots").iterdir()]
            if snapshots:
                shutil.rmtree(rng.choice(snapshots))
        run(rng.choice(stores))
    assert len(digests) == 1, "the same image, whether it came from a cache or was made again"
    assert cached, "not everything is made again"
    run(stores[0])
    codes.clear()
    for store in stores:
        run(store)
    assert codes == set(), "what was damaged was repaired"


def test_steps_find_their_volume_whatever_was_damaged(tmp_path):
    """Volumes: three machines and a directory. A step sees right files or none, and what any machine still has comes back to all."""
    rng = random.Random(ROUNDS)
    share, roots = tmp_path / "share", [tmp_path / f"m{number}" for number in range(3)]
    remote = DirectoryRemote(str(share), KEY)
    written: dict[str, bytes] = {}
    warnings = 0
    for number in range(ROUNDS):
        victims = files_below(share)
        for path in rng.sample(victims, min(len(victims), rng.randint(0, 2))):
            damage(rng, path)
        root = rng.choice(roots)
        if rng.random() < 0.3:
            break_locally(rng, root)
        with Machine(root, remote) as machine:
            added = {f"{number}.jar": rng.randbytes(rng.choice((50, 5000, 200_000)))}
            found = machine.build(added)
            written.update(added)
            assert all(written[path] == content for path, content in found.items())
            warnings += len(machine.warnings)
            assert len(machine.warnings) <= 2, machine.warnings
    assert warnings, "damage is told"
    # who has everything reads no packs; one that has nothing finds what is damaged and says so, and those that have it publish it again
    for turn, root in enumerate((*roots, tmp_path / "finder", *roots, *roots)):
        with Machine(root, remote) as machine:
            machine.build({f"last-{turn}": rng.randbytes(10)})
            held = {path for path, entry in machine.entries().items() if not entry.is_directory}
    with Machine(tmp_path / "fresh", remote) as fresh:
        found = fresh.sees()
        assert fresh.warnings == [], "what was damaged was repaired"
        assert held <= set(found)
        assert all(written[path] == content for path, content in found.items() if path in written)
    for root in roots:
        with Machine(root, remote) as machine:
            assert Volumes(machine.store).verify(KEY) == ()


def break_locally(rng: random.Random, root: Path) -> None:
    """Take away a layer of the volume, or damage an object."""
    layers = [path for path in root.glob("volumes/*/*") if (path / "fs").is_dir()]
    objects = files_below(root / "objects")
    if layers and rng.random() < 0.5:
        shutil.rmtree(rng.choice(layers))
    elif objects:
        damage(rng, rng.choice(objects))
