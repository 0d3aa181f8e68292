"""Which volume somebody means, and which path in it."""

import pytest

from chandlery.errors import RequestError
from chandlery.volume.head import Head, VolumeRow
from chandlery.volume.key import VolumeKey
from chandlery.volume.naming import find, path_in

MAIN = VolumeKey("github.com/team/app@main", "/root/.m2", "linux/amd64")
BRANCH = VolumeKey("github.com/team/app@fix", "/root/.m2", "linux/amd64")
ARM = VolumeKey("github.com/team/app@main", "/root/.m2", "linux/arm64")
NPM = VolumeKey("machine", "npm", "linux/amd64")


def rows(*keys):
    return [VolumeRow(f"{number}abcdefg", key, 0, Head(), 0.0) for number, key in enumerate(keys)]


def refused(*arguments, **options):
    with pytest.raises(RequestError) as error:
        find(*arguments, **options)
    return error.value


def test_a_name_of_one_volume_is_enough():
    assert find(rows(MAIN, NPM), "npm") == NPM


def test_the_scope_tells_volumes_of_one_name_apart():
    assert find(rows(MAIN, BRANCH), "github.com/team/app@fix:/root/.m2") == BRANCH
    assert find(rows(MAIN, BRANCH), "/root/.m2", scope=BRANCH.scope) == BRANCH


def test_the_beginning_of_an_id_names_a_volume():
    assert find(rows(MAIN, BRANCH), "1abc") == BRANCH


def test_too_short_a_beginning_names_nothing():
    assert refused(rows(MAIN, BRANCH), "1ab").code == "volume.unknown"


def test_private_instances_of_a_volume_are_that_volume():
    assert find([*rows(NPM), VolumeRow("other", NPM, 1, Head(), 0.0)], "npm") == NPM


def test_an_ambiguous_name_lists_the_candidates():
    error = refused(rows(MAIN, BRANCH, NPM), "/root/.m2")
    assert error.code == "volume.ambiguous"
    assert "app@main:/root/.m2" in error.message
    assert "app@fix:/root/.m2" in error.message


def test_platforms_are_told_apart_by_the_flag_that_the_error_names():
    assert "--platform linux/arm64" in refused(rows(MAIN, ARM), "/root/.m2").message
    assert find(rows(MAIN, ARM), "/root/.m2", platform="linux/arm64") == ARM


def test_a_slip_is_answered_with_the_nearest_name():
    error = refused(rows(MAIN, NPM), "/root/.m3")
    assert error.code == "volume.unknown"
    assert error.hint == "did you mean /root/.m2?"


@pytest.mark.parametrize("text", ["repository/a.jar", "/repository/a.jar", "/root/.m2/repository/a.jar", "repository//./a.jar"])
def test_a_path_may_be_as_a_step_sees_it(text):
    assert path_in(MAIN, text) == "repository/a.jar"


@pytest.mark.parametrize("text", ["", "/", ".", "../x", "a/../../x", "/root/.m2/"])
def test_what_is_no_path_inside_the_volume_is_refused(text):
    with pytest.raises(RequestError) as error:
        path_in(MAIN, text)
    assert error.value.code == "volume.bad-path"
