import errno

import pytest

from chandlery.engine.foreign import as_ours
from chandlery.errors import Cancelled, ChandleryError


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (OSError(errno.ENOSPC, "full"), "machine.no-space"),
        (OSError(errno.EROFS, "read only"), "store.read-only"),
        (OSError(errno.EMFILE, "too many files"), "machine.refused"),
        (PermissionError(errno.EPERM, "not permitted", b"/\xff"), "machine.refused"),
        (MemoryError(), "machine.no-memory"),
        (KeyError("x"), "internal"),
    ],
)
def test_whatever_is_raised_gets_a_code_and_a_hint(failure, code):
    ours = as_ours(failure, "/store")
    assert isinstance(ours, ChandleryError)
    assert ours.code == code
    assert ours.hint
    assert ours.__cause__ is failure


@pytest.mark.parametrize("failure", [Cancelled(15), BrokenPipeError()])
def test_what_is_ours_and_a_reader_that_left_stay_what_they_are(failure):
    assert as_ours(failure, "/store") is failure
