"""`LayerRef` and `FileSystem`: the result of a vertex, as a stack of layers that need not be on this machine yet.

Layers are fetched late. A layer of a base image is known by its diff id alone until a step or an export needs its files; a layer that a step made is
known by its snapshot until something needs its diff id. One of the two is always set.
"""

from chandlery.values import value


@value
class LayerRef:
    """`created` (RFC 3339) and `created_by` are the image history's, kept with the layer so that a rebuild from cache repeats them byte for byte."""

    snapshot: str = ""
    diff_id: str = ""
    created: str = ""
    created_by: str = ""


@value
class FileSystem:
    """A file system as layers, bottom first; () is the empty one."""

    layers: tuple[LayerRef, ...] = ()

    def on_top(self, layer: LayerRef) -> "FileSystem":
        return FileSystem((*self.layers, layer))

    def below(self) -> "FileSystem":
        """What the topmost layer was put on."""
        return FileSystem(self.layers[:-1])
