"""What rows refer to: which snapshots a record stands on, which blobs an image or pin names."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set

    from chandlery.content.database import Transaction


def layers_of(text: str) -> list[tuple[str, str]]:
    """(snapshot id, diff id) of each layer in a `layers` column, bottom first; "" for what isn't said (schema.py has the forms)."""
    import json

    return [_layer(layer) for layer in json.loads(text)]


def _layer(layer: object) -> tuple[str, str]:
    if isinstance(layer, str):
        return ("", layer) if ":" in layer else (layer, "")
    if isinstance(layer, dict):
        return layer.get("snapshot") or "", layer.get("diff_id") or ""
    return "", ""


def records_using(tx: "Transaction", snapshots: "Set[str]") -> list[str]:
    """Keys of the step records that stand on one of `snapshots`. A layer named by diff id alone can be fetched again, so it isn't counted."""
    return [
        key for key, layers in tx.execute("SELECT key, layers FROM step_record") if any(snapshot in snapshots for snapshot, _ in layers_of(layers) if snapshot)
    ]


def digests_in(text: str) -> set[str]:
    """Every sha256 digest that occurs anywhere in a JSON text."""
    found = set()
    for part in text.split("sha256:")[1:]:
        hex_part = part[:64]
        if len(hex_part) == 64 and not hex_part.strip("0123456789abcdef"):
            found.add("sha256:" + hex_part)
    return found
