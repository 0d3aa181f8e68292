"""`BuildRequest` and `BuildResult`: everything that one build is asked and answers, frozen, complete and serialisable.

After the request exists nobody reads flags or the environment: the command line, the Python API and a farm hand in the same value.
"""

from enum import StrEnum

from chandlery.buildcache.record import Observation
from chandlery.events import VolumeUsed
from chandlery.graph.op import Network
from chandlery.linux.cgroup import UNLIMITED, Limits
from chandlery.runtime.process import Ulimit
from chandlery.runtime.secrets import SecretSource
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.events import Warned
    from chandlery.volume.sharing import VolumeReport

Pairs = tuple[tuple[str, str], ...]
DEFAULT_PUBLISH_TIMEOUT_S = 10.0
DEFAULT_VOLATILE_MAX_AGE_S = 3600.0
NEVER_RAN, RUN_ANEW = "no earlier run of it is known here", "it was to run anew"


class OutputKind(StrEnum):
    """What to make of the result: files (`local`, `tar`), an image in a file (`oci`, `docker`), in the store (`image`), or nothing but cache."""

    IMAGE = "image"
    LOCAL = "local"
    TAR = "tar"
    OCI = "oci"
    DOCKER = "docker"
    CACHE_ONLY = "cacheonly"


@value
class Output:
    """`destination` is a path, "-" for standard output, or "" where the kind has none. `options` are the rest of `--output`, checked
    where the request was made: name, push, compression, compression-level, force-compression, rewrite-timestamp, oci-mediatypes, annotation.* ..."""

    kind: OutputKind = OutputKind.IMAGE
    destination: str = ""
    options: Pairs = ()

    def option(self, name: str, default: str = "") -> str:
        return dict(self.options).get(name, default)

    def is_set(self, name: str) -> bool:
        return self.option(name).lower() in ("true", "1")


class CacheKind(StrEnum):
    """Where a BuildKit cache is: a tag of a registry, a directory, or the image itself."""

    REGISTRY = "registry"
    LOCAL = "local"
    INLINE = "inline"


@value
class CacheSpec:
    """One --cache-from or --cache-to, as buildx has them. `options` were checked where the request was made: ref, src, dest, tag, digest, mode, ..."""

    kind: CacheKind = CacheKind.REGISTRY
    options: Pairs = ()

    def option(self, name: str, default: str = "") -> str:
        return dict(self.options).get(name, default)

    def is_set(self, name: str, *, default: str = "false") -> bool:
        return self.option(name, default).lower() in ("true", "1")

    @property
    def name(self) -> str:
        """What users call it."""
        if self.kind is CacheKind.LOCAL:
            return f"local:{self.option('src') or self.option('dest')}"
        return f"registry:{self.option('ref')}" if self.kind is CacheKind.REGISTRY else "inline"


@value
class BuildRequest:
    """`context` is a directory, a git URL, or "" for none; `context_tar` a file holding a tar context; `dockerfile` a path (relative to the
    working directory, "" for the context's own Dockerfile) unless `dockerfile_text` holds the text itself.

    `no_cache`: run every step anew; `no_cache_filter`: those of the named stages; their volumes start empty, unless `keeps_volumes`.
    `always_pull`: ask the registry even for names made here.
    `cache_remotes` are shared caches as --cache-remote writes them; `cache_publish_timeout_s` is how long the end of the build waits for what is still on
    its way there (None: as long as it takes); records older than `cache_max_age_s` are misses, and so are those that stand on
    mutable names which were resolved longer ago than `volatile_max_age_s`.
    `deps_caches` are directories of dependencies on a share, as --deps-cache writes them.
    `cache_from` and `cache_to` are caches in BuildKit's form, to look steps up in and to write when the build is done.
    `tags` name the image; `outputs` () means: an image in the store. `proxy_args` are the predefined proxy build arguments that configuration gives.
    """

    context: str = ""
    context_tar: str = ""
    dockerfile: str = ""
    dockerfile_text: str | None = None
    target: str = ""
    tags: tuple[str, ...] = ()
    build_args: Pairs = ()
    proxy_args: Pairs = ()
    build_contexts: Pairs = ()
    labels: Pairs = ()
    platform: str = ""
    no_cache: bool = False
    keeps_volumes: bool = False
    no_cache_filter: tuple[str, ...] = ()
    always_pull: bool = False
    secrets: tuple[SecretSource, ...] = ()
    network: Network = Network.DEFAULT
    hosts: Pairs = ()
    limits: Limits = UNLIMITED
    shm_size_bytes: int = 64 << 20
    ulimits: tuple[Ulimit, ...] = ()
    outputs: tuple[Output, ...] = ()
    ca_certs: str = ""
    cache_scope: str = ""
    cache_fork_from: tuple[str, ...] = ()
    cache_remotes: tuple[str, ...] = ()
    cache_publish_timeout_s: float | None = DEFAULT_PUBLISH_TIMEOUT_S
    cache_max_age_s: float | None = None
    volatile_max_age_s: float | None = DEFAULT_VOLATILE_MAX_AGE_S
    deps_caches: tuple[str, ...] = ()
    cache_from: tuple[CacheSpec, ...] = ()
    cache_to: tuple[CacheSpec, ...] = ()

    @property
    def wants_inline_cache(self) -> bool:
        """Whether the image is to carry its own cache; the build argument is the older spelling."""
        is_asked = dict(self.build_args).get("BUILDKIT_INLINE_CACHE", "").lower() in ("1", "true", "t")
        return is_asked or any(spec.kind is CacheKind.INLINE for spec in self.cache_to)


@value
class StepOutcome:
    """One line of the summary: `outcome` as in events.Outcome; `key` is the step's cache key; `origin` says where a hit came from: from, scope, writer,
    age_s, bytes. `observed` are the mutable names that the step's result stands on; `missed` says why it ran; `volumes` what it had of each cache volume."""

    step: int
    name: str
    outcome: str
    seconds: float
    bytes_moved: int = 0
    key: str = ""
    detail: str = ""
    origin: Pairs = ()
    observed: tuple[Observation, ...] = ()
    missed: str = ""
    volumes: tuple[VolumeUsed, ...] = ()


@value
class CacheReport:
    """The shared cache in one build: the scope that was written and those that were read, why, the remotes' names, what was published and what wasn't;
    `volumes` is the same for each cache volume that a step used."""

    scope: str
    reads: tuple[str, ...]
    reason: str
    remotes: tuple[str, ...]
    steps_published: int = 0
    bytes_published: int = 0
    unpublished: tuple[str, ...] = ()
    why: str = ""
    volumes: "tuple[VolumeReport, ...]" = ()


@value
class BuildResult:
    """What a build made. `image_digest` is the manifest's (or index's) digest where one was made, `config_digest` the image id; both "" for
    outputs that aren't images. `receipts` say what was pushed where."""

    build_id: str
    image_digest: str = ""
    config_digest: str = ""
    descriptor: Pairs = ()
    names: tuple[str, ...] = ()
    steps: tuple[StepOutcome, ...] = ()
    warnings: "tuple[Warned, ...]" = ()
    bytes_moved: int = 0
    seconds: float = 0.0
    log_path: str = ""
    cache: CacheReport | None = None
