"""The machine's own apt sources, and those of one suite among them.

A base image comes from the mirrors that this machine already trusts, so nothing here knows a mirror's name. Both of apt's formats are
read (sources.list(5)): one line an entry, and deb822 paragraphs. A suite that the machine has no entry for, a newer release say, is
looked for where the machine's own release comes from.
"""

import os
import re

from chandlery.errors import MachineError
from chandlery.values import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_POCKETS = ("", "-updates", "-security", "/updates")
_WITHOUT_POCKETS = frozenset({"sid", "unstable", "experimental"})
_OPTIONS = {"signed-by": "Signed-By", "trusted": "Trusted", "check-valid-until": "Check-Valid-Until"}


@value
class AptSource:
    """One entry for binary packages. `options` are deb822 fields that decide whom to trust, in order; a value may span lines."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()

    @property
    def keyring(self) -> str:
        """The path of the keyring that signs it, or "" where it names none (or holds the key itself)."""
        signed_by = dict(self.options).get("Signed-By", "")
        return signed_by if signed_by.startswith("/") and "\n" not in signed_by else ""


def read_machine(directory: str = "/etc/apt") -> tuple[AptSource, ...]:
    """Every entry of the machine's apt configuration, in apt's order."""
    parts = os.path.join(directory, "sources.list.d")
    names = [os.path.join(directory, "sources.list")]
    names += sorted(os.path.join(parts, name) for name in (os.listdir(parts) if os.path.isdir(parts) else ()))
    found: list[AptSource] = []
    for name in names:
        if name.endswith((".list", ".sources")) and os.path.isfile(name):
            with open(name, encoding="utf-8", errors="replace") as file:
                text = file.read()
            found += parse_paragraphs(text) if name.endswith(".sources") else parse_lines(text)
    return tuple(found)


def parse_lines(text: str) -> list[AptSource]:
    """Entries of a one-line-style file."""
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line)
        if match:
            pairs = (item.split("=", 1) for item in (match[1] or "").split() if "=" in item)
            options = tuple((_OPTIONS[key.lower()], item) for key, item in pairs if key.lower() in _OPTIONS)
            found.append(AptSource((match[2],), (match[3],), tuple(match[4].split()), options))
    return found


def parse_paragraphs(text: str) -> list[AptSource]:
    """Entries of a deb822 file; disabled ones and source packages are left out."""
    found = []
    for paragraph in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", text)):
        fields = {key.lower(): item.strip() for key, item in re.findall(r"(?m)^([\w-]+):((?:.*)(?:\n[ \t].*)*)", paragraph)}
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() not in ("no", "false", "0"):
            options = tuple((name, fields[key]) for key, name in _OPTIONS.items() if key in fields)
            uris, suites, components = (tuple(fields.get(key, "").split()) for key in ("uris", "suites", "components"))
            found.append(AptSource(uris, suites, components, options))
    return found


def for_suite(sources: "Iterable[AptSource]", suite: str, *, own_suite: str) -> tuple[AptSource, ...]:
    """The distribution's entries for `suite`: the machine's, or else those of its own release with the suite's name put in.

    Third parties' entries are left out (they have other suites, or no component main). Raises MachineError (machine.no-apt-sources).
    """
    distribution = [source for source in sources if "main" in source.components and not source.uris[0].startswith("cdrom:")]
    found = [_narrowed(source, suite, suite) for source in distribution]
    if not any(suite in source.suites for source in found):
        found = [_narrowed(source, own_suite, suite) for source in distribution]
    kept = tuple(source for source in found if source.suites)
    if not kept:
        hint = "name the distribution's mirror in /etc/apt/sources.list (or sources.list.d) and run apt-get update"
        raise MachineError("this machine's apt configuration names no mirror of its distribution", code="machine.no-apt-sources", hint=hint)
    return kept


def render(sources: "Iterable[AptSource]") -> str:
    """The entries as one deb822 file."""
    paragraphs = []
    for source in sources:
        lines = ["Types: deb", f"URIs: {' '.join(source.uris)}", f"Suites: {' '.join(source.suites)}", f"Components: {' '.join(source.components)}"]
        paragraphs.append("\n".join(lines + [f"{name}: {item}" for name, item in source.options]) + "\n")
    return "\n".join(paragraphs)


def _narrowed(source: AptSource, suite: str, called: str) -> AptSource:
    """The source with only `suite` and its pockets, under the name `called`."""
    pockets = [pocket for pocket in _POCKETS if suite + pocket in source.suites]
    if called in _WITHOUT_POCKETS:
        pockets = [pocket for pocket in pockets if not pocket]
    return replace(source, suites=tuple(called + pocket for pocket in pockets))
