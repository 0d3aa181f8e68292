"""The places where tools keep credentials, whatever the tool. Exact places: a package that contains a file of such a name keeps it."""

_IN_HOME = frozenset({".npmrc", ".yarnrc", ".yarnrc.yml", ".netrc", "_netrc", ".pypirc", ".git-credentials"})
_AT = {
    "settings.xml": (".m2", ""),
    "settings-security.xml": (".m2", ""),
    "gradle.properties": (".gradle", ""),
    "pip.conf": (".pip", "pip", ""),
    "credentials": (".cargo", ".aws", ""),
    "credentials.toml": (".cargo", ""),
    "config.json": (".docker",),
    "config": (".kube",),
    "auth.toml": ("pypoetry",),
}
_DIRECTORIES = frozenset({".ssh", ".gnupg"})


def is_credential(path: str) -> bool:
    """At the volume's root, or in the tool's directory of a home directory that is the volume or lies in it."""
    *above, name = path.split("/")
    if name in _IN_HOME:
        return len(above) <= 1
    if len(above) > 3:
        return False
    beside = above[-1] if above else ""
    return beside in _AT.get(name, ()) or any(part in _DIRECTORIES for part in above[:2])
