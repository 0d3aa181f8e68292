"""docs/exit-statuses.md is written from errors.py: `pytest tests/architecture --accept` rewrites it."""

from pathlib import Path

import pytest

from chandlery import errors
from chandlery.errors import ChandleryError, Lost

PAGE = Path(__file__).parents[2] / "docs/exit-statuses.md"
_WHO = {
    "InputError": "the author of the Dockerfile, the request or the context",
    "DockerfileError": "the author of the Dockerfile: the place is shown",
    "RequestError": "whoever wrote the command line or the configuration",
    "ContextError": "whoever keeps the build context",
    "StepFailed": "the author of the step's own command",
    "RegistryError": "whoever runs the network or the registry",
    "Unavailable": "nobody yet: the same build may pass later",
    "AccessDenied": "whoever gives out credentials",
    "NotFound": "the author of an image's name",
    "LyingRegistry": "whoever runs the registry or what stands before it",
    "MachineError": "whoever runs this machine",
    "NoSpace": "whoever runs this machine: its disk is full",
    "StoreError": "whoever keeps the store",
    "InternalError": "us: please report it",
}
_TEXT = """# Exit statuses

What `chandlery` ends with says who must act; the error's code says what happened. The code is stable. It stands at the end of the report on standard
error, under `chandlery.error` in the file of `--metadata-file`, and as `error_code` in the output of `--progress=rawjson`.

| status | meaning |
|---|---|
| 0 | done |
{statuses}
| 130, 143 | stopped by Ctrl-C or SIGTERM (`cancelled`); nothing of the build is left running |
| 141 | nobody reads the output any more |

`chandlery run` ends with the status of the command that it ran.

A script needs one rule: **75 is worth another try, anything else is not.**

| error | code begins with | status | who must act |
|---|---|---|---|
{classes}

A code may say more than its class: `registry.timeout` is an `Unavailable`.
"""
_STATUSES = {
    1: "a step's command failed",
    2: "the Dockerfile, the command line, the configuration or the context is wrong",
    69: "a registry refused, or has not got what was asked for",
    70: "a bug of ours",
    71: "this machine lacks or refuses something",
    73: "the disk is full, also after a prune of what nobody uses",
    75: "network or registry out of reach: retry",
}


def classes() -> list[type[ChandleryError]]:
    found = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, ChandleryError)]
    # Lost is caught by the solver, Cancelled has a line of its own
    return [item for item in found if item not in (ChandleryError, Lost, errors.Cancelled)]


def page() -> str:
    rows = [f"| {item.__name__} | `{item.code}` | {item.exit_status}{', retry' if item.retryable else ''} | {_WHO[item.__name__]} |" for item in classes()]
    statuses = sorted({item.exit_status for item in classes()})
    return _TEXT.format(statuses="\n".join(f"| {status} | {_STATUSES[status]} |" for status in statuses), classes="\n".join(rows))


def test_the_page_says_what_the_classes_say(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--accept"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page()


def test_only_what_may_pass_later_has_the_status_for_it() -> None:
    assert {item.exit_status == 75 for item in classes() if item.retryable} == {True}
    assert {item.exit_status == 75 for item in classes() if not item.retryable} == {False}
