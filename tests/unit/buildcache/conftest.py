import pytest

from chandlery.content.store import Store


@pytest.fixture
def store(tmp_path):
    with Store.open(str(tmp_path / "R")) as opened:
        yield opened


@pytest.fixture
def session(store):
    with store.begin() as begun:
        yield begun
