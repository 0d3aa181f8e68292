"""`make bench-farm`: one Maven project's history, built by every strategy on a farm of machines behind slow links.

Options are environment variables: FARM_COMMITS or FARM_KINDS (edit:7,dependency:3), FARM_STRATEGIES, FARM_SCHEDULES, FARM_LINK, FARM_RTT (milliseconds),
FARM_SEED, and FARM_DOCS=1 to put the table and the plot into docs/bench-farm. FARM_RESULTS="FILE ..." shows what earlier runs recorded, together.
FARM_STRATEGIES=all takes every way of examples/strategies, and the other builders'. Ways that need what isn't installed (sshfs and openssh-sftp-server;
buildkitd and buildx; docker.io) are left out, and the table says so.
Everything runs in namespaces of its own (network, mounts, processes), so links, daemons, relays and mounts end with the run, however it ends.
"""

import compileall
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench.farm import builders, fixtures, network, options, record, report, run, servers, strategies

_INSIDE = "CHANDLERY_BENCH_INSIDE"
DOCS = Path(__file__).parents[2] / "docs" / "bench-farm"
_UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def main() -> int:
    chosen = options.read()
    if chosen.results:
        recorded, chosen = record.load(chosen)
        _show(recorded, chosen)
        return 0
    if os.geteuid() != 0:
        sys.exit("make bench-farm needs root: it makes network namespaces and mounts")
    ground = fixtures.make()
    # as an installed package has it, wherever the environment forbids Python to keep what it compiles
    compileall.compile_dir(Path(__file__).parents[2] / "src", quiet=1)
    if _INSIDE not in os.environ:
        os.environ[_INSIDE] = "1"
        os.execvp(_UNSHARE[0], [*_UNSHARE, sys.executable, "-m", "bench.farm"])
    # the first process of a namespace meets only the signals that it handles
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    taking_part, left_out = strategies.make(list(chosen.strategies), builders.available())
    chosen = chosen._replace(left_out=tuple(left_out))
    print(*left_out, sep="\n", end="\n" * bool(left_out), flush=True)
    network.prepare()
    work = Path(tempfile.mkdtemp(prefix="run-", dir=fixtures.FARM))
    built: list[run.Built] = []
    try:
        with servers.running(work, ground.registry, ground.central, chosen.rtt_s) as running:
            run.Farm(chosen, running, taking_part, ground, work, built).run()
    finally:
        if not os.environ.get("FARM_KEEP"):
            shutil.rmtree(work, ignore_errors=True)
        # a run that was stopped has measured something, too
        if built:
            record.save(built, chosen)
            _show(built, chosen)
    return 1 if any(item.failure for item in built) else 0


def _show(built: list[run.Built], chosen: options.Options) -> None:
    report.show(built, chosen)
    if not chosen.keep:
        return
    from bench.farm import plot

    DOCS.mkdir(exist_ok=True)
    machine = f"{os.cpu_count()} cores, kernel {os.uname().release}, {time.strftime('%Y-%m-%d', time.gmtime())}."
    (DOCS / "table.md").write_text(report.markdown(built, chosen, machine))
    plot.draw(report.rows(built, chosen), DOCS)
    print(f"written to {DOCS.relative_to(Path.cwd())}: table.md, plot.png, plot.svg")


if __name__ == "__main__":
    sys.exit(main())
