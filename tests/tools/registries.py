"""Whether the package registries that tools ask can be reached from here."""

import subprocess
from functools import lru_cache


@lru_cache(maxsize=1)
def are_reachable() -> bool:
    """By npm's own ping, which asks wherever this machine's npm is told to."""
    try:
        return subprocess.run(["npm", "ping"], capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
