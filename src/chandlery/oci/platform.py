"""`Platform`: operating system and architecture of an image ("linux/arm64/v8").

Normalisation follows containerd's platforms package: aliases of architectures, arm64's v8 and arm's v7 as defaults.
"""

import os

from chandlery.errors import RequestError
from chandlery.values import value

_ARCHITECTURES = {
    "x86_64": "amd64", "x86-64": "amd64", "amd64": "amd64", "i386": "386", "i686": "386", "386": "386", "aarch64": "arm64", "arm64": "arm64",
    "armhf": "arm", "armel": "arm", "arm": "arm", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64",
    "loongarch64": "loong64", "loong64": "loong64", "mips64le": "mips64le", "wasm": "wasm",
}  # fmt: skip


@value
class Platform:
    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def parse(text: str) -> Platform:
    """A platform from "os/arch[/variant]", or "local" for this machine's; raises RequestError (code platform.malformed)."""
    if text == "local":
        return native()
    parts = text.lower().split("/")
    if not 1 <= len(parts) <= 3 or not all(part.replace("-", "").replace("_", "").replace(".", "").isalnum() for part in parts):
        raise RequestError(f"{text!r} is not a platform", code="platform.malformed", hint="write os/arch[/variant], for example linux/amd64")
    if len(parts) == 1:
        parts = [parts[0], native().architecture] if parts[0] in ("linux", "windows", "darwin", "freebsd") else ["linux", parts[0]]
    architecture = _ARCHITECTURES.get(parts[1])
    if architecture is None:
        known = ", ".join(sorted(set(_ARCHITECTURES.values())))
        raise RequestError(f"{text!r} names an unknown architecture", code="platform.malformed", hint=f"known ones: {known}")
    variant = parts[2] if len(parts) == 3 else _default_variant(parts[1], architecture)
    return Platform(parts[0], architecture, "" if (architecture, variant) == ("arm64", "v8") else variant)


def native() -> Platform:
    """The platform of this machine's kernel."""
    machine = os.uname().machine
    architecture = _ARCHITECTURES.get(machine, machine)
    return Platform("linux", architecture, _default_variant(machine, architecture))


def matches(offered: Platform, wanted: Platform) -> bool:
    """Whether an image for `offered` is one for `wanted`; a missing variant matches the default one."""
    return (offered.os, offered.architecture, offered.variant or "v7") == (wanted.os, wanted.architecture, wanted.variant or "v7")


def _default_variant(spelled: str, architecture: str) -> str:
    if architecture == "arm":
        return "v6" if spelled == "armel" else "v7"
    return ""
