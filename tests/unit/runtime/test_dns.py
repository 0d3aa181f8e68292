import pytest

from chandlery.runtime import dns


def resolvers(tmp_path, text, real=None):
    (tmp_path / "resolv.conf").write_text(text)
    if real is not None:
        (tmp_path / "real").write_text(real)
    return dns.read_resolvers(str(tmp_path / "resolv.conf"), str(tmp_path / "real"))


def test_resolvers_within_reach_are_passed_on_with_their_options(tmp_path):
    found = resolvers(tmp_path, "# made by hand\nsearch a.example b.example\nnameserver 10.1.1.1\nnameserver ::1\noptions ndots:2\n")
    assert not found.needs_forwarder
    assert found.text() == "nameserver 10.1.1.1\nsearch a.example b.example\noptions ndots:2\n"


@pytest.mark.parametrize("address", ["127.0.0.53", "127.0.0.1", "169.254.169.253", "::1", "fe80::1%eth0", "2001:db8::53", "0.0.0.0"])
def test_resolvers_out_of_reach_need_a_forwarder(tmp_path, address):
    found = resolvers(tmp_path, f"nameserver {address}\nsearch a.example\n")
    assert found.needs_forwarder
    assert found.text("10.0.2.1") == "nameserver 10.0.2.1\nsearch a.example\n"


def test_the_real_file_behind_a_stub_is_preferred(tmp_path):
    found = resolvers(tmp_path, "nameserver 127.0.0.53\n", real="nameserver 10.9.9.9\n")
    assert (found.needs_forwarder, found.nameservers) == (False, ("10.9.9.9",))


def test_a_real_file_that_does_not_help_is_left(tmp_path):
    assert resolvers(tmp_path, "nameserver 127.0.0.53\n", real="nameserver 127.0.0.1\n").nameservers == ("127.0.0.53",)


def test_without_a_file_it_is_the_machine_itself(tmp_path):
    assert dns.read_resolvers(str(tmp_path / "none"), str(tmp_path / "none")).nameservers == ("127.0.0.1",)
