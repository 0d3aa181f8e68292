"""Extra certificate authorities in a step's file system for as long as it runs.

Files are edited in place, never mounted over: a step may replace a bundle by rename (update-ca-certificates), run keytool on a trust store or install the
package that owns either, and must succeed. Ours are added before the step to what the image has, and on Debian's and Alpine's kind also put where
update-ca-certificates finds them, so that a bundle that the step builds has them too. Afterwards they are subtracted from whatever is there then; what
equals the image's own again leaves the upper. Variables point programs with bundles of their own (Python, Node, git) at the image's; where it has
none, at one in the runtime's /dev, which no layer sees.
"""

import contextlib
import hashlib
import os
import stat

from chandlery.linux import paths
from chandlery.runtime import ca_certs, footprint, trust_store
from chandlery.runtime.ca_certs import CaCertificates
from chandlery.runtime.footprint import Footprint
from chandlery.runtime.process import RuntimeMount
from chandlery.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_BUNDLES = (
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "etc/ssl/ca-bundle.pem",
    "etc/ssl/cert.pem",
)
_TRUST_STORES = ("etc/ssl/certs/java/cacerts", "etc/pki/java/cacerts", "etc/pki/ca-trust/extracted/java/cacerts")
_JAVA_PARENTS = ("usr/lib/jvm", "usr/java", "usr/local", "opt", "opt/java")
_JAVA_STORES = ("lib/security/cacerts", "jre/lib/security/cacerts")
_ANCHORS = "usr/local/share/ca-certificates"
_ANCHOR_USERS = ("etc/debian_version", "etc/alpine-release", "usr/sbin/update-ca-certificates")
_UPDATER = "usr/sbin/update-ca-certificates"
_LINKS = "etc/ssl/certs"
_PREFIX = "chandlery-"
_MAX_BYTES = 64 << 20
_DEV_BUNDLE = "/dev/chandlery/ca-certificates.crt"
_DEV_EXTRA = "/dev/chandlery/extra-ca-certificates.crt"
_BUNDLE_VARIABLES = (
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
)


@value
class _Edited:
    """A file of the image that we changed: what it was, and what we made of it."""

    path: str
    before: bytes
    after: bytes
    stat: os.stat_result


