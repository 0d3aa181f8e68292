"""Asking the file system where to put things: it may refuse, and that is fine."""

from pathlib import Path

import pytest

from chandlery.linux.placement import spread_children


def test_a_directory_is_marked_once_or_not_at_all(tmp_path: Path) -> None:
    answer = spread_children(str(tmp_path))
    assert spread_children(str(tmp_path)) is answer
    (tmp_path / "below").mkdir()


def test_a_file_system_without_it_says_no() -> None:
    assert spread_children("/proc") is False


def test_what_is_no_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(NotADirectoryError):
        spread_children(str(tmp_path / "f"))
