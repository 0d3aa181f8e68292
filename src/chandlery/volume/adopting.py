"""`adopted`: what a failed step left becomes a successful one's, as far as that one read it.

Nobody vouches for a file of a failed step whose tool isn't known, so others don't get it: it may be half written. A step that opened it and succeeded shows
what can be shown of any unknown file; from then on it counts as if that step had written it. What must stay true:

* where reads could not be watched, nothing is adopted; nor what was merely there, since a step succeeds beside any torn file that it doesn't open;
* a file that its own name or neighbour gives a checksum, and that has another, stays here;
* an adopted file gives way to whatever was changed meanwhile: the step changed nothing.
"""

from chandlery.volume import attaching, materialise
from chandlery.volume.adapters import known
from chandlery.volume.step_files import StepFiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.content.store import Store
    from chandlery.volume.attachment import Attachment
    from chandlery.volume.capture import Captured
    from chandlery.volume.tree import Entry


def adopted(store: "Store", attachment: "Attachment", captured: "Captured") -> "dict[str, Entry]":
    """The entries of failed steps that a step which succeeded has read and left alone. Reads tables only where a failed step left something."""
    layers = attachment.base.layers
    failed = {step for layer in layers for step in layer.failed}
    if not failed or not attachment.read:
        return {}
    paths = attachment.read.keys() - {entry.path for entry in captured.entries}
    lowest = next(number for number, layer in enumerate(layers) if layer.failed)
    directories = [attaching.layer_directory(store, attachment.volume_id, layer.name) for layer in layers[lowest:]]
    shown = materialise.shown([materialise.read_entries(directory, paths) for directory in directories])
    files = StepFiles(attachment.upper, captured.entries, attachment.lowers, captured.deleted)
    return {
        path: entry
        for path, (entry, _) in shown.items()
        if (entry.version.slot, entry.version.sequence) in failed and not entry.is_directory and files.has(path) and _may_be_adopted(path, files)
    }


def _may_be_adopted(path: str, files: StepFiles) -> bool:
    return not (known.is_never_stored(path) or known.unit_of(path) or known.is_refuted(path, files))
