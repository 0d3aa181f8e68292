import pytest

from chandlery.engine import recipe
from chandlery.errors import RequestError
from chandlery.frontend.dockerfile.lowered import Lowered
from chandlery.graph.vertex import Graph
from chandlery.oci.image_config import ImageConfig


def lowered(epoch: str) -> Lowered:
    return Lowered(Graph((), ()), 0, ImageConfig("linux", "amd64"), (), None, (), source_date_epoch=epoch)


def test_an_epoch_is_seconds():
    assert recipe.epoch_of(lowered("0")) == 0
    assert recipe.epoch_of(lowered("1700000000")) == 1700000000
    assert recipe.epoch_of(lowered("")) is None


@pytest.mark.parametrize("text", ["now", "-1", "1.5", "1_000", "²", "99999999999999999999", "9" * 5000, " 1"])
def test_an_epoch_that_no_date_can_be_made_of_is_refused(text):
    with pytest.raises(RequestError) as raised:
        recipe.epoch_of(lowered(text))
    assert raised.value.code == "request.bad-epoch"


def test_times_are_those_that_docker_writes():
    assert recipe.created_time(0) == "1970-01-01T00:00:00Z"
    assert len(recipe.created_time(None)) == len("2024-01-01T00:00:00.000000000Z")
