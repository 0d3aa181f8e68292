"""Every case is built here and compared with what the newest BuildKit made of it; and with BuildKit and Docker themselves where the machine has them."""

import json
from pathlib import Path

import pytest
from tests.conformance.builders import CANT_SAVE, Buildkit, Built, Docker, Ours
from tests.conformance.conftest import expected_path
from tests.conformance.model import Case, change, write_context
from tests.conformance.outcome import outcome


def made_by(side: Ours | Buildkit | Docker, case: Case, directory: Path) -> dict[str, object]:
    """Build a case, and again after its change; what came of it."""
    write_context(directory, case)
    first = side.build(case, directory, directory / "first.tar", case.args)
    if case.again is None and case.again_args is None:
        return described(first)
    change(directory, case)
    second = side.build(case, directory, directory / "second.tar", case.args if case.again_args is None else case.again_args)
    return described(first) | {"again": described(second), "cached again": sorted(second.cached)}


def described(built: Built) -> dict[str, object]:
    return {"fails": True, "error": built.error} if built.archive is None else outcome(built.archive)


def without_errors(document: dict[str, object]) -> dict[str, object]:
    """Builders word their errors as they like."""
    return {key: without_errors(item) if key == "again" else item for key, item in document.items() if key != "error"}  # type: ignore[arg-type]


def without_wording(document: dict[str, object]) -> dict[str, object]:
    """The newest BuildKit words the history of some instructions better than Docker 20.10: its instructions alone are compared."""
    plain = dict(document)
    if isinstance(lines := plain.get("history"), list):
        plain["history"] = [line.split()[:2] for line in lines]
    if isinstance(again := plain.get("again"), dict):
        plain["again"] = without_wording(again)
    return plain


def read(path: Path) -> dict[str, object]:
    assert path.is_file(), f"{path.name} is missing: run the tests with --accept where a buildkitd is"
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def accept(path: Path, found: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def test_a_build_makes_what_the_reference_makes(case: Case, ours: Ours, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    found = made_by(ours, case, tmp_path)

    assert found.get("error", "") == case.fails
    if case.differs and request.config.getoption("--accept"):
        accept(expected_path(case, ours=True), without_errors(found))
    assert without_errors(found) == read(expected_path(case, ours=bool(case.differs)))


def test_every_way_of_mounting_makes_the_same(mounting_case: Case, ours_mounting: Ours, tmp_path: Path) -> None:
    found = made_by(ours_mounting, mounting_case, tmp_path)

    assert without_errors(found) == read(expected_path(mounting_case, ours=bool(mounting_case.differs)))


def test_the_newest_buildkit_still_agrees(case: Case, buildkit: Buildkit, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    found = without_errors(made_by(buildkit, case, tmp_path))

    if request.config.getoption("--accept"):
        accept(expected_path(case), found)
    assert found == read(expected_path(case))


def test_docker_agrees_where_it_is_not_older(case: Case, docker: Docker, tmp_path: Path) -> None:
    if case.older or case.contexts:
        pytest.skip("newer than Docker 20.10")
    found = made_by(docker, case, tmp_path)
    if found.get("error") == CANT_SAVE:
        pytest.skip(CANT_SAVE)
    assert without_wording(without_errors(found)) == without_wording(read(expected_path(case)))
