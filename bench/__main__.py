"""`make bench`: the work that Chandlery must be good at, measured pairwise against Docker (and a newer BuildKit) in one run.

Everything runs in namespaces of its own (network, mounts, processes): what the daemons set up, bridges, firewall rules, overlay
mounts, shims, ends with the run, however it ends.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import fixtures, process, registry, report, sides
from bench.row import Row, Samples
from bench.rows import cached, copies, startup, steps, volumes

ROWS: tuple[type[Row], ...] = (
    cached.CachedRebuild, cached.CachedFromRegistry, cached.CachedLarge, cached.CachedFreshClone, steps.OneStep, steps.OneStepDefaultNetwork,
    copies.CopyCold, copies.CopyChanged, copies.Push, copies.ColdPull, steps.ParallelStages, copies.CacheMount, startup.Version,
    volumes.VolumeAttach, volumes.VolumeAdd, volumes.VolumeAddBytes, volumes.VolumeFetch, volumes.VolumeMemory,
)  # fmt: skip
_INSIDE = "CHANDLERY_BENCH_INSIDE"


def main() -> int:
    options = _arguments()
    if os.geteuid() != 0:
        sys.exit("make bench needs root: dockerd does, and so do overlay mounts")
    if _INSIDE not in os.environ:
        _make_fixtures(options)
        os.environ[_INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-m", "bench", *sys.argv[1:]])
    _make_network()
    chosen = [row for row in ROWS if not options.rows or row.name in options.rows]
    names = [name for name in _sides() if not options.sides or name in options.sides]
    work = Path(tempfile.mkdtemp(prefix="run-", dir=fixtures.CACHE))
    try:
        results = _measure(chosen, names, work, options)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    report.show(results, names)
    print(f"\nwritten to {report.save(results).relative_to(Path.cwd())}")
    return 1 if any("chandlery" in samples.failures for samples in results) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure Chandlery against Docker, pairwise.")
    parser.add_argument("--rows", type=lambda text: text.split(","), help="only these: " + ",".join(row.name for row in ROWS))
    parser.add_argument("--sides", type=lambda text: text.split(","), help="only these: chandlery,docker,buildkit")
    parser.add_argument("--runs", type=int, help="pairs a row, instead of each row's own number")
    parser.add_argument("--quick", action="store_true", help="one pair a row: shows that everything runs, measures nothing")
    return parser.parse_args()


def _measure(chosen: Sequence[type[Row]], names: Sequence[str], work: Path, options: argparse.Namespace) -> list[Samples]:
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(registry.running(work / "registry"))
        base = served.put_image("bench-base", [fixtures.base_layer()])
        running: list[sides.Side] = []
        broken: dict[str, str] = {}
        for name in names:
            side = _side(name, work)
            try:
                stack.enter_context(side.running(served, base))
                running.append(side)
            except process.Failed as failed:
                print(f"{name} can't take part: {failed}", flush=True)
                broken[name] = "see above: it can't take part"
        results = []
        for kind in chosen:
            row = kind(served, base, work)
            runs = 1 if options.quick else options.runs or row.runs
            results.append(_one_row(row, running, runs, broken))
        return results


def _one_row(row: Row, running: Sequence[sides.Side], runs: int, broken: dict[str, str]) -> Samples:
    """Pairs in turn, the first of a pair changing each time, so that neither side always meets the warmer machine."""
    samples = Samples(row)
    samples.failures |= broken
    taking_part = [side for side in running if side.name == "chandlery" or not row.only_ours]
    for run in range(-1, runs):
        for side in taking_part if run % 2 == 0 else reversed(taking_part):
            if side.name in samples.failures:
                continue
            try:
                if run < 0:
                    row.prepare(side)
                else:
                    samples.by_side.setdefault(side.name, []).append(row.measure(side, run))
            except process.Failed as failed:
                samples.failures[side.name] = str(failed)
    medians = ", ".join(f"{name} {report.spread(samples.values(name), row.unit)}" for name in samples.by_side)
    print(f"{row.name}: {medians or 'not measured'}", flush=True)
    return samples


def _sides() -> list[str]:
    return ["chandlery", "docker", *(["buildkit"] if sides.buildkit_available() else [])]


def _side(name: str, work: Path) -> sides.Side:
    directory = work / name
    directory.mkdir()
    match name:
        case "chandlery":
            return sides.Chandlery(directory, fixtures.CACHE / "wheel" / "bin" / "chandlery")
        case "docker":
            return sides.Docker(directory)
        case _:
            return sides.Buildkit(directory)


def _make_fixtures(options: argparse.Namespace) -> None:
    """Everything that needs the machine's network or takes long, before the clock starts."""
    fixtures.small_context()
    fixtures.base_layer()
    if not options.sides or "chandlery" in options.sides:
        fixtures.wheel()


def _make_network() -> None:
    """A loopback, and an uplink that leads nowhere: a default route is what isolated networks look for."""
    for command in (
        "link set lo up",
        "link add uplink type veth peer name nowhere",
        "addr add 192.0.2.2/24 dev uplink",
        "link set uplink up",
        "link set nowhere up",
        "route add default via 192.0.2.1",
    ):
        subprocess.run(["ip", *command.split()], check=True)


if __name__ == "__main__":
    sys.exit(main())
