"""`StageState`: what lowering knows of one stage while its instructions apply, and `Command`, an instruction with the stages that it names.

`dependencies` are the states that instructions copy or mount from, each with the place of the instruction.

A state also stands for an image or a named context that only COPY --from or a mount names (`is_registered` False). It is mutable and
lives for one lowering; a stage that builds on another copies what it inherits at the moment it starts.
"""

from chandlery.frontend.dockerfile import instructions as ins
from chandlery.frontend.dockerfile.lowered import HistoryTemplate, NamedContext, PinnedImage
from chandlery.graph.source_range import SourceRange
from chandlery.oci.image_config import ImageConfig
from chandlery.oci.platform import Platform
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCRATCH = "scratch"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class StageState:
    def __init__(self, stage: ins.Stage, base_name: str, *, is_registered: bool = True) -> None:
        self.stage = stage
        self.base_name = base_name
        self.is_registered = is_registered
        self.display_name = stage.name or f"stage-{stage.index}" if is_registered else ""
        self.platform: Platform | None = None
        self.base: StageState | None = None
        self.context: NamedContext | None = None
        self.context_name = ""
        self.commands: list[Command] = []
        self.dependencies: list[tuple[StageState, SourceRange]] = []
        self.is_resolved = False
        self.is_done = False
        self.has_triggers = False
        self.vertex = -1
        self.source_vertex = -1
        self.pinned: PinnedImage | None = None
        self.env: dict[str, str] = {}
        self.args: list[ins.Declaration] = []
        self.config = ImageConfig("", "")
        self.history: list[HistoryTemplate] = []
        self.work_dir = "/"
        self.has_cmd = False
        self.is_cache_ignored = False
        self.step = 0
        self.steps = 0
        self.is_in_trigger = False

    def inherit(self) -> None:
        """Take over what the stage that this one builds on has become."""
        if self.base is None:
            return
        base = self.base
        self.vertex, self.source_vertex = base.vertex, base.vertex
        self.pinned = base.pinned
        self.env = dict(base.env)
        self.args = [*self.args, *base.args]
        self.config = base.config.with_runtime(OnBuild=None)
        self.history = list(base.history)
        self.work_dir = base.work_dir

    def runtime(self, name: str) -> "Any":
        return self.config.runtime.get(name)

    def set_runtime(self, **fields: "Any") -> None:
        """Set fields of the image's "config"; None, empty texts and lists remove them, as Go's omitempty would."""
        self.config = self.config.with_runtime(**{name: item or None for name, item in fields.items()})

    def set_env(self, key: str, item: str) -> None:
        """A variable for expansion and for RUN; the last one set stands last."""
        self.env.pop(key, None)
        self.env[key] = item

    def record(self, created_by: str, *, vertex: int | None = None) -> None:
        self.history.append(HistoryTemplate(created_by, is_empty_layer=vertex is None, vertex=vertex))

    def step_name(self, text: str) -> str:
        """The name of the next step as people see it: "[build 2/5] RUN make"."""
        if self.steps == 0:
            return text
        self.step += 1
        stage = self.display_name + " " if self.display_name else ""
        trigger = "ONBUILD " if self.is_in_trigger else ""
        return f"[{stage}{self.step:>{len(str(self.steps))}}/{self.steps}] {trigger}{text}"


@value
class Command:
    """`sources` are the stages, images or contexts that the instruction's --from options name, in their order."""

    instruction: ins.Instruction
    sources: "tuple[StageState, ...]" = ()
    is_trigger: bool = False


def start_config(image: ImageConfig) -> ImageConfig:
    """A base image's configuration without what a new image makes itself, and without the fields of a container that old Docker left."""
    runtime = {name: item for name, item in image.runtime.items() if item and name not in _OF_CONTAINERS}
    extra = {name: item for name, item in image.extra.items() if name not in _OF_OLD_IMAGES}
    return ImageConfig(image.architecture, image.os, image.variant, "", image.author, runtime, (), (), extra)


def empty_config(platform: Platform) -> ImageConfig:
    """The configuration that FROM scratch starts with."""
    return ImageConfig(platform.architecture, platform.os, platform.variant, runtime={"WorkingDir": "/", "Env": ["PATH=" + DEFAULT_PATH]})


_OF_CONTAINERS = frozenset(
    ("Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "Image", "MacAddress",
     "NetworkDisabled", "StopTimeout")
)  # fmt: skip
_OF_OLD_IMAGES = frozenset(("container", "container_config", "docker_version", "id", "parent", "throwaway"))