class TrustedInStep:
    """For one run of one step; `env` and `mounts` are to be added to the step's own."""

    def __init__(self, extra: CaCertificates, rootfs: str, *, upper: str, directory: str, env: "Sequence[str]" = ()) -> None:
        """Add the certificates. `directory` is scratch on this machine; `env` what the step has, which wins over ours."""
        self._extra = extra.certificates
        self._rootfs = rootfs
        self._upper = upper
        self._java_home = next((entry.partition("=")[2] for entry in env if entry.startswith("JAVA_HOME=")), "")
        self._footprint = Footprint(rootfs, upper)
        self._edited: dict[str, _Edited] = {}
        self._anchors: dict[str, bytes] = {}
        self._made_directories: list[str] = []
        bundle = self._edit_all()
        self._had_updater = footprint.stat_or_none(rootfs, _UPDATER) is not None
        if any(self._resolve(path) for path in _ANCHOR_USERS):
            self._add_anchors(bundle)
        self._footprint.settle()
        self.mounts = self._dev_files(extra, directory, has_bundle=bool(bundle))
        self.env = _variables(f"/{bundle}" if bundle else _DEV_BUNDLE, env)

    def remove(self) -> None:
        """Take them away from whatever the step left. Call it when the step has ended, while its root is still mounted."""
        unchanged = self._footprint.unchanged()
        self._remove_anchors()
        for path, kind in self._stores():
            edited = self._edited.get(path)
            self._subtract(path, kind, edited)
        self._footprint.restore_times(unchanged)

    def clean_upper(self) -> None:
        """Call it when the root is unmounted."""
        self._footprint.clean_upper()

    def _edit_all(self) -> str:
        """Add to every bundle and store; the image's main bundle, "" if it has none."""
        main = ""
        for path, kind in self._stores():
            main = main or (path if kind == "pem" else "")
            before = self._read(path)
            after = _added(kind, before, self._extra)
            if after != before:
                found = footprint.stat_at(self._rootfs, path)
                self._footprint.approach(self._rootfs, os.path.dirname(path))
                self._write(path, after, found)
                self._edited[path] = _Edited(path, before, after, found)
        return main

    def _stores(self) -> "Iterator[tuple[str, str]]":
        """Every bundle ("pem") and trust store ("java") that is there now, each once, by where it really is."""
        seen: set[str] = set()
        java = [*_TRUST_STORES, *self._java_candidates()]
        for candidate, kind in (*((path, "pem") for path in _BUNDLES), *((path, "java") for path in java)):
            path = self._resolve(candidate)
            if path and path not in seen:
                seen.add(path)
                yield path, kind

    def _java_candidates(self) -> list[str]:
        homes = [self._java_home.strip("/")] if self._java_home else []
        for parent in _JAVA_PARENTS:
            homes += [f"{parent}/{name}" for name in self._list(parent)]
        return [f"{home}/{store}" for home in homes for store in _JAVA_STORES]

    def _subtract(self, path: str, kind: str, edited: _Edited | None) -> None:
        if edited is None and self._upper and not os.path.lexists(os.path.join(self._upper, path)):
            return  # the image's own, which had all of ours before
        now = self._read(path)
        if edited is not None and now == edited.after:
            self._put_back(edited)
            return
        cleaned = _subtracted_java(now) if kind == "java" else ca_certs.subtract_from_bundle(now, self._missing_before(edited))
        if edited is not None and cleaned == edited.before:
            self._put_back(edited)
        elif cleaned != now:
            self._write(path, cleaned, footprint.stat_at(self._rootfs, path))

    def _missing_before(self, edited: _Edited | None) -> "Sequence[bytes]":
        """Those of ours that the image's own bundle didn't have: only they are taken away."""
        present = set(ca_certs.certificates_in(edited.before)) if edited is not None else set()
        return [certificate for certificate in self._extra if certificate not in present]

    def _put_back(self, edited: _Edited) -> None:
        self._write(edited.path, edited.before, edited.stat)
        if _same_owner(footprint.stat_at(self._rootfs, edited.path), edited.stat):
            self._footprint.put_back(edited.path)

    def _add_anchors(self, bundle: str) -> None:
        """Where update-ca-certificates looks, one certificate a file, those that the image's bundle lacks."""
        present = set(ca_certs.certificates_in(self._edited[bundle].before)) if bundle in self._edited else set()
        if bundle and bundle not in self._edited:
            return
        self._make_directories(_ANCHORS)
        directory = self._resolve_directory(_ANCHORS)
        self._footprint.approach(self._rootfs, directory)
        fd = footprint.open_directory(self._rootfs, directory)
        try:
            for certificate in self._extra:
                if certificate not in present:
                    name = f"{_PREFIX}{hashlib.sha256(certificate).hexdigest()[:16]}.crt"
                    self._anchors[name] = ca_certs.to_pem([certificate])
                    _write_new(fd, name, self._anchors[name])
        finally:
            os.close(fd)

    def _remove_anchors(self) -> None:
        if not self._anchors:
            return
        self._remove_links()
        directory = self._resolve_directory(_ANCHORS)
        if not directory:
            return
        fd = footprint.open_directory(self._rootfs, directory)
        try:
            with _keeping_times(fd):
                for name in self._anchors:
                    _unlink(fd, name)
        finally:
            os.close(fd)
        if self._had_updater or footprint.stat_or_none(self._rootfs, _UPDATER) is None:
            for path in reversed(self._made_directories):
                self._remove_directory(path)

    def _remove_links(self) -> None:
        """update-ca-certificates links every anchor into the bundle's directory, by name and by hash."""
        directory = self._resolve_directory(_LINKS)
        if not directory or (self._upper and not os.path.lexists(os.path.join(self._upper, directory))):
            return
        fd = footprint.open_directory(self._rootfs, directory)
        try:
            with _keeping_times(fd):
                for name in os.listdir(fd):
                    if stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode) and _PREFIX in os.readlink(name, dir_fd=fd):
                        _unlink(fd, name)
        finally:
            os.close(fd)

    def _make_directories(self, path: str) -> None:
        """Should a package of their owner's be installed, it sets their mode and group as if it had made them."""
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            here, parent = "/".join(parts[:depth]), "/".join(parts[: depth - 1])
            if self._resolve_directory(here):
                continue
            real_parent = self._resolve_directory(parent)
            self._footprint.approach(self._rootfs, real_parent)
            fd = footprint.open_directory(self._rootfs, real_parent)
            try:
                os.mkdir(parts[depth - 1], 0o755, dir_fd=fd)
            finally:
                os.close(fd)
            made = f"{real_parent}/{parts[depth - 1]}" if real_parent else parts[depth - 1]
            self._made_directories.append(made)
            self._footprint.made(self._rootfs, made)

    def _remove_directory(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        try:
            fd = footprint.open_directory(self._rootfs, parent)
        except OSError:
            return
        try:
            with _keeping_times(fd):
                os.rmdir(name, dir_fd=fd)
        except OSError:
            return  # the step put something into it
        finally:
            os.close(fd)

    def _dev_files(self, extra: CaCertificates, directory: str, *, has_bundle: bool) -> tuple[RuntimeMount, ...]:
        wanted = [(_DEV_EXTRA, ca_certs.to_pem(extra.certificates))]
        if not has_bundle:
            wanted.append((_DEV_BUNDLE, ca_certs.to_pem(dict.fromkeys((*extra.certificates, *extra.companions)))))
        mounts = []
        for target, pem in wanted:
            source = os.path.join(directory, os.path.basename(target))
            with open(source, "wb") as file:
                file.write(pem)
            os.chmod(source, 0o644)
            mounts.append(RuntimeMount(target, source, is_read_only=True))
        return tuple(mounts)

    def _resolve(self, path: str) -> str:
        """Where the regular file `path` really is, below the root; "" if there is none."""
        return self._real(path, stat.S_ISREG)

    def _resolve_directory(self, path: str) -> str:
        return self._real(path, stat.S_ISDIR)

    def _real(self, path: str, is_wanted: "Callable[[int], bool]") -> str:
        root_fd = os.open(self._rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = paths.open_in_root(root_fd, path, os.O_PATH)
        except OSError:
            return ""
        else:
            try:
                if not is_wanted(os.stat(fd).st_mode):
                    return ""
                return os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), os.readlink(f"/proc/self/fd/{root_fd}"))
            finally:
                os.close(fd)
        finally:
            os.close(root_fd)

    def _list(self, directory: str) -> list[str]:
        real = self._resolve_directory(directory)
        if not real:
            return []
        fd = footprint.open_directory(self._rootfs, real)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def _read(self, path: str) -> bytes:
        with os.fdopen(footprint.open_at(self._rootfs, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            return file.read(_MAX_BYTES)

    def _write(self, path: str, data: bytes, like: os.stat_result) -> None:
        """New content, in the same inode, with the times of `like`."""
        fd = footprint.open_at(self._rootfs, path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.utime(fd, ns=(like.st_atime_ns, like.st_mtime_ns))


def _added(kind: str, data: bytes, extra: "Sequence[bytes]") -> bytes:
    """A store that we can't read stays as it is."""
    if kind == "pem":
        return ca_certs.add_to_bundle(data, extra)
    try:
        return trust_store.add(data, extra, _PREFIX)
    except trust_store.NotATrustStore:
        return data


def _subtracted_java(data: bytes) -> bytes:
    try:
        return trust_store.subtract(data, _PREFIX)
    except trust_store.NotATrustStore:
        return data


def _variables(bundle: str, env: "Sequence[str]") -> list[str]:
    taken = {entry.partition("=")[0] for entry in env}
    wanted = [(name, bundle) for name in _BUNDLE_VARIABLES] + [("NODE_EXTRA_CA_CERTS", _DEV_EXTRA)]
    return [f"{name}={path}" for name, path in wanted if name not in taken]


def _same_owner(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_mode, one.st_uid, one.st_gid) == (other.st_mode, other.st_uid, other.st_gid)


def _write_new(directory_fd: int, name: str, data: bytes) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=directory_fd)
    with os.fdopen(fd, "wb") as file:
        file.write(data)


@contextlib.contextmanager
def _keeping_times(directory_fd: int) -> "Iterator[None]":
    """What we take away again is no change that a step made: the directory's times are the step's."""
    before = os.stat(directory_fd)
    yield
    os.utime(directory_fd, ns=(before.st_atime_ns, before.st_mtime_ns))


def _unlink(directory_fd: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=directory_fd)
    except FileNotFoundError:
        pass
