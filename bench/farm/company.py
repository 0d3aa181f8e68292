"""The company's Maven repository: one release, and one SNAPSHOT that moves. Written as a tree of files that any web server can serve."""

import hashlib
import io
import zipfile
from pathlib import Path

GROUP = "company"
_POM = "<project><modelVersion>4.0.0</modelVersion><groupId>company</groupId><artifactId>{artifact}</artifactId><version>{version}</version></project>\n"
_METADATA = """<metadata modelVersion="1.1.0">
  <groupId>company</groupId><artifactId>signals</artifactId><version>1.0-SNAPSHOT</version>
  <versioning>
    <snapshot><timestamp>{day}.120000</timestamp><buildNumber>{build}</buildNumber></snapshot>
    <lastUpdated>{day}120000</lastUpdated>
    <snapshotVersions>
      <snapshotVersion><extension>jar</extension><value>{value}</value><updated>{day}120000</updated></snapshotVersion>
      <snapshotVersion><extension>pom</extension><value>{value}</value><updated>{day}120000</updated></snapshotVersion>
    </snapshotVersions>
  </versioning>
</metadata>
"""


def signals_text(moves: int) -> str:
    """What the SNAPSHOT says after it moved so often."""
    return f"signals of day {moves + 1}"


def write(directory: Path, moves: int) -> None:
    """The repository as it is when the SNAPSHOT has moved `moves` times; what was published before stays, as on real servers."""
    _release(directory / GROUP / "tides" / "1.4")
    at = directory / GROUP / "signals" / "1.0-SNAPSHOT"
    for number in range(moves + 1):
        value = f"1.0-{_day(number)}.120000-{number + 1}"
        _put(at / f"signals-{value}.jar", _jar({"company/signals.txt": signals_text(number)}))
        _put(at / f"signals-{value}.pom", _POM.format(artifact="signals", version="1.0-SNAPSHOT").encode())
        _put(at / "maven-metadata.xml", _METADATA.format(day=_day(number), build=number + 1, value=value).encode())


def _release(at: Path) -> None:
    _put(at / "tides-1.4.jar", _jar({"company/tides.txt": "high at noon"}))
    _put(at / "tides-1.4.pom", _POM.format(artifact="tides", version="1.4").encode())


def _day(number: int) -> str:
    return f"202501{number + 1:02d}"


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.with_name(path.name + ".sha1").write_text(hashlib.sha1(data, usedforsecurity=False).hexdigest())


def _jar(files: dict[str, str]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return written.getvalue()
