"""A command's help as docker's: the usage in one line, then every option with its words in one column."""

from chandlery.cli.options import FLAG, OPTIONAL, REST, SOME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.options import Option, Parser

_WIDEST_NAME = 34
_HELP = ("-h, --help", "show this help message and exit")


def help_text(parser: "Parser", columns: int) -> str:
    """As wide as `columns` allow; ends without a newline."""
    paragraphs = [f"Usage: {' '.join([parser.prog, '[OPTIONS]', *map(_placeholder, parser.words)])}", _wrapped(parser.description, columns)]
    words = [(_placeholder(word), word.help) for word in parser.words if word.help]
    options = [_HELP, *(_row(option) for option in parser.options if option.help)]
    for title, rows in (("Arguments", words), ("Options", options)):
        if rows:
            paragraphs.append("\n".join([f"{title}:", *_lines(rows, columns)]))
    if parser.epilog:
        paragraphs.append("\n".join(_wrapped(line, columns) for line in parser.epilog.split("\n")))
    return "\n\n".join(paragraphs)


def _placeholder(word: "Option") -> str:
    name = word.metavar
    return {OPTIONAL: f"[{name}]", SOME: f"{name} [{name}...]", REST: f"[{name}...]"}.get(word.kind, name)


def _lines(rows: list[tuple[str, str]], columns: int) -> list[str]:
    width = min(_WIDEST_NAME, max(len(left) for left, _ in rows))
    lines = []
    for left, right in rows:
        first, *more = _wrapped(right, columns - width - 5).split("\n")
        if len(left) > width:
            lines.append(f"  {left}")
            left = ""
        lines += [f"  {left.ljust(width)}   {first}".rstrip(), *(f"  {'':{width}}   {line}" for line in more)]
    return lines


def _row(option: "Option") -> tuple[str, str]:
    """An option's names and its words; short names stand before the column of long ones."""
    short = [name for name in option.names if not name.startswith("--")]
    long = [name for name in option.names if name.startswith("--")]
    left = ", ".join([*short, *long]) if short else f"    {long[0]}"
    words = option.help
    if option.kind != FLAG:
        left += f" {option.metavar}"
    if option.choices and option.kind != FLAG:
        words += f": {', '.join(option.choices)}"
    return left, f"{words} (default {option.default})" if option.default not in (None, "", "default") else words


def _wrapped(text: str, columns: int) -> str:
    from textwrap import fill

    return fill(text, columns, break_long_words=False, break_on_hyphens=False)
