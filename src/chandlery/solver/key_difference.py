"""Why a step missed, as far as key documents tell: the first difference between the document of an earlier run and this one's. Pure.

Values of variables are not shown: a build argument may hold what nobody should read in a log. `names` are the steps that are the inputs, `files` says which
files two content digests differ in.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Document = dict[str, Any]

_LONGEST = 60
_FIELDS = {"cwd": "the working directory", "user": "the user", "network": "the network", "hosts": "--add-host", "argv": "the command"}
_ACTIONS = {"copy": "COPY", "inline": "the text", "mkdir": "the directory"}


def first_difference(before: "Document", after: "Document", names: "Sequence[str]", files: "Callable[[str, str], str]") -> str:
    """One sentence without its end; "" where the documents say the same."""
    if before.get("v") != after.get("v"):
        return "another version of chandlery makes other keys"
    old, new = before["op"], after["op"]
    return (_operation(old, new) if old != new else "") or _inputs(before["inputs"], after, names, files)


def likeness(before: "Document", after: "Document") -> int:
    """How much two documents have in common: more is nearer."""
    old, new = before["op"], after["op"]
    same = sum(1 for name in new if old.get(name) == new[name])
    return same * 2 + sum(1 for one, other in zip(before["inputs"], after["inputs"], strict=False) if one == other)


def _operation(old: "Document", new: "Document") -> str:
    if old["type"] != new["type"]:
        return "it was another instruction"
    if new["type"] != "exec":
        return _actions(old.get("actions", []), new.get("actions", []))
    if old["env"] != new["env"]:
        return _variables(old["env"], new["env"])
    for name, described in _FIELDS.items():
        if old[name] != new[name]:
            return f"{described} changed from {_shown(old[name])} to {_shown(new[name])}"
    return _mounts(old["mounts"], new["mounts"])


def _variables(old: list[str], new: list[str]) -> str:
    before, after = (dict(item.partition("=")[::2] for item in items) for items in (old, new))
    for name in dict.fromkeys((*after, *before)):
        if before.get(name) != after.get(name):
            how = "is new" if name not in before else "is gone" if name not in after else "has another value"
            return f"the variable {name} {how}"
    return "the variables are in another order"


def _mounts(old: "list[Document]", new: "list[Document]") -> str:
    before, after = ({item.get("target") or item.get("env", ""): item for item in items} for items in (old, new))
    for target in dict.fromkeys((*after, *before)):
        if target not in before or target not in after:
            return f"the mount {target} is {'new' if target not in before else 'gone'}"
        changed = [name for name in after[target] if before[target].get(name) != after[target][name]]
        if changed:
            return f"the mount {target} has another {changed[0]}"
    return "the mounts are in another order"


def _actions(old: "list[Document]", new: "list[Document]") -> str:
    if len(old) != len(new):
        return "it copies more or less than before"
    for before, after in zip(old, new, strict=True):
        changed = [name for name in after if before.get(name) != after[name]]
        if changed:
            name = changed[0]
            if name in ("data", "input"):
                return f"{_ACTIONS.get(after['type'], after['type'])} has other content"
            return f"{_ACTIONS.get(after['type'], after['type'])}: {name} changed from {_shown(before.get(name))} to {_shown(after[name])}"
    return ""


def _inputs(before: "list[Document]", after: "Document", names: "Sequence[str]", files: "Callable[[str, str], str]") -> str:
    if len(before) != len(after["inputs"]):
        return "it takes more or less from elsewhere than before"
    for at, (old, new) in enumerate(zip(before, after["inputs"], strict=True)):
        if old == new:
            continue
        if at == 0:
            return f"it stands on another result of {names[0]}"
        what = _selected(after["op"], at)
        if "content" in old and "content" in new:
            return f"{what}: {files(old['content'], new['content']) or 'its content changed'}"
        return f"{what} comes from another result of {names[at]}"
    return ""


def _selected(op: "Document", at: int) -> str:
    """What an operation takes of an input, as its author wrote it."""
    if op["type"] == "exec":
        return f"mount {next((item['target'] for item in op['mounts'] if item.get('input') == at), '')}".rstrip()
    sources = [source for action in op["actions"] if action.get("input") == at for source in action.get("sources", ())]
    return f"COPY {' '.join(source.lstrip('/') or '.' for source in sources)}"


def _shown(found: object) -> str:
    text = (
        " ".join(found[2:] if found[:2] == ["/bin/sh", "-c"] else found)
        if isinstance(found, list) and all(isinstance(part, str) for part in found)
        else str(found)
    )
    return repr(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")
