"""The mounts of a RUN instruction, made ready for the runtime: stages as read-only views, volumes as overlays, secrets as files in memory.

Everything is undone by the exit stack, in reverse order; volumes are committed by the caller once nothing is mounted any more, because an overlay's upper may
only be read as it will be when the overlay is gone.
"""

import os

from chandlery.content.session import Session
from chandlery.errors import DockerfileError
from chandlery.graph.mount import BindMount, CacheMount, Mount, SecretMount, TmpfsMount
from chandlery.linux.mount import OverlayOptions
from chandlery.runtime.process import RuntimeMount
from chandlery.runtime.secrets import LentFiles, Secrets
from chandlery.snapshot.checksum import ViewTree
from chandlery.snapshot.tree import clean, resolve
from chandlery.values import value
from chandlery.volume.attachment import Attachment
from chandlery.volume.key import VolumeKey
from chandlery.volume.volumes import Volumes
from chandlery.volume.watching import watched
from chandlery.worker.mounter import Mounter

TYPE_CHECKING = False
if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Mapping, Sequence

    from chandlery.worker.deps_caches import DepsCaches, Lent
    from chandlery.worker.results import Reporter

_VOLUME_OVERLAY = OverlayOptions(follows_renames=True, copies_metadata_only=True)


@value
class VolumePolicy:
    """How a build uses volumes: whose (`scope`), for which platform, which ids as plain directories, and whether at all (`is_off`)."""

    scope: str
    platform: str
    plain_ids: frozenset[str] = frozenset()
    is_off: bool = False


