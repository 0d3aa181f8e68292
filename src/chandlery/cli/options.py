"""What a command takes, as it says itself: its flags and the words that are none. A table of plain values: declaring fifty flags must cost next to nothing,
because a fully cached build declares them all."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

FLAG, ONE, MANY = "flag", "one", "many"
REQUIRED, OPTIONAL, SOME, REST = "required", "optional", "some", "rest"


class Option:
    """A flag under one or more `names`, or, without names, a word of its own. `kind`: FLAG, ONE or MANY values for flags; for words REQUIRED, OPTIONAL,
    SOME (at least one) or REST (whatever follows is somebody else's, flags too). `dest` is the argument's attribute; without help it isn't shown."""

    __slots__ = ("choices", "default", "dest", "help", "kind", "metavar", "names")

    def __init__(self, names: tuple[str, ...], kind: str, dest: str, help: str, metavar: str, default: "str | None", choices: "Sequence[str]") -> None:
        self.names = names
        self.kind = kind
        self.dest = dest
        self.help = help
        self.metavar = metavar
        self.default = default
        self.choices = choices


class Parser:
    """The options of the command `prog`, in the order in which they are shown."""

    def __init__(self, prog: str, description: str) -> None:
        self.prog = prog
        self.description = description
        self.epilog = ""
        self.options: list[Option] = []
        self.words: list[Option] = []

    def flag(self, *names: str, help: str = "", dest: str = "", choices: "Sequence[str]" = ()) -> None:
        """A boolean flag; `choices` are words that may stand behind its "=" as well."""
        self._add(names, FLAG, dest, help, choices=choices)

    def one(self, *names: str, help: str = "", metavar: str = "STRING", default: "str | None" = "", dest: str = "", choices: "Sequence[str]" = ()) -> None:
        """A flag with one value, the last one given."""
        self._add(names, ONE, dest, help, metavar, default, choices)

    def many(self, *names: str, help: str = "", metavar: str = "STRING", dest: str = "") -> None:
        """A flag that may be given many times."""
        self._add(names, MANY, dest, help, metavar)

    def word(self, dest: str, *, kind: str = REQUIRED, help: str = "", metavar: str = "", default: "str | None" = "", choices: "Sequence[str]" = ()) -> None:
        """What stands by itself, after the words declared before."""
        self.words.append(Option((), kind, dest, help, metavar or dest.upper(), default, choices))

    def _add(
        self, names: tuple[str, ...], kind: str, dest: str, help: str, metavar: str = "", default: "str | None" = "", choices: "Sequence[str]" = ()
    ) -> None:
        self.options.append(Option(names, kind, dest or names[-1].lstrip("-").replace("-", "_"), help, metavar, default, choices))
