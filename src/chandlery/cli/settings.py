"""Flags that every command shares and that change settings rather than the request: --root, --insecure-registry."""

import os

from chandlery.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from chandlery.config import Settings


def apply(arguments: "argparse.Namespace", settings: "Settings") -> "Settings":
    """The settings with this command line's flags on top."""
    root = getattr(arguments, "root", "")
    insecure = tuple(getattr(arguments, "insecure_registry", ()))
    changed = replace(settings, root=os.path.abspath(root)) if root else settings
    return replace(changed, insecure_registries=changed.insecure_registries + insecure) if insecure else changed
