"""Rules about host names: which may speak plain http, which go through a proxy. Pure.

Loopback is trusted as docker trusts 127.0.0.0/8; NO_PROXY has no standard, and is read here as Go's httpproxy package documents it, because that is
what docker users have: names match themselves and their subdomains, ".name" subdomains only, addresses and CIDR ranges match, "*" is everything.
"""

from chandlery.registry.settings import Proxies

HUB_HOST = "registry-1.docker.io"


def split_port(host: str) -> tuple[str, str]:
    """("name", "port" or "") of "name", "name:port" or "[v6]:port", brackets removed."""
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name, rest.removeprefix(":")
    name, colon, port = host.rpartition(":")
    return (name, port) if colon and ":" not in name else (host, "")


def is_loopback(host: str) -> bool:
    name = split_port(host)[0].lower().rstrip(".")
    if name in ("localhost", "127.0.0.1") or name.endswith(".localhost"):
        return True
    import ipaddress

    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_insecure(host: str, insecure: tuple[str, ...]) -> bool:
    """Whether a user named this host, its name without the port, or a CIDR range around it, as one without proper TLS."""
    name = split_port(host)[0]
    for entry in (entry.removeprefix("http://") for entry in insecure):
        if entry in (host, name):
            return True
        if "/" in entry:
            import ipaddress

            try:
                if ipaddress.ip_address(name) in ipaddress.ip_network(entry, strict=False):
                    return True
            except ValueError:
                continue
    return False


def is_plain(host: str, insecure: tuple[str, ...]) -> bool:
    """Whether a user named this host with http:// before it: nobody has to find out."""
    return is_insecure(host, tuple([entry for entry in insecure if entry.startswith("http://")]))


def proxy_for(scheme: str, host: str, proxies: Proxies) -> str:
    """The URL of the proxy that a request goes through, or ""."""
    proxy = proxies.https if scheme == "https" else proxies.http
    if not proxy or is_loopback(host) or _is_bypassed(host, scheme, proxies.bypass):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_bypassed(host: str, scheme: str, bypass: str) -> bool:
    import ipaddress

    name, port = split_port(host)
    name = name.lower().rstrip(".")
    port = port or ("443" if scheme == "https" else "80")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        address = None
    for entry in (part.strip().lower() for part in bypass.split(",")):
        if not entry:
            continue
        if entry == "*":
            return True
        if "/" in entry and address is not None:
            try:
                if address in ipaddress.ip_network(entry, strict=False):
                    return True
            except ValueError:
                pass
            continue
        wanted, wanted_port = split_port(entry)
        if wanted_port and wanted_port != port:
            continue
        bare = wanted.removeprefix("*").lstrip(".")
        is_subdomains_only = wanted.startswith((".", "*."))
        if (name == bare and not is_subdomains_only) or (address is None and name.endswith("." + bare)):
            return True
    return False
