"""Base images and named contexts: what FROM, COPY --from and a mount's `from` mean, once the pins are there.

`Resolver.resolve` gives each state its starting file system and configuration, or says which images must be pinned first. A named context
(--build-context) overrides a stage or an image of its name; "scratch" and "context" are never overridden.
"""

from chandlery.errors import RequestError
from chandlery.frontend.dockerfile.excerpt import Misplaced, locate, nearest, placed, render, suggestion
from chandlery.frontend.dockerfile.lowered import HistoryTemplate, ImagePlace, ImageReference, NamedContext, PinnedImage
from chandlery.frontend.dockerfile.scope import Scope
from chandlery.frontend.dockerfile.stage_state import SCRATCH, StageState, empty_config, start_config
from chandlery.frontend.dockerfile.stages import StageTable
from chandlery.graph.op import CopyAction, FileOp, ImageOp
from chandlery.oci import platform as platforms
from chandlery.oci import reference as references
from chandlery.oci.image_config import ImageConfig
from chandlery.oci.platform import Platform
from chandlery.oci.reference import Reference


class Resolver:
    def __init__(self, scope: Scope, table: StageTable) -> None:
        self.scope = scope
        self.table = table
        self._contexts = {_familiar(name): (name, context) for name, context in scope.options.contexts}

    def context_for_stage(self, name: str) -> "tuple[str, NamedContext] | None":
        """The context that overrides a stage; raises Misplaced where the stage's name could be no context's."""
        try:
            return self._context(references.parse(name))
        except RequestError:
            hint = "end it with a letter or a digit, and separate its words by single - _ or ."
            raise Misplaced(f"{name!r} can't be a stage's name", code="dockerfile.stage-name", hint=hint, token=name) from None

    def _context(self, reference: Reference) -> "tuple[str, NamedContext] | None":
        name = reference.familiar.removesuffix(":latest")
        return None if name in (SCRATCH, "context") else self._contexts.get(name)

    def check_names(self) -> None:
        """Raise DockerfileError where any stage, needed or not, names what can't be an image."""
        for state in self.table.states:
            if state.base is None and state.context is None and state.base_name != SCRATCH:
                with self.scope.at(state.stage.source):
                    self._reference(state)

    def resolve(self, needed: list[StageState]) -> dict[ImageReference, ImagePlace]:
        """Resolve the states that build on no other stage; returns the images that aren't pinned yet. Raises DockerfileError, RequestError."""
        missing: dict[ImageReference, ImagePlace] = {}
        for state in needed:
            if state.base is None and not state.is_resolved:
                try:
                    wanted = self._resolve(state)
                except Misplaced as failed:
                    raise placed(failed, self.scope.dockerfile.text, state.stage.source) from None
                if wanted is None:
                    state.is_resolved = True
                elif wanted not in missing:
                    missing[wanted] = self._place(state)
        return missing

    def _place(self, state: StageState) -> ImagePlace:
        text = self.scope.dockerfile.text
        marked = locate(text, state.stage.source, state.stage.base)
        near = nearest(state.base_name, (name for name in self.table.known_names() if name != state.display_name))
        return ImagePlace(str(marked), render(text, marked), f"did you mean the stage {near}?" if near else "")

    def _resolve(self, state: StageState) -> ImageReference | None:
        if state.context is None and state.base_name == SCRATCH:
            self._start(state, self.scope.scratch(), empty_config(self.scope.options.platform))
            state.is_done = not state.is_registered
            return None
        overrides_stage = state.context is not None
        reference = None
        if not overrides_stage:
            reference = self._reference(state)
            found = self._context(reference)
            if found is not None:
                state.context_name, state.context = found
        platform = self._native(state)
        if state.context is not None:
            wanted = self._from_context(state, state.context, platform)
        else:
            assert reference is not None
            wanted = self._from_image(state, ImageReference(str(reference), platform), "")
        if wanted is None:
            state.is_done = overrides_stage or not state.is_registered
        return wanted

    def _reference(self, state: StageState) -> Reference:
        try:
            return references.parse(state.base_name)
        except RequestError as failed:
            names = self.table.known_names()
            hint = "stage names are lower case here" if state.base_name.lower() in names else suggestion(state.base_name, names, failed.hint)
            raise Misplaced(failed.message, code="dockerfile.image-name", hint=hint, token=state.stage.base) from None

    def _native(self, state: StageState) -> Platform:
        platform = state.platform or self.scope.options.platform
        if not platforms.matches(platform, self.scope.options.build_platform):
            here = self.scope.options.build_platform
            hint = f"this machine builds {here}; images of other platforms are left to a later release"
            raise RequestError(f"{state.stage.source}: {state.base_name} is wanted for {platform}", code="platform.foreign", hint=hint)
        return platform

    def _start(self, state: StageState, vertex: int, config: ImageConfig, pinned: PinnedImage | None = None) -> None:
        state.vertex = state.source_vertex = vertex
        state.config = config
        state.pinned = pinned

    def _from_context(self, state: StageState, context: NamedContext, platform: Platform) -> ImageReference | None:
        scope = self.scope
        name = state.context_name
        if context.kind == "local":
            whole = FileOp((CopyAction(1, ("/",), "/", allows_wildcards=False),))
            source = scope.context(name)
            self._start(state, scope.vertex(whole, (scope.scratch(), source), name=f"[context {name}] as a file system"), empty_config(platform))
            state.source_vertex = source
            if state.is_registered:
                scope.use_context(name, "/")
                state.history = [HistoryTemplate(f"local source for {name}", "buildkit.exporter.image.v0", vertex=state.vertex)]
            return None
        if context.kind == "image" and context.text == SCRATCH:
            self._start(state, scope.scratch(), empty_config(platform))
            return None
        text = context.text if context.kind == "oci-layout" else str(references.parse(context.text))
        origin = "oci-layout" if context.kind == "oci-layout" else "registry"
        return self._from_image(state, ImageReference(text, platform, origin), f"[context {name}] ")

    def _from_image(self, state: StageState, wanted: ImageReference, prefix: str) -> ImageReference | None:
        pinned = self.scope.pins.images.get(wanted)
        if pinned is None:
            return wanted
        config = pinned.config
        vertex = self.scope.scratch()
        if config.diff_ids or any(not entry.is_empty_layer for entry in config.history):
            name = pinned.reference if "@" in pinned.reference else f"{pinned.reference}@{pinned.manifest_digest}"
            op = ImageOp(pinned.reference, pinned.manifest_digest, config.diff_ids)
            shown = f"{prefix}{name}" if prefix else state.step_name(f"FROM {name}")
            vertex = self.scope.vertex(op, state=state, name=shown, source=state.stage.source)
        self._start(state, vertex, start_config(config), pinned)
        return None


def _familiar(name: str) -> str:
    """A context's name as look-ups spell it."""
    try:
        return references.parse(name).familiar.removesuffix(":latest")
    except RequestError:
        return name
