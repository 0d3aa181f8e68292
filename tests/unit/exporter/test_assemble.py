"""Image configurations: history and layers in step, and times that a rebuild from cache repeats."""

import pytest

from chandlery.errors import InternalError
from chandlery.exporter.assemble import EPOCH, ImageRecipe, assemble, with_manifest
from chandlery.oci import image_config
from chandlery.oci.descriptor import Descriptor
from chandlery.oci.digest import sha256
from chandlery.oci.image_config import HistoryEntry, ImageConfig
from chandlery.oci.manifest import decode
from chandlery.oci.media_type import DOCKER_LAYER_GZIP, DOCKER_MANIFEST, OCI_LAYER_GZIP, OCI_MANIFEST
from chandlery.snapshot.state import LayerRef

TARGET = ImageConfig("amd64", "linux", runtime={"Cmd": ["/app"]})
RUN = HistoryEntry("", "RUN make")
ENV = HistoryEntry("", "ENV A=1", is_empty_layer=True)
T1, T2 = "2024-01-01T00:00:00.5Z", "2024-01-02T00:00:00Z"


def layer(created: str, number: int = 1) -> LayerRef:
    return LayerRef(f"s{number}", "", created)


def diff_ids(count: int):
    return tuple(sha256(b"%d" % number) for number in range(count))


def base_of(layers: int, *created: str, image_created: str = "2023-01-01T00:00:00Z") -> ImageConfig:
    history = tuple(HistoryEntry(time, "base") for time in created)
    return ImageConfig("amd64", "linux", created=image_created, diff_ids=diff_ids(layers), history=history)


def test_an_instruction_that_made_a_layer_has_the_layers_time():
    made = assemble(ImageRecipe(TARGET, None, (RUN, RUN)), (layer(T1), layer(T2, 2)), diff_ids(2))
    assert [entry.created for entry in made.history] == [T1, T2]
    assert made.created == T2


def test_an_instruction_that_made_none_takes_the_time_of_what_is_below_it():
    base = base_of(1, "2023-05-05T00:00:00Z")
    made = assemble(ImageRecipe(TARGET, base, (ENV, RUN, ENV)), (LayerRef(diff_id="d"), layer(T1)), diff_ids(2))
    assert [entry.created for entry in made.history] == ["2023-05-05T00:00:00Z", "2023-05-05T00:00:00Z", T1, T1]


def test_a_base_whose_history_is_shorter_than_its_layers_is_kept_as_it_is():
    base = base_of(3)
    made = assemble(ImageRecipe(TARGET, base, (RUN,)), (*[LayerRef(diff_id="d")] * 3, layer(T1)), diff_ids(4))
    assert len(made.history) == 1
    assert len(made.diff_ids) == 4


def test_an_image_without_layers_or_time_is_from_the_epoch():
    made = assemble(ImageRecipe(TARGET, None, (ENV,)), (), ())
    assert made.created == EPOCH


def test_equal_layers_stay_two():
    same = layer(T1)
    made = assemble(ImageRecipe(TARGET, None, (RUN, RUN)), (same, same), (diff_ids(1) * 2))
    assert len(made.diff_ids) == len(made.history) == 2


def test_a_source_date_epoch_replaces_the_times_of_layers_and_later_ones():
    epoch = "2023-06-01T00:00:00Z"
    base = base_of(1, "2023-01-01T00:00:00Z")
    made = assemble(ImageRecipe(TARGET, base, (ENV, RUN, ENV), epoch), (LayerRef(diff_id="d"), layer(T1)), diff_ids(2))
    assert [entry.created for entry in made.history[1:]] == ["2023-01-01T00:00:00Z", epoch, epoch]
    assert made.created == epoch


def test_layers_and_instructions_that_do_not_match_are_a_bug():
    with pytest.raises(InternalError):
        assemble(ImageRecipe(TARGET, None, (RUN,)), (), ())


@pytest.mark.parametrize(("is_docker", "manifest_type", "layer_type"), [(False, OCI_MANIFEST, OCI_LAYER_GZIP), (True, DOCKER_MANIFEST, DOCKER_LAYER_GZIP)])
def test_a_manifest_names_the_configuration_and_the_layers(is_docker, manifest_type, layer_type):
    blob = Descriptor(layer_type, sha256(b"blob"), 4)
    image = with_manifest(assemble(ImageRecipe(TARGET, None, (RUN,)), (layer(T1),), diff_ids(1)), (blob,), is_docker=is_docker)
    read = decode(image.manifest.raw)
    assert (read.media_type, read.layers, read.config.digest) == (manifest_type, (blob,), sha256(image.config_blob))
    assert image_config.decode(image.config_blob).diff_ids == diff_ids(1)


def test_a_configuration_that_has_bytes_keeps_them():
    image = with_manifest(TARGET, (), is_docker=False, config_blob=b'{ "os": "linux" }')
    assert image.config_digest == sha256(b'{ "os": "linux" }')
