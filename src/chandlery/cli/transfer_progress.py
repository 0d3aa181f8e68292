"""Progress of a pull or push on its own: one line that is redrawn on a terminal, and nothing but the end elsewhere."""

import os
import sys
import time

from chandlery.cli.amounts import size_text

_REDRAW_S = 0.1


class TransferProgress:
    """`update` may be called from several threads, with what is known of each blob; `end` leaves the cursor on a fresh line."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._blobs: dict[str, tuple[int, int]] = {}
        self._drawn_at_s = 0.0
        self._is_terminal = os.isatty(sys.stderr.fileno())

    def update(self, blob: str, done: int, total: int) -> None:
        self._blobs[blob] = (done, total)
        now = time.monotonic()
        if self._is_terminal and now - self._drawn_at_s >= _REDRAW_S:
            self._drawn_at_s = now
            have, whole = (sum(column) for column in zip(*self._blobs.copy().values(), strict=True))
            of_all = f" of {size_text(whole)} in {len(self._blobs)} blobs" if whole else ""
            sys.stderr.write(f"\r\033[K{self._verb} {size_text(have)}{of_all}")
            sys.stderr.flush()

    def end(self) -> None:
        if self._is_terminal and self._drawn_at_s:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
