"""The places where tools keep credentials, whatever the tool. Exact places: a package that contains a file of such a name keeps it."""

_IN_HOME = frozenset({".npmrc", ".yarnrc.yml", ".netrc", ".pypirc", ".git-credentials"})
_AT = {
    "settings.xml": (".m2", ""),
    "settings-security.xml": (".m2", ""),
    "gradle.properties": (".gradle", ""),
    "pip.conf": (".pip", "pip", ""),
    "credentials": (".cargo", ""),
    "credentials.toml": (".cargo", ""),
    "config.json": (".docker",),
    "auth.toml": ("pypoetry",),
}


def is_credential(path: str) -> bool:
    """At the volume's root, or in the tool's directory of a home directory that is the volume or lies in it."""
    *above, name = path.split("/")
    if name in _IN_HOME:
        return len(above) <= 1
    return len(above) <= 3 and (above[-1] if above else "") in _AT.get(name, ())
