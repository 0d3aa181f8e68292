"""For all tests: `--accept`, and a last line that counts what this machine could not run and says why."""

import fcntl
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

DEBIAN_CACHE = Path(os.environ.get("CHANDLERY_TEST_CACHE", "/tmp/chandlery-test-cache"))
DEBIAN_VERSION = "debian-bookworm-1"
DEBIAN_DOWNLOADS = "ca-certificates ca-certificates-java openjdk-17-jre-headless"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--accept", action="store_true", default=False, help="write what tests found in place of what they expected; the diff is the review")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(_reason(report) for report in skipped)
    if reasons:
        listed = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        terminalreporter.write_line(f"{len(skipped)} tests were skipped: {listed}")


def _reason(report: pytest.TestReport) -> str:
    where = report.longrepr
    return str(where[2]).removeprefix("Skipped: ") if isinstance(where, tuple) else str(where)


@pytest.fixture(scope="session")
def debian() -> Path:
    """A small Debian of the machine's mirror, made once and kept: `root` without any certificates, `archives` with the packages of some and of a JRE.

    Never changed by a test: use it as an overlay's lower.
    """
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        pytest.skip("needs root and mmdebstrap")
    DEBIAN_CACHE.mkdir(parents=True, exist_ok=True)
    made = DEBIAN_CACHE / DEBIAN_VERSION
    with open(DEBIAN_CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            _make_debian(made)
    return made


def _make_debian(made: Path) -> None:
    partial = made.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    download = f'chroot "$1" apt-get -y --download-only --no-install-recommends install {DEBIAN_DOWNLOADS}'
    hooks = [f"--customize-hook={download}", f"--customize-hook=copy-out /var/cache/apt/archives {partial}"]
    finished = subprocess.run(["mmdebstrap", "--variant=apt", "--mode=root", *hooks, "bookworm", str(partial / "root")], capture_output=True, check=False)
    if finished.returncode:
        pytest.skip("no Debian mirror within reach")
    partial.rename(made)
