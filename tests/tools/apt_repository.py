"""An apt repository of small packages, made with dpkg-deb."""

import hashlib
import subprocess
from pathlib import Path

from tests.tools.served import Page, Served


class AptRepository(Served):
    """One suite, `stable`, unsigned. `source` is its line for sources.list."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self._listed: list[str] = []
        self.bytes_of: dict[str, int] = {}

    @property
    def source(self) -> str:
        return f"deb [trusted=yes] {self.address} stable main"

    def add(self, name: str, *, needs: str = "", size: int = 100_000) -> None:
        tree = self._directory / name
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "opt").mkdir()
        (tree / "opt" / name).write_bytes(hashlib.shake_256(name.encode()).digest(size))
        control = f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\n"
        control += (f"Depends: {needs}\n" if needs else "") + f"Description: {name}\n"
        (tree / "DEBIAN/control").write_text(control)
        archive = self._directory / f"{name}_1.0_all.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, archive], check=True, capture_output=True)
        body = archive.read_bytes()
        path = f"pool/{archive.name}"
        self.pages[f"/{path}"] = Page(body, "application/vnd.debian.binary-package")
        self.bytes_of[archive.name] = len(body)
        self._listed.append(f"{control}Filename: {path}\nSize: {len(body)}\nSHA256: {hashlib.sha256(body).hexdigest()}\n")
        self._list()

    def _list(self) -> None:
        packages = "\n".join(self._listed).encode()
        named = "main/binary-all/Packages", "main/binary-amd64/Packages", "main/binary-arm64/Packages"
        digests = "".join(f" {hashlib.sha256(packages).hexdigest()} {len(packages)} {name}\n" for name in named)
        release = f"Suite: stable\nCodename: stable\nArchitectures: all amd64 arm64\nComponents: main\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n{digests}"
        self.pages["/dists/stable/Release"] = Page(release.encode(), "text/plain")
        for name in named:
            self.pages[f"/dists/stable/{name}"] = Page(packages, "text/plain")
