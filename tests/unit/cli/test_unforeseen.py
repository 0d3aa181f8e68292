"""Whatever happens, people are told a sentence with a code."""

import pytest

from chandlery.cli import images
from chandlery.cli.main import main


@pytest.mark.parametrize(
    ("failure", "status", "code"), [(KeyError("bug"), 70, "internal"), (PermissionError(13, "Permission denied", "/x"), 71, "machine.refused")]
)
def test_a_bug_and_a_refusal_of_the_machine_are_told_without_a_traceback(monkeypatch, capsys, failure, status, code):
    def fail(*_: object) -> int:
        raise failure

    monkeypatch.setattr(images, "run", fail)
    monkeypatch.delenv("CHANDLERY_DEBUG", raising=False)
    assert main(["images"]) == status
    shown = capsys.readouterr().err
    assert f"code: {code}" in shown
    assert "Traceback" not in shown


def test_who_looks_for_the_bug_sees_where_it_happened(monkeypatch):
    def fail(*_: object) -> int:
        raise KeyError("bug")

    monkeypatch.setattr(images, "run", fail)
    monkeypatch.setenv("CHANDLERY_DEBUG", "1")
    with pytest.raises(KeyError):
        main(["images"])


def test_a_reader_that_leaves_is_no_error(monkeypatch):
    monkeypatch.setattr(images, "run", lambda *_: (_ for _ in ()).throw(BrokenPipeError()))
    monkeypatch.setattr("os.dup2", lambda *_: None)
    assert main(["images"]) == 141
