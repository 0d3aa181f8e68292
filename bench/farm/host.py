"""A Maven that a machine has outside of every builder: the base image's, in a root of its own, with a ~/.m2 that stays on the machine."""

import shlex
from pathlib import Path

_MAVEN = """#!/bin/sh
# mvn on this machine, in the directory that it is called in
set -eu
if [ "${{1:-}}" != --inside ]; then
    exec unshare --mount --propagation private "$0" --inside "$(pwd)" "$@"
fi
directory=$2
shift 2
kept={kept}
mkdir -p "$kept/upper" "$kept/work" "$kept/root" "$kept/m2"
mount -t overlay -o "lowerdir={root},upperdir=$kept/upper,workdir=$kept/work" overlay "$kept/root"
mkdir -p "$kept/root/src" "$kept/root/root/.m2"
mount --bind "$directory" "$kept/root/src"
mount --bind "$kept/m2" "$kept/root/root/.m2"
mount -t proc proc "$kept/root/proc"
mount --rbind /dev "$kept/root/dev"
HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin exec chroot "$kept/root" /bin/sh -c 'cd /src && exec mvn "$@"' mvn "$@"
"""


def maven(root: Path, kept: Path) -> str:
    """The text of a command `mvn` that keeps everything in `kept`, over the root file system `root`."""
    return _MAVEN.format(root=shlex.quote(str(root)), kept=shlex.quote(str(kept)))
