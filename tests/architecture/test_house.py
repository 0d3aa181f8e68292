"""What ARCHITECTURE.md promises of the code: who imports whom, how long things are, that errors travel, that documents name what is there."""

import ast
import importlib
import pickle
import pkgutil
import re
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

import chandlery
from chandlery import errors

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
DOCUMENTS = [path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")] if path.is_file()]
LONGEST_MODULE = 400
LONGEST_FUNCTION = 60
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def test_packages_import_only_what_is_below_them():
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == EXIT_STATUS_SUCCESS


def test_modules_are_short():
    long = {str(path.relative_to(ROOT)): lines for path in SOURCES if (lines := len(path.read_text().splitlines())) > LONGEST_MODULE}
    assert long == {}


def test_functions_are_short():
    long = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (lines := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION:
                long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert long == {}


def test_every_module_says_what_it_is():
    silent = [str(path.relative_to(ROOT)) for path in SOURCES if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_modules_import_alone():
    """No module needs another to have been imported first, so that there is no circle."""
    for found in pkgutil.walk_packages(chandlery.__path__, "chandlery."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)


def error_classes() -> list[type[errors.ChandleryError]]:
    found, waiting = [], [errors.ChandleryError]
    while waiting:
        cls = waiting.pop()
        found.append(cls)
        waiting += cls.__subclasses__()
    return sorted(found, key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", error_classes(), ids=lambda cls: cls.__name__)
def test_an_error_pickles_with_everything_that_was_added_to_it(cls):
    made = {errors.Lost: lambda: errors.Lost("sha256:1"), errors.Cancelled: lambda: errors.Cancelled(15)}
    error = made[cls]() if cls in made else cls("what went wrong", code="area.what", hint="do this")
    error.where = "Dockerfile:1:1"

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is cls
    assert (again.args, again.__dict__) == (error.args, error.__dict__)
    assert (again.code, again.exit_status, again.retryable, str(again)) == (error.code, error.exit_status, error.retryable, str(error))


def test_errors_are_defined_in_one_place():
    elsewhere = {cls.__module__ for cls in error_classes()} - {"chandlery.errors"}
    allowed = {"chandlery.frontend.dockerfile.excerpt"}  # an error on its way to its place in a Dockerfile
    assert elsewhere <= allowed


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_link_only_to_files_that_exist(document):
    links = [link for link in LINK.findall(document.read_text()) if "://" not in link and not link.startswith("mailto:")]
    missing = [link for link in links if not (document.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if path.name in ("ARCHITECTURE.md", "README.md")], ids=lambda path: path.name)
def test_documents_name_only_modules_that_exist(document):
    """A path in backquotes that ends in .py or in a slash is in the repository or in the package."""
    named = re.findall(r"`([\w./-]+(?:\.py|/))`", document.read_text())
    places = [ROOT, ROOT / "src/chandlery", ROOT / "src/chandlery/frontend/dockerfile"]
    missing = [name for name in named if not name.startswith("/") and not any((place / name).exists() for place in places)]
    assert missing == []


def test_nothing_is_left_to_be_done_in_comments():
    marks = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
    found = [f"{path.relative_to(ROOT)}: {line.strip()}" for path in SOURCES for line in path.read_text().splitlines() if marks.search(line)]
    assert found == []
