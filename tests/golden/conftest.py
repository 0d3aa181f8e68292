"""What a golden test found in place of what it expected is written under `--accept`; the diff is the review."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def matches_golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with the file that holds what is expected, or rewrite the file under --accept."""

    def check(expected: Path, found: str) -> None:
        if request.config.getoption("--accept"):
            expected.write_text(found, encoding="utf-8")
        assert expected.is_file(), f"{expected.name} is missing: run this test with --accept and review what it writes"
        assert found == expected.read_text(encoding="utf-8")

    return check
