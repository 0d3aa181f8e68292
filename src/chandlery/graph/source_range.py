"""`SourceRange`: where in a file something came from, for messages, and the excerpt that shows it."""

from chandlery.values import value


@value
class SourceRange:
    """Lines and columns count from 1; `end_line` is inclusive, `end_column` exclusive (0: to the end of the line)."""

    file: str
    line: int
    column: int = 1
    end_line: int = 0
    end_column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"
