"""Short random names: of builds, snapshots and things on their way. Short, because mount options hold many of them."""

import os

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def fresh_name() -> str:
    """Eight characters, 40 bits; where a name must be unique its maker creates it exclusively and draws again."""
    return "".join([_ALPHABET[byte & 31] for byte in os.urandom(8)])
