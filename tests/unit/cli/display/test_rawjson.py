import base64
import io
import json

from tests.fakes import recorded

from chandlery.cli.display.late_log import LateLog
from chandlery.cli.display.rawjson import JsonDisplay
from chandlery.errors import StepFailed, Unavailable
from chandlery.events import StepLog


def objects(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_every_event_is_an_object_with_stable_names() -> None:
    out = io.StringIO()
    display = JsonDisplay(out, LateLog())

    for event in recorded.failed():
        display.sink(event)

    found = objects(out)
    assert [item["event"] for item in found] == [
        "build-started", "step-started", "step-progress", "step-finished", "warning", "step-started", "step-log", "step-log", "step-finished",
        "build-finished",
    ]  # fmt: skip
    assert found[1] == {"event": "step-started", "step": 1, "name": "[build 1/2] FROM docker.io/library/maven", "time": 1000.0}
    assert found[6] == {"event": "step-log", "step": 2, "stream": 1, "text": "compiling\nfail", "time": 1001.5}
    assert found[8]["error_code"] == "step.failed"


def test_output_that_is_not_text_is_base64() -> None:
    out = io.StringIO()

    JsonDisplay(out, LateLog()).sink(StepLog(1, 1, b"\xff\x00", 1.0))

    assert base64.b64decode(str(objects(out)[0]["base64"])) == b"\xff\x00"


def test_the_last_object_says_how_it_ended() -> None:
    out = io.StringIO()
    display = JsonDisplay(out, LateLog())

    display.close(recorded.RESULT)
    display.fail(Unavailable("the registry is out of reach", code="registry.timeout", hint="try again"))
    failure = StepFailed("it failed", status=3)
    failure.reproduce = "chandlery run --failed abc123"
    display.fail(failure)

    result, unavailable, step = objects(out)
    assert (result["event"], result["names"], result["config_digest"]) == ("result", ["shop:1"], "sha256:" + "1" * 64)
    assert (unavailable["event"], unavailable["error_code"], unavailable["exit_status"], unavailable["is_retryable"]) == ("error", "registry.timeout", 75, True)
    assert step["reproduce"] == "chandlery run --failed abc123"
