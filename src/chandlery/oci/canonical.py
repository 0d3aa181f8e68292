"""The one JSON encoding used for anything that gets hashed.

Keys sorted, no white space, UTF-8, no NaN: the same value gives the same bytes in every process and version of Python.
"""

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ENCODE = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def encode(document: "Any") -> bytes:
    """The canonical bytes of a JSON document of dicts with string keys, lists, strings, ints, bools and None.

    Strings may hold surrogate escapes (file names that aren't UTF-8); they are written as \\udcXX escapes, so the result is
    valid UTF-8 and still one-to-one.
    """
    return _ENCODE(document).encode("utf-8", "backslashreplace")
