"""A pinner without a network: every image that a test knows by its reference, every URL with the digest of its own text."""

from chandlery.frontend.dockerfile.lower import lower
from chandlery.frontend.dockerfile.lowered import Lowered, LowerOptions, NeedsPins, PinnedImage, PinnedUrl, Pins
from chandlery.frontend.dockerfile.parse import parse
from chandlery.oci.digest import sha256
from chandlery.oci.image_config import HistoryEntry, ImageConfig
from chandlery.oci.platform import Platform

AMD64 = Platform("linux", "amd64")


def image(runtime: dict[str, object], *, author: str = "") -> ImageConfig:
    """The configuration of an image of one layer."""
    return ImageConfig("amd64", "linux", author=author, runtime=runtime, diff_ids=(sha256(b"layer"),), history=(HistoryEntry(created_by="base"),))


IMAGES = {
    "docker.io/library/busybox:latest": image({"Env": ["PATH=/bin"], "Cmd": ["sh"]}),
    "docker.io/library/debian:12": image({"Env": ["PATH=/usr/bin", "LANG=C"], "Cmd": ["bash"], "WorkingDir": "/", "Hostname": "old"}),
    "docker.io/library/app:1": image(
        {
            "Entrypoint": ["/e"],
            "Cmd": ["c"],
            "WorkingDir": "/app",
            "User": "bob",
            "Labels": {"a": "b"},
            "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/v": {}},
            "Shell": ["/bin/ash", "-c"],
        },
        author="somebody",
    ),
    "docker.io/library/onbuild:1": image({"Env": ["PATH=/bin", "WHO=base"], "OnBuild": ["RUN echo $WHO", "COPY --from=busybox /bin/x /y"]}),
    "docker.io/library/layerless:1": ImageConfig("amd64", "linux", runtime={"Env": ["X=1"]}),
}


def options(**changes: object) -> LowerOptions:
    return LowerOptions(**{"platform": AMD64, "build_platform": AMD64, **changes})  # type: ignore[arg-type]


def lower_text(text: str, **changes: object) -> Lowered:
    """Lower a Dockerfile as the engine would, pinning whatever it asks for."""
    dockerfile, wanted, pins = parse(text), options(**changes), Pins()
    for _ in range(9):
        result = lower(dockerfile, wanted, pins)
        if isinstance(result, Lowered):
            return result
        pins = add_pins(pins, result)
    raise AssertionError("lowering asks for ever more pins")


def add_pins(pins: Pins, needs: NeedsPins) -> Pins:
    images = {item: PinnedImage(item.text, sha256(item.text.encode()), IMAGES[item.text.rpartition("/./")[2]]) for item in needs.images}
    urls = {item: PinnedUrl(sha256(item.url.encode()), 1_700_000_000) for item in needs.urls}
    return Pins({**pins.images, **images}, {**pins.urls, **urls})
