"""A terminal, as far as the displays use one: what is on its screen and in its scrollback after some output."""

import re

_TOKEN = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])|\r|\n|[^\x1b\r\n]")


class Terminal:
    """`columns` wide and `rows` high; lines that leave at the top go to the scrollback. Unknown sequences are an error: a display shouldn't need them."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.columns = columns
        self.rows = rows
        self.scrollback: list[str] = []
        self._screen: list[list[str]] = [[]]
        self._row = 0
        self._column = 0
        self.modes: set[str] = set()

    def feed(self, text: str) -> None:
        """What a tty with ONLCR hands on: both "\\n" and "\\r\\n" begin a line."""
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            assert match is not None, f"a sequence that no display needs: {text[at : at + 10]!r}"
            at = match.end()
            if match[3]:
                self._control(match[1], match[2], match[3])
            elif match[0] == "\r":
                self._column = 0
            elif match[0] == "\n":
                self._column = 0
                self._down()
            else:
                self._put(match[0])

    def lines(self) -> list[str]:
        """Scrollback and screen, without empty lines at the end."""
        shown = [*self.scrollback, *("".join(row).rstrip() for row in self._screen)]
        while shown and not shown[-1]:
            shown.pop()
        return shown

    def _control(self, private: str, parameters: str, letter: str) -> None:
        if private:
            (self.modes.add if letter == "h" else self.modes.discard)(parameters)
        elif letter == "A":
            self._row = max(0, self._row - int(parameters or 1))
        elif letter == "K":
            del self._screen[self._row][self._column :]
        elif letter == "J":
            del self._screen[self._row][self._column :]
            del self._screen[self._row + 1 :]
        else:
            assert letter == "m", f"a sequence that no display needs: {letter}"

    def _put(self, character: str) -> None:
        if self._column >= self.columns:
            self._column = 0
            self._down()
        row = self._screen[self._row]
        row.extend(" " * (self._column + 1 - len(row)))
        row[self._column] = character
        self._column += 1

    def _down(self) -> None:
        self._row += 1
        if self._row >= len(self._screen):
            self._screen.append([])
        if len(self._screen) > self.rows:
            self.scrollback.append("".join(self._screen.pop(0)).rstrip())
            self._row -= 1
