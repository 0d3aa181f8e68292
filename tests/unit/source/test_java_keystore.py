import hashlib
import struct

from chandlery.source import java_keystore


def keystore(times_ms: list[int], tag: int = 2) -> bytes:
    """A store with an entry for each time, laid out as the JDK writes it."""
    body = struct.pack(">III", 0xFEEDFEED, 2, len(times_ms))
    for number, time_ms in enumerate(times_ms):
        alias, kind, certificate = f"ca{number}".encode(), b"X.509", bytes(range(number + 9))
        body += struct.pack(">IH", tag, len(alias)) + alias + struct.pack(">Q", time_ms)
        body += struct.pack(">H", len(kind)) + kind + struct.pack(">I", len(certificate)) + certificate
    return body + hashlib.sha1("changeit".encode("utf-16-be") + b"Mighty Aphrodite" + body).digest()


def test_two_installations_give_the_same_store() -> None:
    first, second = keystore([1_700_000_000_123, 1_700_000_000_456]), keystore([1_800_000_000_000, 1_800_000_000_001])

    assert java_keystore.with_times(first, 1_750_000_000) == java_keystore.with_times(second, 1_750_000_000) == keystore([1_750_000_000_000] * 2)


def test_a_store_with_a_private_key_is_left_alone() -> None:
    assert java_keystore.with_times(keystore([1], tag=1), 5) is None


def test_a_store_whose_seal_does_not_match_is_left_alone() -> None:
    damaged = bytearray(keystore([1]))
    damaged[14] ^= 1

    assert java_keystore.with_times(bytes(damaged), 5) is None


def test_another_format_is_left_alone() -> None:
    assert java_keystore.with_times(b"\x30\x82" + bytes(60), 5) is None
    assert java_keystore.with_times(b"", 5) is None
