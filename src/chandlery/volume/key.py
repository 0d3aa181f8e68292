"""`VolumeKey`: the name of a cache volume. Alone in its module, since builds name volumes that they then have no need to open."""

from chandlery.values import value


@value
class VolumeKey:
    """What a cache mount names: whose (`scope`), which (`name`, the mount's id), and for what platform."""

    scope: str
    name: str
    platform: str
