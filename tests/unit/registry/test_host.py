import pytest

from chandlery.registry.host import is_insecure, is_loopback, is_plain, proxy_for, split_port
from chandlery.registry.settings import Proxies


@pytest.mark.parametrize(("host", "parts"), [("a", ("a", "")), ("a:1", ("a", "1")), ("[::1]:5", ("::1", "5")), ("::1", ("::1", ""))])
def test_port_is_split_off(host, parts):
    assert split_port(host) == parts


@pytest.mark.parametrize("host", ["localhost", "localhost:5000", "127.0.0.1:1", "127.9.9.9", "[::1]:5000", "reg.localhost"])
def test_loopback_hosts(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "localhost.example", "127.0.0.1.example", "example:127"])
def test_hosts_that_are_not_loopback(host):
    assert not is_loopback(host)


def test_insecure_hosts_are_named_by_host_port_name_or_range():
    assert is_insecure("r:5000", ("r:5000",))
    assert is_insecure("r:5000", ("r",))
    assert is_insecure("10.1.2.3:5000", ("10.0.0.0/8",))
    assert not is_insecure("r:5001", ("r:5000",))
    assert not is_insecure("r.example", ("10.0.0.0/8", "nonsense/x"))


def test_a_host_named_with_its_scheme_is_plain():
    assert is_insecure("r:5000", ("http://r:5000",))
    assert is_plain("r:5000", ("http://r:5000",))
    assert is_plain("10.1.2.3:5000", ("http://10.0.0.0/8",))
    assert not is_plain("r:5000", ("r:5000", "http://r:5001"))


PROXIES = Proxies("http://p:1", "p:2", "internal.example, .sub.example, 10.0.0.0/8, 192.168.1.1, ported:8080, [fd00::1]")


@pytest.mark.parametrize(
    ("scheme", "host", "expected"),
    [
        ("http", "r.example", "http://p:1"),
        ("https", "r.example:443", "http://p:2"),
        ("https", "internal.example", ""),
        ("https", "a.internal.example:5000", ""),
        ("https", "notinternal.example", "http://p:2"),
        ("https", "sub.example", "http://p:2"),
        ("https", "a.sub.example", ""),
        ("https", "10.3.4.5:5000", ""),
        ("https", "192.168.1.1", ""),
        ("https", "192.168.1.2", "http://p:2"),
        ("https", "ported:8080", ""),
        ("https", "ported", "http://p:2"),
        ("http", "127.0.0.1:5000", ""),
        ("https", "[fd00::1]:5", ""),
    ],
)
def test_proxy_follows_no_proxy(scheme, host, expected):
    assert proxy_for(scheme, host, PROXIES) == expected


def test_star_bypasses_everything_and_no_proxy_is_no_proxy():
    assert proxy_for("https", "r.example", Proxies("a", "b", "*")) == ""
    assert proxy_for("https", "r.example", Proxies("a", "", "")) == ""
