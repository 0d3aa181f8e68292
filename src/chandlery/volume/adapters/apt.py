"""apt's archives and lists."""

from chandlery.volume.adapters.adapter import MutableName, Plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.volume.adapters.adapter import Read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.volume.adapters.adapter import Files


class Apt(Plain):
    name = "apt"
    observes = r"_dists_[^/]+_(?:In)?Release$|(?:^|(?:^|/)var/lib/apt/)lists/(?:lock)?$"
    traces: tuple[str, ...] = ("_dists_", "lists/")

    def observed(self, path: str, read: "Read") -> MutableName | None:
        """A Release file; or the directory of lists alone, touched: they were there for a moment."""
        name = path.rpartition("/")[2]
        return MutableName("apt-release", name.rpartition("_")[0].replace("_", "/") if "_dists_" in name else "package lists")

    def is_never_stored(self, path: str) -> bool:
        """Locks, what is still coming in, and the maps that apt makes anew from lists and dpkg's status."""
        parts = path.split("/")
        if parts[-1] == "lock":
            return len(parts) == 1 or parts[-2] in ("archives", "lists")
        if parts[-1] in ("pkgcache.bin", "srcpkgcache.bin"):
            return len(parts) == 1 or parts[-2] == "apt"
        return parts[0] in ("partial", "auxfiles") or (len(parts) >= 3 and parts[-2] in ("partial", "auxfiles") and parts[-3] in ("archives", "lists"))

    def unit_of(self, path: str) -> str:
        """The lists of one suite: an InRelease and the Packages that it names belong together. <host and path>_dists_<suite>_..."""
        directory, _, name = path.rpartition("/")
        source, found, rest = name.partition("_dists_")
        if not found or directory.rpartition("/")[2] not in ("", "lists"):
            return ""
        return f"{directory}/{source}_dists_{rest.partition('_')[0]}".lstrip("/")

    def ignores_time(self, path: str) -> bool:
        """Apt asks a mirror for what changed since a list's time, which is that of the download where the mirror has no dates: an earlier one asks for more."""
        return bool(self.unit_of(path))

    def may_share(self, path: str, files: "Files") -> bool:
        """A package is moved out of partial/ once its checksum was right."""
        parts = path.split("/")
        return parts[-1].endswith(".deb") and (len(parts) == 1 or parts[-2] == "archives")
