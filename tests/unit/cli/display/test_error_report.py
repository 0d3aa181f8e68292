from chandlery.cli.display.error_report import rendered
from chandlery.errors import DockerfileError, RequestError, StepFailed

EXCERPT = "   |\n12 | RNU make\n   | ^^^"


def test_a_mistake_is_shown_in_its_place() -> None:
    error = DockerfileError(
        "unknown instruction: RNU", code="dockerfile.unknown-instruction", hint="did you mean RUN?", where="Dockerfile:12:1", excerpt=EXCERPT
    )

    assert rendered(error) == [
        "ERROR: unknown instruction: RNU",
        "  --> Dockerfile:12:1",
        "   |",
        "12 | RNU make",
        "   | ^^^",
        "   = help: did you mean RUN?",
        "   = code: dockerfile.unknown-instruction, exit status 2",
    ]


def test_a_failed_step_shows_its_output_unless_it_is_above() -> None:
    error = StepFailed("it failed", status=3)
    error.log_tail = "one\ntwo"
    error.reproduce = "chandlery run --failed abc"

    assert rendered(error) == [
        "ERROR: it failed",
        "  = the end of its output:",
        "  | one",
        "  | two",
        "  = to repeat the step: chandlery run --failed abc",
        "  = code: step.failed, exit status 1",
    ]
    assert "  | one" not in rendered(error, is_output_above=True)


def test_lines_of_an_excerpt_fit_the_terminal() -> None:
    error = DockerfileError("too long", where="Dockerfile:1:1", excerpt=f"  |\n1 | {'x' * 200}\n  | {'^' * 200}")

    assert max(map(len, rendered(error, columns=60))) == 60


def test_what_an_error_quotes_cannot_act_on_the_terminal() -> None:
    assert rendered(RequestError("bad \x1b[2J name\nsecond line"))[:2] == ["ERROR: bad  name", "       second line"]