class StepMounts:
    """For one step. `attachments` and `lent` are what `attach` took, to be kept or not; `env` what secrets add to the environment;
    `throwaways` are what stood for volumes that the build doesn't use."""

    def __init__(
        self,
        *,
        session: Session,
        mounter: Mounter,
        volumes: Volumes,
        policy: VolumePolicy,
        secrets: Secrets,
        starts_empty: bool,
        on_wait: "Callable[[str, float], None]",
        deps: "DepsCaches | None" = None,
    ) -> None:
        self._session = session
        self._mounter = mounter
        self._volumes = volumes
        self._policy = policy
        self._secrets = secrets
        self._starts_empty = starts_empty
        self._on_wait = on_wait
        self._deps = deps
        self.attachments: list[Attachment] = []
        self.lent: list[Lent] = []
        self.env: list[str] = []
        self.throwaways: list[str] = []
        self._volume_directories: dict[str, str] = {}

    def attach(self, wanted: "Sequence[Mount]", layers: "Mapping[int, tuple[str, ...]]", stack: "contextlib.ExitStack") -> list[RuntimeMount]:
        """The runtime's mounts for a step's, parents before what is mounted inside them; `layers` are the directories of each input."""
        # volumes in the order of their ids: two steps that lock the same two would otherwise wait for each other
        for cache in sorted((item for item in wanted if isinstance(item, CacheMount)), key=lambda item: item.id):
            if cache.id not in self._volume_directories:
                self._volume_directories[cache.id] = self._volume(cache, wanted, layers, stack)
        made: list[RuntimeMount] = []
        for item in sorted(wanted, key=_depth):
            match item:
                case BindMount():
                    made.append(self._bind(item, layers, stack))
                case CacheMount():
                    made.append(RuntimeMount(item.target, self._volume_directories[item.id], is_read_only=item.is_read_only))
                case TmpfsMount():
                    made.append(RuntimeMount(item.target, kind="tmpfs", size_bytes=item.size_bytes))
                case SecretMount():
                    made.extend(self._secret(item, stack))
        return made

    def attach_deps(self, wanted: "Sequence[Mount]", made: list[RuntimeMount], stack: "contextlib.ExitStack", step: "Reporter") -> list[RuntimeMount]:
        """`made` with the mounts of --deps-cache, parents before what is mounted inside them."""
        if self._deps is None:
            return made
        added = self._deps.lend(wanted, self.lent, stack, step, starts_empty=self._starts_empty)
        return sorted([*added, *made], key=_depth)

    def _bind(self, item: BindMount, layers: "Mapping[int, tuple[str, ...]]", stack: "contextlib.ExitStack") -> RuntimeMount:
        upper = work = ""
        if not item.is_read_only:
            scratch = self._session.scratch("b")
            upper, work = f"{scratch}/u", f"{scratch}/w"
            os.mkdir(upper)
            os.mkdir(work)
        view = stack.enter_context(self._mounter.overlay(layers[item.input], upper=upper, work=work))
        return RuntimeMount(item.target, _selected(view, item.source), is_read_only=item.is_read_only)

    def _volume(self, item: CacheMount, wanted: "Sequence[Mount]", layers: "Mapping[int, tuple[str, ...]]", stack: "contextlib.ExitStack") -> str:
        """The directory of a volume as this step sees it."""
        if self._policy.is_off:
            return self._throwaway(item)
        same = [other for other in wanted if isinstance(other, CacheMount) and other.id == item.id]
        seed = None
        if item.input is not None:
            seed = _selected(stack.enter_context(self._mounter.overlay(layers[item.input])), item.source)
        attachment = self._volumes.attach(
            VolumeKey(self._policy.scope, item.id, self._policy.platform),
            self._session,
            sharing=item.sharing,
            mode=item.mode,
            uid=item.uid,
            gid=item.gid,
            seed_directory=seed,
            starts_empty=self._starts_empty,
            read_only=all(other.is_read_only for other in same),
            plain=item.id in self._policy.plain_ids,
            stubs=tuple(stub for other in same for stub in _nested(other.target, wanted)),
            on_wait=lambda seconds: self._on_wait(item.id, seconds),
        )
        self.attachments.append(attachment)
        if attachment.plain_directory:
            return attachment.plain_directory
        mounted = self._mounter.overlay(attachment.lowers, upper=attachment.upper, work=attachment.work, options=_VOLUME_OVERLAY)
        directory = stack.enter_context(mounted)
        stack.enter_context(watched(attachment, directory, [other.target for other in same], is_copy=self._mounter.copies))
        return directory

    def _throwaway(self, item: CacheMount) -> str:
        """CHANDLERY_CACHE=off: an empty directory that is gone with the build."""
        directory = self._session.scratch("v")
        self.throwaways.append(directory)
        os.chown(directory, item.uid, item.gid)
        os.chmod(directory, item.mode)
        return directory

    def _secret(self, item: SecretMount, stack: "contextlib.ExitStack") -> list[RuntimeMount]:
        data = self._secrets.read(item.id, is_required=item.is_required)
        if data is None:
            return []
        if item.env:
            self.env.append(f"{item.env}={os.fsdecode(data)}")
        if not item.target:
            return []
        files = stack.enter_context(LentFiles(self._session.scratch("s")))
        return [RuntimeMount(item.target, files.add(data, uid=item.uid, gid=item.gid, mode=item.mode), is_read_only=True)]


def volume_keys(wanted: "Sequence[Mount]", policy: VolumePolicy) -> tuple[VolumeKey, ...]:
    """The volumes that a step sees as the others left them."""
    ids = sorted({item.id for item in wanted if isinstance(item, CacheMount)} - policy.plain_ids)
    return tuple(VolumeKey(policy.scope, name, policy.platform) for name in ids)


def required_secrets(wanted: "Sequence[Mount]") -> tuple[str, ...]:
    """The ids of the secrets without which the step must not run."""
    return tuple(item.id for item in wanted if isinstance(item, SecretMount) and item.is_required)


def _depth(item: Mount | RuntimeMount) -> int:
    return item.target.rstrip("/").count("/")


def _nested(target: str, wanted: "Sequence[Mount]") -> tuple[str, ...]:
    """The places in a volume on which the step has other mounts; they are ours, and no part of what the step added to it."""
    inside = target.rstrip("/") + "/"
    return tuple(item.target.removeprefix(inside) for item in wanted if item.target.startswith(inside))


def _selected(view: str, source: str) -> str:
    """A path inside a view with its links followed inside it; one that isn't there is the Dockerfile's mistake."""
    tree = ViewTree(view)
    path = resolve(tree, clean(source))
    if tree.lookup(path) is None:
        raise DockerfileError(f"the mount's source {source} does not exist", code="mount.missing-source", hint="check source= and from=")
    return os.path.join(view, path)
