"""Colours of the displays: none for NO_COLOR and outside terminals, buildx's variable BUILDKIT_COLORS for other ones ("run=green:error=255,0,0")."""

import os

from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_RESET = "\x1b[0m"
_NAMES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")


@value
class Palette:
    """SGR sequences, "" for no colour: `run` finished steps, `error`, `cancel`, `warning`; `quiet` what matters less; `strong` what matters more."""

    run: str = ""
    error: str = ""
    cancel: str = ""
    warning: str = ""
    quiet: str = ""
    strong: str = ""

    @property
    def has_colour(self) -> bool:
        return bool(self.strong)

    @staticmethod
    def paint(colour: str, text: str) -> str:
        return f"{colour}{text}{_RESET}" if colour and text else text


COLOURLESS = Palette()


def palette_for(fd: int, environment: "Mapping[str, str]") -> Palette:
    """The palette for what is written to a file descriptor."""
    if environment.get("NO_COLOR") or environment.get("TERM", "dumb") == "dumb" or not os.isatty(fd):
        return COLOURLESS
    chosen = {"run": "\x1b[36m", "error": "\x1b[31m", "cancel": "\x1b[33m", "warning": "\x1b[33m"}
    for field in environment.get("BUILDKIT_COLORS", "").split(":"):
        name, _, colour = field.partition("=")
        name = {"cancel": "cancel", "canceled": "cancel"}.get(name, name)
        if name in chosen and (code := _code(colour.strip().lower())):
            chosen[name] = code
    return Palette(quiet="\x1b[2m", strong="\x1b[1m", **chosen)


def _code(colour: str) -> str:
    if colour in _NAMES:
        return f"\x1b[{30 + _NAMES.index(colour)}m"
    if colour.startswith("light") and colour[5:] in _NAMES:
        return f"\x1b[{90 + _NAMES.index(colour[5:])}m"
    parts = colour.split(",")
    if len(parts) == 3 and all(part.isdigit() and int(part) < 256 for part in parts):
        return f"\x1b[38;2;{';'.join(parts)}m"
    return ""
