"""Values as Go's fmt prints them: image histories hold such texts, and ours must be the same."""

_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\", '"': '\\"'}

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def quoted(text: str) -> str:
    """A string as %q prints it."""
    return '"' + "".join(_quoted_char(char) for char in text) + '"'


def quoted_list(items: "Iterable[str]") -> str:
    return "[" + " ".join(quoted(item) for item in items) + "]"


def plain_list(items: "Iterable[str]") -> str:
    """A list of strings as %v prints it."""
    return "[" + " ".join(items) + "]"


def _quoted_char(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
