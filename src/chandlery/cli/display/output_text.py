"""Output of steps as text that a terminal or a log can take: whole lines, what a carriage return overwrote left out, no control sequences but colours.

A step's output is untrusted: a sequence that moves the cursor, sets the title or answers a query would act on the reader's terminal.
Bytes that aren't UTF-8 become U+FFFD. Nothing here knows a display.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

_MAX_PENDING_BYTES = 64 << 10
# ECMA-48: CSI; OSC, DCS, SOS, PM, APC up to their terminator; other escapes
_SEQUENCE = r"\x1b\[([0-?]*)[ -/]*([@-~])|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|$)|\x1b[ -/]*[0-~]?|\x1b"
_CONTROL = "[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
_RESET = "\x1b[0m"


def harmless(text: str, *, keeps_colour: bool = False) -> str:
    """One line without control characters; colours stay where wanted, and end with the line."""
    if text.isascii() and text.isprintable():
        return text
    import re

    coloured = False

    def sequence(match: "re.Match[str]") -> str:
        nonlocal coloured
        is_colour = keeps_colour and match[2] == "m" and set(match[1] or "") <= set("0123456789;:")
        coloured = coloured or is_colour
        return f"\x1d[{match[1]}m" if is_colour else ""

    # a colour's escape is put aside as 0x1d while controls are removed, so none in the text must pass for one
    plain = re.sub(_CONTROL, "", re.sub(_SEQUENCE, sequence, text.replace("\x1d", "").replace("\t", "    ").replace("\n", " ")).replace("\x1d[", "\ue0f0"))
    return plain.replace("\ue0f0", "\x1b[") + _RESET if coloured else plain


def folded(line: bytes) -> str:
    """What a terminal would show in the end of a line with carriage returns in it, to the first order: the last piece that isn't empty."""
    pieces = [piece for piece in line.split(b"\r") if piece]
    return pieces[-1].decode("utf-8", "replace") if pieces else ""


class Lines:
    """Joins the pieces of one step's output to lines."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completed."""
        *whole, self._pending = (self._pending + data).split(b"\n")
        if len(self._pending) > _MAX_PENDING_BYTES:
            # a progress bar's earlier states are nobody's; a line without an end is shown in pieces
            self._pending = self._pending[self._pending.rfind(b"\r") + 1 :]
            if len(self._pending) > _MAX_PENDING_BYTES:
                whole.append(self._pending)
                self._pending = b""
        return [folded(line) for line in whole]

    def peek(self) -> str:
        """What there is of a line that has no end yet."""
        return folded(self._pending)

    def rest(self) -> list[str]:
        """The last line, where it has no end; it counts as said."""
        line, self._pending = folded(self._pending), b""
        return [line] if line else []
