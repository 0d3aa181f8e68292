import os
from pathlib import Path

import pytest
from tests.fakes import commands

from chandlery.errors import ChandleryError, InputError, MachineError, Unavailable
from chandlery.source import apt_sources, distribution
from chandlery.source.apt_sources import AptSource
from chandlery.source.distribution import make_root

STATUS = "Package: base\nStatus: install ok installed\nVersion: 1.2\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 3\n"
# what mmdebstrap leaves, in small: the directory is its argument before the last
ROOT = f"""
for word; do directory=$last; last=$word; done
set -e
mkdir -p $directory/etc/apt/apt.conf.d $directory/var/lib/dpkg $directory/var/log/apt $directory/dev/pts
mkdir -p $directory/usr/share/doc/base $directory/usr/lib/p/__pycache__
printf '{STATUS}' > $directory/var/lib/dpkg/status
echo today > $directory/var/log/apt/history.log
echo here > $directory/etc/hostname
echo proxy > $directory/etc/apt/apt.conf.d/99mmdebstrap
echo code > $directory/usr/lib/p/__pycache__/p.pyc
echo null > $directory/dev/null
ln -s nowhere $directory/etc/link
echo changes > $directory/usr/share/doc/base/changelog.gz
touch -d @1750000000 $directory/usr/share/doc/base/changelog.gz
echo kept > $directory/etc/motd
touch -d @1600000000 $directory/etc/motd
echo "I: success"
"""


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    directory = tmp_path / "root"
    directory.mkdir()
    return directory


def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, keyring: str = "") -> Path:
    options = (("Signed-By", keyring),) if keyring else ()
    monkeypatch.setattr(apt_sources, "read_machine", lambda: (AptSource(("http://mirror.test/",), ("stone",), ("main",), options),))
    return commands.install(monkeypatch, tmp_path / "bin", "mmdebstrap", script)


def test_the_root_says_what_is_installed_and_when_the_newest_was_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty: Path) -> None:
    calls = fake(monkeypatch, tmp_path, ROOT)
    lines: list[str] = []

    made = make_root(str(empty), suite="stone", include=("jdk", "maven"), report=lines.append)

    assert (made.suite, made.packages, made.epoch_s) == ("stone", ("base=1.2",), 1_750_000_000)
    assert lines == ["I: success"]
    assert "--variant=minbase" in calls.read_text()
    assert "--include=jdk,maven" in calls.read_text()


def test_nothing_of_the_machine_or_the_day_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty: Path) -> None:
    fake(monkeypatch, tmp_path, ROOT)

    make_root(str(empty), suite="stone")

    left = {str(path.relative_to(empty)) for path in empty.rglob("*") if path.is_symlink() or not path.is_dir()}
    assert left == {"etc/motd", "etc/link", "usr/share/doc/base/changelog.gz", "var/lib/dpkg/status"}
    assert (empty / "dev/pts").is_dir()
    assert not (empty / "usr/lib/p/__pycache__").exists()


def test_a_keyring_of_the_machine_that_no_package_brings_is_carried_along(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty: Path) -> None:
    keyring = tmp_path / "company.gpg"
    keyring.write_text("key")
    fake(monkeypatch, tmp_path, ROOT, keyring=str(keyring))

    make_root(str(empty), suite="stone")

    assert Path(f"{empty}{keyring}").read_text() == "key"


def test_no_file_is_newer_than_the_newest_package_and_older_ones_keep_their_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty: Path) -> None:
    fake(monkeypatch, tmp_path, ROOT)

    make_root(str(empty), suite="stone")

    times = {str(path.relative_to(empty)): path.lstat().st_mtime for path in empty.rglob("*")}
    assert times["etc/motd"] == 1_600_000_000
    assert times["etc/link"] == times["var/lib/dpkg"] == os.stat(empty).st_mtime == 1_750_000_000
    assert max(times.values()) == 1_750_000_000


@pytest.mark.parametrize(
    ("output", "kind", "code"),
    [
        ("E: Unable to locate package nosuch", InputError, "base.unknown-package"),
        ("E: Package 'nosuch' has no installation candidate", InputError, "base.unknown-package"),
        ("E: The repository 'http://m.test stone Release' does not have a Release file.", InputError, "base.unknown-suite"),
        ("W: Failed to fetch http://m.test/InRelease  Could not resolve 'm.test'", Unavailable, "base.mirror-unavailable"),
        ("dpkg: error: write: No space left on device", MachineError, "machine.no-space"),
        ("E: something else", MachineError, "base.failed"),
    ],
)
def test_what_goes_wrong_has_a_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty: Path, output: str, kind: type[ChandleryError], code: str) -> None:
    fake(monkeypatch, tmp_path, f'echo "{output}" >&2\nexit 1')

    with pytest.raises(kind) as failed:
        make_root(str(empty), suite="stone", include=("nosuch",))

    assert failed.value.code == code


def test_an_unknown_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty: Path) -> None:
    fake(monkeypatch, tmp_path, "echo 'E: Unable to locate package nosuch' >&2\nexit 1")

    with pytest.raises(InputError) as failed:
        make_root(str(empty), suite="stone", include=("nosuch",))

    assert "nosuch" in failed.value.message


def test_a_machine_without_mmdebstrap_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty: Path) -> None:
    fake(monkeypatch, tmp_path, "").with_name("mmdebstrap").unlink()
    commands.install(monkeypatch, tmp_path / "bin", "apt-config", "exit 0")
    monkeypatch.setattr(distribution, "_SYSTEM_PATH", "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    with pytest.raises(MachineError) as missing:
        make_root(str(empty), suite="stone")

    assert missing.value.code == "machine.no-mmdebstrap"
    assert "apt-get install mmdebstrap" in missing.value.hint


@pytest.mark.parametrize("name", ["a b", "-x", "../up", "A"])
def test_a_name_that_no_package_can_have_is_refused(empty: Path, name: str) -> None:
    with pytest.raises(InputError) as refused:
        make_root(str(empty), suite="stone", include=(name,))

    assert refused.value.code == "base.bad-name"
