"""A package index of small Python projects, served as the public one is: pages good for ten minutes, files for ever."""

import base64
import hashlib
import io
import json
import tarfile
import zipfile

from tests.tools.served import Page, Served

_PAGE = "max-age=600, public"
_FILE = "max-age=365000000, immutable, public"
# what builds an sdist, without anything that would have to be fetched for it
_BACKEND = """
import base64, hashlib, os, zipfile
NAME, VERSION, CODE = {name!r}, {version!r}, {code!r}
def build_wheel(directory, config_settings=None, metadata_directory=None):
    file = f"{{NAME}}-{{VERSION}}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, file), "w") as wheel:
        wheel.writestr(f"{{NAME}}.py", CODE)
        info = f"{{NAME}}-{{VERSION}}.dist-info"
        wheel.writestr(f"{{info}}/METADATA", f"Metadata-Version: 2.1\\nName: {{NAME}}\\nVersion: {{VERSION}}\\n")
        wheel.writestr(f"{{info}}/WHEEL", "Wheel-Version: 1.0\\nGenerator: here\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{{info}}/RECORD", "".join(f"{{name}},,\\n" for name in [*wheel.namelist(), f"{{info}}/RECORD"]))
    return file
"""
_PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n[project]\nname = "{name}"\nversion = "{version}"\n'


class PackageIndex(Served):
    """`simple` is what a client is told."""

    @property
    def simple(self) -> str:
        return f"{self.address}/simple/"

    def add_wheel(self, name: str, version: str, *, size: int = 4000, needs: tuple[str, ...] = ()) -> None:
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(f"Requires-Dist: {need}\n" for need in needs)
        self._add(name, f"{name}-{version}-py3-none-any.whl", _wheel(name, version, metadata, size))

    def add_sdist(self, name: str, version: str) -> None:
        self._add(name, f"{name}-{version}.tar.gz", sdist(name, version))

    def _add(self, name: str, file: str, body: bytes) -> None:
        digest = hashlib.sha256(body).hexdigest()
        self.pages[f"/files/{digest[:8]}/{file}"] = Page(body, "application/octet-stream", _FILE)
        listed = [path for path in self.pages if path.startswith("/files/") and path.rpartition("/")[2].startswith(f"{name}-")]
        links = "".join(f'<a href="{path}#sha256={hashlib.sha256(self.pages[path].body).hexdigest()}">{path.rpartition("/")[2]}</a><br>\n' for path in listed)
        text = (
            f'<!DOCTYPE html><html><head><meta name="pypi:repository-version" content="1.0"><title>Links for {name}</title></head><body>{links}</body></html>'
        )
        self.pages[f"/simple/{name}/"] = Page(text.encode(), "text/html; charset=utf-8", _PAGE)


def sdist(name: str, version: str, code: str = "") -> bytes:
    texts = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "pyproject.toml": _PYPROJECT.format(name=name, version=version),
        "backend.py": _BACKEND.format(name=name, version=version, code=code),
    }
    return _tar(f"{name}-{version}", texts)


def _wheel(name: str, version: str, metadata: str, size: int) -> bytes:
    info = f"{name}-{version}.dist-info"
    filler = base64.b64encode(hashlib.shake_256(name.encode()).digest(size)).decode()
    texts = {
        f"{name}.py": f"VERSION = {json.dumps(version)}\nFILLER = {json.dumps(filler)}\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: here\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    texts[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*texts, f"{info}/RECORD"])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, text in texts.items():
            archive.writestr(zipfile.ZipInfo(file), text)
    return out.getvalue()


def _tar(directory: str, texts: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, text in texts.items():
            info = tarfile.TarInfo(f"{directory}/{name}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()
