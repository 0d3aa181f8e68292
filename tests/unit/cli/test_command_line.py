import json
from pathlib import Path

import pytest

from chandlery.cli.display.choice import open_display
from chandlery.cli.display.palette import palette_for
from chandlery.cli.main import COMMANDS, GROUPS, main
from chandlery.errors import RequestError


@pytest.fixture(autouse=True)
def own_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHANDLERY_ROOT", str(tmp_path / "store"))


@pytest.mark.parametrize(
    ("arguments", "code", "help_text"),
    [
        (["buidl", "."], "request.unknown-command", "did you mean 'chandlery build'?"),
        (["build", "--tagg", "x", "."], "request.unknown-flag", "did you mean --tag?"),
        (["build", "--progress=plian", "."], "request.bad-progress", "did you mean plain?"),
        (["build"], "request.no-context", "chandlery build ."),
        (["build", "a", "b"], "request.usage", "--help"),
        (["build", "--target"], "request.usage", "--help"),
        (["build", "--push=maybe", "."], "request.usage", "--push=false"),
        (["build", "--ssh", "default", "."], "request.unsupported-flag", "leave it away"),
        (["run"], "request.usage", "chandlery run IMAGE"),
        (["run", "--failed", "../../etc"], "run.no-failed-step", "--failed"),
        (["run", "--failed", "abc"], "run.no-failed-step", "--failed"),
        (["volume", "lss"], "request.unknown-command", "did you mean 'chandlery volume ls'?"),
        (["volume", "show"], "request.usage", "chandlery volume show --help"),
    ],
)
def test_a_slip_is_answered_with_what_to_write(capsys: pytest.CaptureFixture[str], arguments: list[str], code: str, help_text: str) -> None:
    assert main(arguments) == 2

    shown = capsys.readouterr()
    assert f"= code: {code}, exit status 2" in shown.err
    assert help_text in shown.err
    assert shown.out == ""
    assert "Failed after" not in shown.err


@pytest.mark.parametrize("command", [*(COMMANDS.keys() - GROUPS), *(f"{group} {action}" for group, actions in GROUPS.items() for action in actions)])
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])

    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert shown.startswith(f"Usage: chandlery {command} [OPTIONS]")
    assert "==SUPPRESS==" not in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_lists_its_actions(capsys: pytest.CaptureFixture[str], group: str) -> None:
    assert main([group, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {action} " in shown for action in GROUPS[group])
    assert main([group]) == 2


def test_rawjson_tells_a_refused_request_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--progress=rawjson", "--ssh", "default", "."]) == 2

    assert json.loads(capsys.readouterr().err)["error_code"] == "request.unsupported-flag"


def test_a_metadata_file_names_the_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["build", "--metadata-file", str(tmp_path / "m.json"), str(tmp_path / "nowhere")])

    assert json.loads((tmp_path / "m.json").read_text())["chandlery.error"]["code"] == "context.missing"
    assert "ERROR:" in capsys.readouterr().err


def test_a_terminal_display_needs_a_terminal() -> None:
    with pytest.raises(RequestError) as refused:
        open_display("tty", {"TERM": "dumb"})
    assert refused.value.code == "request.no-terminal"


def test_no_colour_outside_terminals_and_for_no_color() -> None:
    assert not palette_for(0, {"TERM": "xterm", "NO_COLOR": "1"}).has_colour
    with open("/dev/null") as file:
        assert not palette_for(file.fileno(), {"TERM": "xterm"}).has_colour
