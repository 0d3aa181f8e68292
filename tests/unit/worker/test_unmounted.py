"""Caches of tools that a step filled in its own layer, without a mount there."""

import pytest

from chandlery.worker import unmounted


class Op:
    def __init__(self, *argv, env=(), cwd="/src"):
        self.argv, self.env, self.cwd = argv, env, cwd


def sh(command, **more):
    return Op("/bin/sh", "-c", command, **more)


@pytest.mark.parametrize(
    ("path", "op", "target"),
    [
        ("root/.m2/repository/g/a/1/a-1.jar", Op("mvn"), "/root/.m2"),
        ("home/me/.npm/_cacache/content-v2/x", Op("npm"), "/home/me/.npm"),
        ("repo/g/a/1/a-1.jar", Op("/bin/sh", "-c", "mvn -Dmaven.repo.local=/repo package"), "/repo"),
        ("gh/caches/x", Op("gradle", env=("GRADLE_USER_HOME=/gh",)), "/gh"),
        ("root/.m2/wrapper/dists/m/h/bin/mvn", Op("./mvnw"), "/root/.m2"),
        ("root/.gradle/caches/x", Op("gradle"), "/root/.gradle"),
        ("root/.gradle/wrapper/dists/g/h/x", Op("./gradlew"), "/root/.gradle"),
        ("root/.local/share/pnpm/store/v10/files/00/x", Op("pnpm"), "/root/.local/share/pnpm/store"),
        (".pnpm-store/v10/files/00/x", Op("pnpm"), "/.pnpm-store"),
        ("usr/local/share/.cache/yarn/v6/x", Op("yarn"), "/usr/local/share/.cache/yarn"),
        ("root/.yarn/berry/cache/x.zip", Op("yarn"), "/root/.yarn/berry"),
        ("root/.cache/pip/http-v2/x", Op("pip"), "/root/.cache/pip"),
        ("root/.cache/uv/x", Op("uv"), "/root/.cache/uv"),
        ("root/.cache/pypoetry/x", Op("poetry"), "/root/.cache/pypoetry"),
        ("root/go/pkg/mod/cache/x", Op("go"), "/root/go/pkg/mod"),
        ("go/pkg/mod/cache/x", Op("go"), "/go/pkg/mod"),
        ("root/.cargo/registry/cache/x", Op("cargo"), "/root/.cargo/registry"),
        ("usr/local/cargo/registry/cache/x", Op("cargo"), "/usr/local/cargo/registry"),
        ("var/cache/apt/archives/x.deb", Op("apt-get"), "/var/cache/apt"),
        ("var/lib/apt/lists/x_Packages", Op("apt-get"), "/var/lib/apt"),
        ("srv/app/.npm/_cacache/x", Op("npm", env=("HOME=/srv/app",)), "/srv/app/.npm"),
        ("r/x", Op("mvn", env=("MAVEN_OPTS=-Dmaven.repo.local=/r",)), "/r"),
        ("gh/x", sh("export GRADLE_USER_HOME='/gh'; gradle build"), "/gh"),
        ("n/_cacache/x", sh("npm ci --cache /n"), "/n"),
        ("n/_cacache/x", Op("npm", env=("npm_config_cache=/n",)), "/n"),
        ("s/v10/x", sh("pnpm install --store-dir=/s"), "/s"),
        ("y/v6/x", Op("yarn", "--cache-folder", "/y"), "/y"),
        ("y/cache/x", Op("yarn", env=("YARN_GLOBAL_FOLDER=/y",)), "/y"),
        ("p/http/x", sh("pip install --cache-dir /p six"), "/p"),
        ("u/x", Op("uv", env=("UV_CACHE_DIR=/u",)), "/u"),
        ("po/x", Op("poetry", env=("POETRY_CACHE_DIR=/po",)), "/po"),
        ("x/pip/http/x", Op("pip", env=("XDG_CACHE_HOME=/x",)), "/x/pip"),
        ("gm/cache/x", sh("GOMODCACHE=/gm go build"), "/gm"),
        ("ch/registry/x", Op("cargo", env=("CARGO_HOME=/ch",)), "/ch/registry"),
        ("gopath/pkg/mod/cache/x", Op("go", env=("GOPATH=/gopath",)), "/gopath/pkg/mod"),
    ],
)
def test_a_cache_in_the_layer_is_named_with_its_size_and_the_mount_to_add(tmp_path, path, op, target):
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x" * 200_000)
    (found,) = unmounted.in_upper(str(tmp_path), op)
    assert (found.target, found.size_bytes) == (target, 200_000)
    assert f"--mount=type=cache,target={target} " in found.hint


def test_other_files_and_crumbs_are_not_mentioned(tmp_path):
    for path, size in (("root/app/big", 200_000), ("root/.m2/repository/x", 10)):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"x" * size)
    assert list(unmounted.in_upper(str(tmp_path), Op("x"))) == []


def test_a_place_that_the_project_tells_maven_is_known(tmp_path):
    for path, text in (("below/src/.mvn/maven.config", b"-B\n-Dmaven.repo.local=/r\n"), ("upper/r/g/a.jar", b"x" * 200_000)):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(text)
    (found,) = unmounted.in_upper(str(tmp_path / "upper"), Op("mvn"), (str(tmp_path / "below"),))
    assert found.target == "/r"
