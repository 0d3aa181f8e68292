"""The farm's history: the same for the same seed, with the kinds that the bars speak of, and each commit recognisable by what it answers."""

from collections import Counter
from pathlib import Path

from bench.farm import company, history
from bench.farm.history import Kind


def test_a_whole_history_has_the_promised_kinds() -> None:
    commits = history.history()
    kinds = Counter(commit.kind for commit in commits)
    assert len(commits) - kinds[Kind.FIRST] >= 20
    assert (kinds[Kind.DEPENDENCY], kinds[Kind.SNAPSHOT], kinds[Kind.MODULE]) == (3, 1, 1)


def test_the_same_seed_gives_the_same_history_and_another_one_another() -> None:
    assert history.history(1) == history.history(1)
    assert history.history(1) != history.history(2)


def test_a_short_history_begins_as_the_long_one_and_meets_each_kind_with_a_bar() -> None:
    short = history.history(1, 5)
    assert short == history.history(1)[:5]
    assert {Kind.EDIT, Kind.DEPENDENCY, Kind.SNAPSHOT} <= {commit.kind for commit in short}


def test_a_history_of_chosen_kinds_has_those_and_the_first() -> None:
    commits = history.history(1, kinds={Kind.EDIT: 7, Kind.DEPENDENCY: 3})
    assert commits[0].kind is Kind.FIRST
    assert Counter(commit.kind for commit in commits[1:]) == {Kind.EDIT: 7, Kind.DEPENDENCY: 3}
    assert [commit.number for commit in commits] == list(range(11))


def test_an_edit_changes_one_line_of_one_file() -> None:
    commits = history.history()
    edit = next(commit for commit in commits if commit.kind is Kind.EDIT)
    before, after = (history.sources(commits, number, "http://company") for number in (edit.number - 1, edit.number))
    changed = [name for name in after if after[name] != before.get(name)]
    lines = zip(before[changed[0]].splitlines(), after[changed[0]].splitlines(), strict=True)
    assert (len(changed), sum(old != new for old, new in lines), before.keys()) == (1, 1, after.keys())
    assert edit.motto in after[changed[0]]


def test_dependencies_and_modules_stay_once_added() -> None:
    commits = history.history()
    last = history.sources(commits, len(commits) - 1, "http://company")
    assert all(name in last["service/pom.xml"] for name in ("pdfbox", "javase", "commons-csv", "<artifactId>audit"))
    assert "<module>audit</module>" in last["pom.xml"]
    assert "http://company" in last["pom.xml"]


def test_a_checkout_holds_what_the_commit_has_and_nothing_else(tmp_path: Path) -> None:
    commits = history.history()
    history.write(tmp_path, history.sources(commits, len(commits) - 1, ""))
    history.write(tmp_path, first := history.sources(commits, 0, ""))
    assert {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == first


def test_the_snapshot_moves_and_what_was_published_stays(tmp_path: Path) -> None:
    company.write(tmp_path, 0)
    before = {path.name for path in tmp_path.rglob("*.jar")}
    company.write(tmp_path, 1)
    assert before < {path.name for path in tmp_path.rglob("*.jar")}
    metadata = next(tmp_path.rglob("maven-metadata.xml")).read_text()
    assert "<buildNumber>2</buildNumber>" in metadata
    assert company.signals_text(0) != company.signals_text(1)
