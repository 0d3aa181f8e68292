"""Large JSON documents a piece at a time: one object, some of whose arrays have a row for each of a hundred thousand files. Pure.

Parsed at once, such a document takes a kilobyte a row as dictionaries, beside its text. Here a window of text and one row are in memory, whatever comes:
a row, and what else the object holds, is refused where it is longer, or has more values, than anything that is written.
"""

import codecs
import re
from json import JSONDecoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import Any

# the pieces of a file of a terabyte
MAX_ROW, MAX_ROW_VALUES = 16 << 20, 1 << 20
NOT_AN_ARRAY = object()
_WINDOW = 64 << 10
_BLANK = re.compile(r"[ \t\n\r]*")
_DECODE = JSONDecoder().raw_decode


class JsonRows:
    """Iterate it once: (key, row) for every row of the arrays at `arrays`, in order; (key, NOT_AN_ARRAY) where there is none.

    `rest` has then been filled with what else the object holds, and with None for `arrays` that were there. A document that isn't an object has no rows and
    no rest. Raises ValueError, RecursionError.
    """

    def __init__(self, pieces: "Iterable[bytes]", arrays: "Collection[str]") -> None:
        self.rest: dict[str, Any] = {}
        self._arrays = arrays
        self._pieces = iter(pieces)
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
        self._text, self._at, self._is_all = "", 0, False

    def __iter__(self) -> "Iterator[tuple[str, Any]]":
        if self._next() != "{":
            self._value()
        else:
            for key in self._items("{", "}"):
                if not isinstance(key, str) or key in self.rest:
                    raise ValueError("a key twice, or none")
                self._take(":")
                if key not in self._arrays:
                    self.rest[key] = self._value()
                    continue
                self.rest[key] = None
                if self._next() != "[":
                    self._value()
                    yield key, NOT_AN_ARRAY
                    continue
                for row in self._items("[", "]"):
                    yield key, row
        if self._next():
            raise ValueError("there is something behind the document")

    def _items(self, first: str, last: str) -> "Iterator[Any]":
        """The values between brackets; of an object only the keys, behind each of which the caller reads the value."""
        self._take(first)
        if self._next() == last:
            self._take(last)
            return
        while True:
            yield self._value()
            if self._next() == last:
                self._take(last)
                return
            self._take(",")

    def _next(self) -> str:
        """The next sign that isn't blank, "" at the end."""
        while True:
            self._at = _BLANK.match(self._text, self._at).end()  # type: ignore[union-attr]  # it always matches
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _take(self, sign: str) -> None:
        if self._next() != sign:
            raise ValueError(f"{sign} is missing")
        self._at += 1

    def _value(self) -> "Any":
        self._next()
        while True:
            try:
                found, end = _DECODE(self._text, self._at)
                # a number goes on where the window ends
                if end < len(self._text) or self._is_all:
                    self._at = end
                    return found
            except ValueError:
                if self._is_all:
                    raise
            self._check_row()
            wanted = 2 * (len(self._text) - self._at)
            while self._more() and len(self._text) - self._at < wanted:
                pass
            self._check_row()

    def _check_row(self) -> None:
        """What didn't fit the window is looked at before it is parsed."""
        if len(self._text) - self._at <= 4 * _WINDOW:
            return
        counted = sum(self._text.count(sign, self._at) for sign in ",[{")
        if len(self._text) - self._at > MAX_ROW or counted > MAX_ROW_VALUES:
            raise ValueError("a row is too long")

    def _more(self) -> bool:
        """Have more text; False at the end."""
        if self._is_all:
            return False
        piece = next(self._pieces, None)
        self._is_all = piece is None
        self._text = self._text[self._at :] + self._decoder.decode(piece or b"", final=self._is_all)
        self._at = 0
        return True


def pieces_of(data: bytes) -> "Iterator[bytes]":
    """Bytes that are at hand, in windows."""
    view = memoryview(data)
    for at in range(0, len(data), _WINDOW):
        yield bytes(view[at : at + _WINDOW])


def pieces_in(path: str) -> "Iterator[bytes]":
    """A file's bytes, in windows."""
    with open(path, "rb", buffering=0) as file:
        while data := file.read(_WINDOW):
            yield data
