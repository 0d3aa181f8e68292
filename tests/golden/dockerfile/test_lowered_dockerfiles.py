"""Whole Dockerfiles and what they lower to: NAME.Dockerfile beside NAME.json, the graph, configuration and history as JSON."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fakes.pins import lower_text

from chandlery.graph.source_range import SourceRange
from chandlery.values import fields

HERE = Path(__file__).parent


def document(item: object) -> object:
    """A value as JSON: its class beside its fields, places as text, defaults left out."""
    if isinstance(item, SourceRange):
        return f"{item.line}:{item.column}-{item.end_line}"
    if isinstance(item, tuple | list):
        return [document(each) for each in item]
    if isinstance(item, dict):
        return {key: document(each) for key, each in item.items()}
    if isinstance(item, bytes):
        return item.decode()
    if not hasattr(item, "__value_fields__"):
        return item
    cls = type(item)
    shown = {name: getattr(item, name) for name in fields(item)}
    kept = {name: document(each) for name, each in shown.items() if not hasattr(cls, name) or getattr(cls, name) != each}
    return {"kind": cls.__name__, **kept}


@pytest.mark.parametrize("path", sorted(HERE.glob("*.Dockerfile")), ids=lambda path: path.stem)
def test_a_dockerfile_lowers_to_its_golden_document(path: Path, matches_golden: Callable[[Path, str], None]) -> None:
    lowered = lower_text(path.read_text(encoding="utf-8"), build_args=(("VERSION", "9"),))
    found = json.dumps(document(lowered), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    matches_golden(path.with_suffix(".json"), found)
