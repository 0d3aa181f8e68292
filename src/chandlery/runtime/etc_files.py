"""The text of /etc/hosts in a step; its /etc/resolv.conf comes from the network."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_FIXED = (
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)


def hosts_text(hostname: str, extra: "Sequence[tuple[str, str]]" = ()) -> str:
    """`extra` are (name, address) as --add-host gave them, in their order; they come first, so that they win."""
    rows = [(address, name) for name, address in extra]
    rows += [("127.0.0.1", f"localhost {hostname}"), *_FIXED]
    return "".join(f"{address}\t{names}\n" for address, names in rows)
