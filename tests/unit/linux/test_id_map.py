"""Ids map one-to-one or not at all."""

import pytest

from chandlery.errors import MachineError
from chandlery.linux.id_map import IDENTITY, IdMap

MAPPED = IdMap(uids=((0, 1000, 1), (1, 100000, 65536)), gids=((0, 1000, 1), (1, 100000, 65536)))


def test_identity_keeps_every_id() -> None:
    assert IDENTITY.is_identity
    assert IDENTITY.to_host(7, 4_000_000_000) == (7, 4_000_000_000)


@pytest.mark.parametrize("inside", [(0, 0), (1, 0), (65536, 33)])
def test_mapping_there_and_back_is_the_same(inside: tuple[int, int]) -> None:
    assert MAPPED.to_container(*MAPPED.to_host(*inside)) == inside


def test_root_inside_is_the_user_outside() -> None:
    assert MAPPED.to_host(0, 0) == (1000, 1000)


def test_an_unmapped_id_is_refused() -> None:
    with pytest.raises(MachineError) as refused:
        MAPPED.to_host(65537, 0)
    assert refused.value.code == "idmap.unmapped"
