"""Paths inside an image, as text: Go's path.Clean and the joins that instructions do. Nothing here touches a file system."""


def clean(path: str) -> str:
    """The shortest equivalent path by text alone; "" becomes "."."""
    is_absolute = path.startswith("/")
    kept: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            kept.append(part)
        elif kept and kept[-1] != "..":
            kept.pop()
        elif not is_absolute:
            kept.append(part)
    return "/" + "/".join(kept) if is_absolute else "/".join(kept) or "."


def join(*parts: str) -> str:
    """The parts with slashes between, cleaned; empty parts don't count."""
    return clean("/".join(part for part in parts if part)) if any(parts) else ""


def rooted(path: str) -> str:
    """The path as an absolute one, cleaned; it can't climb above the root."""
    return clean("/" + path)


def work_dir(current: str, path: str) -> str:
    """What WORKDIR `path` makes of the current one: absolute as written, relative joined and cleaned."""
    if path.startswith("/"):
        return path
    return join("/", current, path) if path else "/" + current.lstrip("/")


def copy_target(current: str, path: str) -> str:
    """COPY's destination, absolute and clean; it keeps the trailing slash (or /.) that says "a directory"."""
    says_directory = path in ("", ".") or path.endswith(("/", "/."))
    target = clean(path) if path.startswith("/") else join("/", current, path)
    return target + "/" if says_directory and target != "/" else target
