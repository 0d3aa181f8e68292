"""`chandlery completion`: what a shell needs to complete commands, actions and flags."""

import sys

from chandlery.cli.options import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.config import Settings

SUMMARY = "Print a script that lets a shell complete Chandlery's commands: source <(chandlery completion bash), in zsh after bashcompinit."

_SCRIPT = """_chandlery() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} first=${{COMP_WORDS[1]}} words=
  if (( COMP_CWORD == 1 )); then words="{commands}"
  else case "$first ${{COMP_WORDS[2]:-}}" in
{cases}
  esac fi
  [[ $cur == -* || -n $words && $words != -* ]] && COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _chandlery chandlery
"""


def add_arguments(parser: Parser) -> None:
    parser.word("shell", choices=("bash", "zsh"), help="the shell")


def run(_: "Arguments", settings: "Settings") -> int:  # noqa: ARG001 (every command's)
    from chandlery.cli.main import COMMANDS, GROUPS

    cases = []
    for group, actions in GROUPS.items():
        cases += [
            f'    "{group} {action}") (( COMP_CWORD == 2 )) && words="{" ".join(actions)}" || words="{_flags(f"{group}.{action}")}" ;;' for action in actions
        ]
        cases.append(f'    "{group} "*) (( COMP_CWORD == 2 )) && words="{" ".join(actions)}" ;;')
    cases += [f'    "{command} "*) words="{_flags(command)}" ;;' for command in COMMANDS if command not in GROUPS]
    print(_SCRIPT.format(commands=" ".join(COMMANDS), cases="\n".join(cases)), end="")
    return 0


def _flags(command: str) -> str:
    """The long flags of a command that are shown in its help."""
    name = f"chandlery.cli.{command}"
    __import__(name)
    parser = Parser(command, "")
    sys.modules[name].add_arguments(parser)
    return " ".join(flag for option in parser.options if option.help for flag in option.names if flag.startswith("--"))
