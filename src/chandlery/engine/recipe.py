"""What an image says of itself and of when it was made, from what lowering found."""

import time

from chandlery.errors import RequestError
from chandlery.exporter.assemble import ImageRecipe
from chandlery.frontend.dockerfile.lowered import Lowered
from chandlery.oci.image_config import HistoryEntry

# the end of the year 9999: what RFC 3339 can write
_LAST_S = 253402300799


def epoch_of(lowered: Lowered) -> int | None:
    """SOURCE_DATE_EPOCH in seconds, None without one. Raises RequestError (request.bad-epoch)."""
    text = lowered.source_date_epoch
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > len(str(_LAST_S)) or int(text) > _LAST_S:
        hint = "give seconds since 1970, for example of the last commit: $(git log -1 --pretty=%ct)"
        raise RequestError(f"SOURCE_DATE_EPOCH={text} is not a time", code="request.bad-epoch", hint=hint)
    return int(text)


def recipe_of(lowered: Lowered, epoch_s: int | None) -> ImageRecipe:
    """How to put the image's configuration together once its layers are known."""
    history = tuple(HistoryEntry("", entry.created_by, entry.comment, "", entry.is_empty_layer) for entry in lowered.history)
    base = lowered.base.config if lowered.base is not None else None
    return ImageRecipe(lowered.config, base, history, _timestamp(epoch_s) if epoch_s is not None else "")


def created_time(epoch_s: int | None) -> str:
    """The created time of a layer made now, RFC 3339 with nanoseconds as Docker writes it."""
    if epoch_s is not None:
        return _timestamp(epoch_s)
    now_ns = time.time_ns()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now_ns // 10**9))}.{now_ns % 10**9:09d}Z"


def _timestamp(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
