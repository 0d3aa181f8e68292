import pytest

from chandlery.errors import RequestError
from chandlery.runtime.secrets import MAX_BYTES, Secrets, SecretSource


def test_a_file_and_a_variable(tmp_path):
    (tmp_path / "key").write_bytes(b"\0binary")
    secrets = Secrets([SecretSource("a", file=str(tmp_path / "key")), SecretSource("b", env="TOKEN")], {"TOKEN": "t"})
    assert secrets.read("a", is_required=True) == b"\0binary"
    assert secrets.read("b", is_required=False) == b"t"


def test_one_that_is_not_offered_is_none_unless_required():
    secrets = Secrets([], {})
    assert secrets.read("a", is_required=False) is None
    with pytest.raises(RequestError) as caught:
        secrets.read("a", is_required=True)
    assert caught.value.code == "request.missing-secret"


@pytest.mark.parametrize("source", [SecretSource("a", file="/nonexistent/key"), SecretSource("a", env="UNSET")])
def test_an_offered_one_that_cannot_be_had_is_an_error_even_if_optional(source):
    with pytest.raises(RequestError) as caught:
        Secrets([source], {}).read("a", is_required=False)
    assert caught.value.code == "request.missing-secret"


def test_a_data_set_is_no_secret(tmp_path):
    (tmp_path / "big").write_bytes(bytes(MAX_BYTES + 1))
    with pytest.raises(RequestError) as caught:
        Secrets([SecretSource("a", file=str(tmp_path / "big"))], {}).read("a", is_required=True)
    assert caught.value.code == "request.secret-too-large"
