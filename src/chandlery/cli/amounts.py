"""Sizes and ages as people read them in tables."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def size_text(size_bytes: int) -> str:
    """ "1.2GB": three digits at most, decimal units as docker's tables have them."""
    size, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f}{unit}" if unit == "B" or size >= 100 else f"{size:.3g}{unit}"


def count_text(count: int, noun: str) -> str:
    """ "1 file", "12 files"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def age_text(seconds: float) -> str:
    """ "3 hours ago"."""
    for limit, length, name in ((60, 1, "second"), (3600, 60, "minute"), (86400, 3600, "hour"), (86400 * 60, 86400, "day"), (86400 * 730, 86400 * 30, "month")):
        if seconds < limit:
            count = max(int(seconds // length), 0)
            return f"{count} {name}{'' if count == 1 else 's'} ago"
    return f"{int(seconds // (86400 * 365))} years ago"


def table(header: tuple[str, ...], rows: "Sequence[tuple[str, ...]]") -> str:
    """Columns aligned by their longest cell, three spaces apart, the last one ragged."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (header, *rows)]
    return "\n".join(lines)
