"""Caches that BuildKit and we find in each other's exports: every step of a build that one of the two made, found by the other, which never ran it."""

import io
import json
import tarfile
import uuid
from pathlib import Path
from typing import Any

import pytest
from tests.conformance import bases
from tests.conformance.builders import Buildkit, Ours
from tests.conformance.model import Case, Dir, File, Files, Link, write_context

DOCKERFILE = """
FROM scratch AS files
COPY unique /unique
COPY src/*.go /go/
WORKDIR /s
FROM busybox AS base
USER alice
WORKDIR /home/alice/unique
FROM base
SHELL ["/bin/sh","-e","-c"]
ARG GIVEN=1
ENV A="q\\"uo<te&>" B='é'
RUN echo '<&>' "$A" "$B" "$GIVEN" > /tmp/q
COPY . /all/
COPY src/*/ /dirs/
COPY s?c /m/
COPY linked /ld/
COPY src/link /one
COPY unique src/x.go src/y.go /three/
ADD --chown=alice:staff unique /owned
COPY --chown=5 --chmod=640 unique /five
COPY --from=files / /f/
COPY --from=base /etc/passwd /p
COPY --link unique src /linked-unique/
ADD --link --chown=3:4 unique /owned-by-number
COPY --from=busybox /opt/base /unique-base
ADD t.tar /unpacked/
COPY <<EOF /here
text $A
EOF
COPY <<one <<two /many/
1
one
2
two
RUN <<EOF
echo heredoc
echo more > /tmp/h
EOF
RUN <<EOF
#!/bin/sh
echo script > /tmp/sb
EOF
RUN --mount=type=secret,id=token --mount=type=secret,id=other,env=OTHER true
RUN --mount=type=bind,from=files,target=/fs,source=/go ls /fs > /tmp/l
RUN --mount=type=bind,target=/c,rw --mount=type=bind,source=src/../unique,target=/b ls /b > /tmp/bb
RUN --mount=type=cache,id=named,target=/n,sharing=locked --mount=type=cache,target=rel,ro true
RUN --mount=type=cache,target=/k --mount=type=tmpfs,target=/t,size=1000000 true
RUN ["/bin/true"]
RUN --network=none cat /proc/sys/kernel/random/uuid > /tmp/unique-end
"""
SMALL = "FROM busybox\nCOPY unique /unique\nCOPY src /src\nRUN cat /proc/sys/kernel/random/uuid > /unique-made\n"
FORMS = ["image-manifest=false", "oci-mediatypes=false", "compression=zstd,force-compression=true"]


def an_archive() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("inside"))
    return out.getvalue()


def files(unique: str) -> Files:
    return {
        unique: unique, "src/x.go": "x", "src/y.go": "y", "src/deep/z.go": File(b"z", 0o600), "src/link": Link(f"../{unique}"), "linked": Link("src"),
        "empty": Dir(0o700), "t.tar": an_archive(), "ignored": "i", "keep.log": "k", "drop.log": "d", ".dockerignore": "ignored\n*.log\n!keep.log\n",
        "with": File(b"x", xattrs={"user.note": b"kept"}), "café/a b": "utf-8",
    }  # fmt: skip


def case_of(dockerfile: str) -> Case:
    """A case whose every step, and every file's time, is its own, so that neither builder has had it."""
    unique = uuid.uuid4().hex
    return Case(unique, dockerfile.replace("unique /", unique + " /").replace(" unique", " " + unique).replace("/unique", "/" + unique), files(unique))


def layers(side: Ours | Buildkit, case: Case, directory: Path, *args: str) -> list[str]:
    """The diff ids of what a builder makes of a case. The last step writes what nobody writes twice, so that equal ones were found."""
    archive = directory / f"{uuid.uuid4().hex}.tar"
    built = side.build(case, directory, archive, args)
    assert built.error == "", built.error[-3000:]
    with tarfile.open(archive) as opened:

        def read(digest: str) -> dict[str, Any]:
            return json.load(opened.extractfile("blobs/sha256/" + digest.removeprefix("sha256:")))  # type: ignore[arg-type, no-any-return]

        manifest = read(json.load(opened.extractfile("index.json"))["manifests"][0]["digest"])  # type: ignore[arg-type]
        found: list[str] = read(manifest["config"]["digest"])["rootfs"]["diff_ids"]
        return found


@pytest.fixture(scope="module", autouse=True)
def same_base(ours: Ours, tmp_path_factory: pytest.TempPathFactory):
    """BuildKit names a base image by its manifest: ours has to be that very image, not one that was loaded from Docker's form."""
    place = tmp_path_factory.mktemp("base") / "busybox"
    bases.write_layout(place, "busybox")
    ours.contexts = (f"--build-context=busybox=oci-layout://{place}:latest",)
    yield
    ours.contexts = ()


