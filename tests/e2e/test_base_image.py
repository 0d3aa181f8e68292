"""Base images from the real distribution, through the real mmdebstrap: slow, and worth it once a run."""

import os
import shutil
from pathlib import Path

import pytest

from chandlery.content.store import Store
from chandlery.snapshot.snapshots import SnapshotStore
from chandlery.source.base_image import BaseImage, create_image

pytestmark = [
    pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="mmdebstrap is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="installing packages into a root needs root"),
    pytest.mark.timeout(400),
]


def create(root: Path) -> BaseImage:
    with Store.open(str(root)) as store, store.begin() as session:
        return create_image(store, SnapshotStore(store), session, "base", include=("ca-certificates-java",))


def test_two_installations_of_the_same_packages_have_one_diff_id(tmp_path: Path) -> None:
    first, second = create(tmp_path / "one"), create(tmp_path / "two")

    assert first.packages == second.packages
    assert (first.diff_id, first.config_digest) == (second.diff_id, second.config_digest)
