"""Flags that every command shares and that change settings rather than the request: --root, --insecure-registry."""

import os

from chandlery.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.cli.arguments import Arguments
    from chandlery.config import Settings
    from chandlery.engine.request import BuildRequest


def apply(arguments: "Arguments", settings: "Settings") -> "Settings":
    """The settings with this command line's flags on top."""
    root = getattr(arguments, "root", "")
    insecure = tuple(getattr(arguments, "insecure_registry", ()))
    changed = replace(settings, root=os.path.abspath(root)) if root else settings
    return replace(changed, insecure_registries=changed.insecure_registries + insecure) if insecure else changed


def trusting(request: "BuildRequest", settings: "Settings") -> "Settings":
    """The settings with the registries that registry.insecure=true of an output or a cache names."""
    insecure = [output for output in request.outputs if output.is_set("registry.insecure")]
    names = [spec.option("ref") for spec in (*request.cache_from, *request.cache_to) if spec.is_set("registry.insecure")]
    if not insecure and not names:
        return settings
    from chandlery.oci import reference

    if insecure:
        names += [name for output in insecure for name in output.option("name").split(",") if name] or request.tags
    return replace(settings, insecure_registries=(*settings.insecure_registries, *(reference.parse(name).registry for name in names)))
