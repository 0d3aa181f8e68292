"""Caches of tools that a step filled in its own layer, without a mount there."""

import pytest

from chandlery.worker import unmounted


class Op:
    def __init__(self, *argv, env=()):
        self.argv, self.env = argv, env


@pytest.mark.parametrize(
    ("path", "op", "target"),
    [
        ("root/.m2/repository/g/a/1/a-1.jar", Op("mvn"), "/root/.m2"),
        ("home/me/.npm/_cacache/content-v2/x", Op("npm"), "/home/me/.npm"),
        ("repo/g/a/1/a-1.jar", Op("/bin/sh", "-c", "mvn -Dmaven.repo.local=/repo package"), "/repo"),
        ("gh/caches/x", Op("gradle", env=("GRADLE_USER_HOME=/gh",)), "/gh"),
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
