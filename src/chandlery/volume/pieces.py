"""Which parts of which frames the files of a pack are made of: columns of numbers, for there are as many as files, and objects take ten times the memory."""

from array import array

from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@value
class Piece:
    """Part of a file: `size_bytes` at `at` of the plain bytes of a frame."""

    frame: int
    at: int
    size_bytes: int


class Pieces:
    """The pieces of a table's files, by the number of the file's row. Rows are added in order; those of what is no file have none."""

    def __init__(self) -> None:
        self._ends = array("I")
        self._frames, self._ats, self._sizes = array("I"), array("I"), array("I")

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, frame: int, at: int, size_bytes: int) -> None:
        """One more of the row that `end_row` ends. Raises OverflowError for what no pack has."""
        self._frames.append(frame)
        self._ats.append(at)
        self._sizes.append(size_bytes)

    def end_row(self) -> None:
        self._ends.append(len(self._frames))

    def of(self, row: int) -> "Iterator[Piece]":
        for number in self._numbers(row):
            yield Piece(self._frames[number], self._ats[number], self._sizes[number])

    def count(self, row: int) -> int:
        return len(self._numbers(row))

    def first_frame(self, row: int) -> int:
        """The number of the frame in which a file begins, -1 where it has none."""
        numbers = self._numbers(row)
        return self._frames[numbers.start] if numbers else -1

    def all(self) -> "Iterator[tuple[int, int, int]]":
        """(frame, at, size) of every one."""
        return zip(self._frames, self._ats, self._sizes, strict=True)

    def _numbers(self, row: int) -> range:
        return range(self._ends[row - 1] if row else 0, self._ends[row])
