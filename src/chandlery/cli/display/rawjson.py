"""Events as JSON, one object a line, for programs (docs/progress-rawjson.md): every event, then one object that says how it ended."""

import json
from _thread import allocate_lock
from enum import StrEnum

from chandlery.events import BuildFinished, BuildStarted, Event, StepFinished, StepLog, StepProgress, StepStarted, VolumeUsed, Warned
from chandlery.values import fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from chandlery.cli.display.late_log import LateLog
    from chandlery.engine.request import BuildResult
    from chandlery.errors import ChandleryError

NAMES: "dict[type, str]" = {
    BuildStarted: "build-started", StepStarted: "step-started", StepLog: "step-log", StepProgress: "step-progress", StepFinished: "step-finished",
    VolumeUsed: "volume-used", Warned: "warning", BuildFinished: "build-finished",
}  # fmt: skip
_RENAMED = {"at_s": "time", "build_id": "build"}


class JsonDisplay:
    def __init__(self, out: "TextIO", log: "LateLog") -> None:
        self._out = out
        self._log = log
        self._lock = allocate_lock()
        self._is_dead = False

    def sink(self, event: Event) -> None:
        with self._lock:
            self._log.take(event)
            self._write(as_object(event))

    def close(self, result: "BuildResult | None") -> None:
        with self._lock:
            self._log.close()
            if result is not None:
                self._write(result_object(result, self._log.path))

    def fail(self, error: "ChandleryError") -> None:
        """The last object of a build that failed."""
        self.close(None)
        self._write(error_object(error, self._log.path))

    def _write(self, document: "dict[str, object]") -> None:
        if self._is_dead:
            return
        try:
            self._out.write(json.dumps(document, separators=(",", ":")) + "\n")
            self._out.flush()
        except (OSError, ValueError):
            self._is_dead = True


def as_object(event: Event) -> "dict[str, object]":
    document: dict[str, object] = {"event": NAMES[type(event)]}
    for name in fields(event):
        item = getattr(event, name)
        if isinstance(item, bytes):
            document.update(_data(item))
        else:
            document[_RENAMED.get(name, name)] = str(item) if isinstance(item, StrEnum) else item
    return document


def result_object(result: "BuildResult", log_path: str) -> "dict[str, object]":
    return {
        "event": "result",
        "build": result.build_id,
        "names": list(result.names),
        "config_digest": result.config_digest,
        "image_digest": result.image_digest,
        "seconds": round(result.seconds, 3),
        "bytes_moved": result.bytes_moved,
        "log": log_path,
    }


def error_object(error: "ChandleryError", log_path: str) -> "dict[str, object]":
    document: dict[str, object] = {
        "event": "error",
        "error_code": error.code,
        "error_message": error.message,
        "hint": error.hint,
        "exit_status": error.exit_status,
        "is_retryable": error.retryable,
        "log": log_path,
    }
    more = {name: getattr(error, name, "") for name in ("where", "excerpt", "log_tail", "reproduce")}
    return document | {name: text for name, text in more.items() if text}


def _data(data: bytes) -> "dict[str, object]":
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        from base64 import b64encode

        return {"base64": b64encode(data).decode()}
