"""A process that outlives this one by a moment, to end the steps that it left: after SIGKILL nobody else does before the next start.

A shell holds the reading end of a pipe whose writing end is ours alone. A word through it says that all is well; its end without one says that this
process is gone. Then the guard kills the first process of each container in the runtime's state directory: with it goes the whole PID
namespace, what called setsid included, and the runtime, which waits for nothing else, removes its state and ends. That needs no cgroup.
"""

import contextlib
import os
import subprocess

# A runtime that was still setting up has no state yet: look for a while before believing that there is nothing.
_SCRIPT = r"""
read -r _ && exit
quiet=0
rounds=0
while [ $quiet -lt 10 ] && [ $rounds -lt 200 ]; do
  quiet=$((quiet + 1))
  rounds=$((rounds + 1))
  for file in */"$1"; do
    [ -e "$file" ] || continue
    quiet=0
    pid=$(sed -n 's/.*"'"$2"'" *: *\([0-9][0-9]*\).*/\1/p' "$file")
    [ "${pid:-0}" -gt 1 ] && kill -9 "$pid"
  done
  sleep 0.05
done
"""


class Guard:
    """Over the containers whose state is in `state_dir`, in a file `state_file` of each, with the first process's id in `pid_field`."""

    def __init__(self, state_dir: str, state_file: str, pid_field: str) -> None:
        os.makedirs(state_dir, 0o700, exist_ok=True)
        read_fd, self._fd = os.pipe()
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT, "chandlery-guard", state_file, pid_field],
                cwd=state_dir,  # which stays that even when the next start removes the directory that it is mounted on
                stdin=read_fd,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a terminal's Ctrl-C and a killed process group are not for it
            )
        except BaseException:
            os.close(self._fd)
            raise
        finally:
            os.close(read_fd)

    def dismiss(self) -> None:
        """There is nothing left to guard."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._fd, b"\n")
        os.close(self._fd)
        self._process.wait()
