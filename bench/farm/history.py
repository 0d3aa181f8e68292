"""The project's history: pure, and the same for the same seed.

Every commit changes the line that the service answers with, which is how a result is recognised; a few change more than that.
"""

import random
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).parent / "project"
COMMITS = 21


class Kind(StrEnum):
    FIRST = "first"
    EDIT = "edit"
    DEPENDENCY = "dependency"
    SNAPSHOT = "snapshot"
    MODULE = "module"


class Commit(NamedTuple):
    number: int
    kind: Kind

    @property
    def motto(self) -> str:
        return f"Fair winds {self.number:02d}"


# a short run must have met each kind that the bars speak of
_OPENING = (Kind.FIRST, Kind.EDIT, Kind.DEPENDENCY, Kind.EDIT, Kind.SNAPSHOT)
_DEPENDENCIES = ("org.apache.pdfbox:pdfbox:3.0.3", "com.google.zxing:javase:3.5.3", "org.apache.commons:commons-csv:1.12.0")
AT_MOST = {Kind.DEPENDENCY: len(_DEPENDENCIES), Kind.MODULE: 1, Kind.SNAPSHOT: 20}
"""How often the project can change in such a way."""
_MODULE_POM = "audit/pom.xml"
_MODULE_CLASS = "audit/src/main/java/harbour/audit/Ledger.java"
_MODULE_SOURCE = """package harbour.audit;

public final class Ledger {
    private Ledger() {
    }

    public static String title() {
        return "ledger";
    }
}
"""


def history(seed: int = 1, commits: int = COMMITS, kinds: Mapping[Kind, int] | None = None) -> tuple[Commit, ...]:
    """`commits` of them, the first included: three add a dependency, one moves the SNAPSHOT, one adds a module, the others change one line alone.
    With `kinds`: the first, and so many of each in an order drawn by `seed`."""
    if kinds:
        drawn = [kind for kind, count in sorted(kinds.items()) for _ in range(count)]
        random.Random(seed).shuffle(drawn)
        return tuple(Commit(number, kind) for number, kind in enumerate((Kind.FIRST, *drawn)))
    rest = [Kind.DEPENDENCY, Kind.DEPENDENCY, Kind.MODULE]
    rest += [Kind.EDIT] * (COMMITS - len(_OPENING) - len(rest))
    random.Random(seed).shuffle(rest)
    whole = (*_OPENING, *rest)
    whole += (Kind.EDIT,) * (commits - len(whole))
    return tuple(Commit(number, kind) for number, kind in enumerate(whole[:commits]))


def moves(commits: tuple[Commit, ...], upto: int) -> int:
    """How often the SNAPSHOT has moved when commit `upto` is built."""
    return sum(commit.kind is Kind.SNAPSHOT for commit in commits[: upto + 1])


def sources(commits: tuple[Commit, ...], upto: int, company_url: str) -> dict[str, str]:
    """The project's files at commit `upto`, by their paths."""
    done = commits[: upto + 1]
    files = {path.relative_to(PROJECT).as_posix(): path.read_text() for path in sorted(PROJECT.rglob("*")) if path.is_file()}
    _replace(files, "pom.xml", "@COMPANY@", company_url)
    _replace(files, "text/src/main/java/harbour/text/Motto.java", "@MOTTO@", done[-1].motto)
    added = sum(commit.kind is Kind.DEPENDENCY for commit in done)
    _replace(files, "service/pom.xml", "<!-- more dependencies -->", "\n    ".join(_dependency(name) for name in _DEPENDENCIES[:added]))
    if any(commit.kind is Kind.MODULE for commit in done):
        files[_MODULE_POM] = files["text/pom.xml"].replace("<artifactId>text</artifactId>", "<artifactId>audit</artifactId>")
        files[_MODULE_CLASS] = _MODULE_SOURCE
        _replace(files, "pom.xml", "<!-- more modules -->", "<module>audit</module>")
        _replace(files, "service/pom.xml", "<!-- more modules -->", _dependency("harbour:audit:1.0.0"))
    return files


def write(directory: Path, files: dict[str, str]) -> None:
    """Make `directory` hold `files` and nothing else; a file that has its text already keeps its time, as a checkout does it."""
    for path in sorted(directory.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(directory).as_posix() not in files:
            path.unlink()
    for name, text in files.items():
        path = directory / name
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def _dependency(name: str) -> str:
    group, artifact, version = name.split(":")
    return f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"


def _replace(files: dict[str, str], name: str, mark: str, text: str) -> None:
    files[name] = files[name].replace(mark, text)