def made(directory: Path, dockerfile: str = DOCKERFILE) -> Case:
    case = case_of(dockerfile)
    write_context(directory, case)
    return case


BUILDS = [pytest.param(DOCKERFILE, "mode=max", id="everything"), *(pytest.param(SMALL, form, id=form) for form in FORMS)]


@pytest.mark.parametrize(("dockerfile", "form"), BUILDS)
def test_buildkit_finds_our_cache(dockerfile: str, form: str, ours: Ours, buildkit: Buildkit, tmp_path: Path) -> None:
    case = made(tmp_path, dockerfile)
    first = layers(ours, case, tmp_path, "--cache-to", f"type=local,dest={tmp_path}/cache,{form}")

    assert layers(buildkit, case, tmp_path, "--cache-from", f"type=local,src={tmp_path}/cache") == first


@pytest.mark.parametrize(("dockerfile", "form"), BUILDS)
def test_we_find_buildkit_s_cache(dockerfile: str, form: str, ours: Ours, buildkit: Buildkit, tmp_path: Path) -> None:
    case = made(tmp_path, dockerfile)
    first = layers(buildkit, case, tmp_path, "--cache-to", f"type=local,dest={tmp_path}/cache,{form}")

    assert layers(ours, case, tmp_path, "--cache-from", f"type=local,src={tmp_path}/cache") == first


def test_a_build_of_another_time_is_found_both_ways(ours: Ours, buildkit: Buildkit, tmp_path: Path) -> None:
    epoch, text = ("--build-arg", "SOURCE_DATE_EPOCH=1700000000"), SMALL.replace("COPY src", "WORKDIR /unique-w\nCOPY src")
    case = made(tmp_path / "1", text)
    layers(buildkit, case, tmp_path / "1", "--cache-to", f"type=local,dest={tmp_path}/bk", *epoch)
    found = ours.build(case, tmp_path / "1", tmp_path / "found.tar", ("--cache-from", f"type=local,src={tmp_path}/bk", *epoch))
    assert len(found.cached) == 4

    case = made(tmp_path / "2", text)
    layers(ours, case, tmp_path / "2", "--cache-to", f"type=local,dest={tmp_path}/ours", *epoch)
    found = buildkit.build(case, tmp_path / "2", tmp_path / "found.tar", ("--cache-from", f"type=local,src={tmp_path}/ours", *epoch))
    assert len(found.cached) >= 3  # the last one, which brings the files, may be shown as done


def unpacked(directory: Path) -> Path:
    """The one archive in a directory as a layout."""
    (archive,) = directory.glob("*.tar")
    with tarfile.open(archive) as opened:
        opened.extractall(directory / "layout")
    return directory / "layout"


def test_buildkit_finds_the_cache_that_our_image_carries(ours: Ours, buildkit: Buildkit, tmp_path: Path) -> None:
    case = made(tmp_path, SMALL)
    first = layers(ours, case, tmp_path, "--cache-to", "type=inline", "-t", "a:latest")

    assert layers(buildkit, case, tmp_path, "--cache-from", f"type=local,src={unpacked(tmp_path)}") == first


def test_we_find_the_cache_that_buildkit_s_image_carries(ours: Ours, buildkit: Buildkit, tmp_path: Path) -> None:
    case = made(tmp_path, SMALL)
    first = layers(buildkit, case, tmp_path, "--build-arg", "BUILDKIT_INLINE_CACHE=1", "-t", "a:latest")

    assert layers(ours, case, tmp_path, "--cache-from", f"type=local,src={unpacked(tmp_path)}") == first


def test_what_changed_is_found_by_neither(ours: Ours, buildkit: Buildkit, tmp_path: Path) -> None:
    case = made(tmp_path, SMALL)
    first = layers(buildkit, case, tmp_path, "--cache-to", f"type=local,dest={tmp_path}/bk")
    (tmp_path / "context/src/x.go").write_text("changed")

    second = layers(ours, case, tmp_path, "--cache-from", f"type=local,src={tmp_path}/bk", "--cache-to", f"type=local,dest={tmp_path}/ours")

    assert second[:2] == first[:2]
    assert not set(second[2:]) & set(first[2:])
    (tmp_path / "context/src/x.go").write_text("changed once more")
    third = layers(buildkit, case, tmp_path, "--cache-from", f"type=local,src={tmp_path}/ours")
    assert third[:2] == second[:2]
    assert not set(third[2:]) & set(second[2:])
