"""One thing that is done with a volume of many files, in a process of its own: `python memory_worker.py STEP DIRECTORY FILES` prints how much memory it took.

The machines are the stores DIRECTORY/<name>, what they share is DIRECTORY/share.
"""

import contextlib
import io
import os
import sys

from tests.fakes.machine import KEY, Machine

from chandlery.cli.main import main
from chandlery.content.store import Store
from chandlery.volume import attaching, folding, publishing, shared
from chandlery.volume.remote_directory import DirectoryRemote
from chandlery.volume.volumes import Volumes


class Worker:
    def __init__(self, directory: str, files: int) -> None:
        self.directory, self.files = directory, files
        self.remote = DirectoryRemote(f"{directory}/share", KEY)

    def commit(self, name: str) -> None:
        """A step leaves that many files that nobody else has, one in ten of them large enough to be an object."""

        def fill(upper: str) -> None:
            for number in range(self.files):
                directory = f"{upper}/{name}/org/example/library-{number // 50}"
                if number % 50 == 0:
                    os.makedirs(directory)
                with open(f"{directory}/library-{number}.jar", "wb") as file:
                    file.write(b"%s %d " % (name.encode(), number) * (500 if number % 10 == 0 else 20))

        with Machine(f"{self.directory}/{name}", self.remote) as machine:
            machine._step(Volumes(machine.store), None, fill)

    def publish(self, name: str) -> None:
        with Store.open(f"{self.directory}/{name}") as store:
            assert publishing.publish(store, self.remote, KEY).files == self.files

    def compact(self, name: str) -> None:
        """Publish, where so many packs are that they become one."""
        with Store.open(f"{self.directory}/{name}") as store:
            assert len(publishing.publish(store, self.remote, KEY).seen.head.packs) == 1

    def pull(self, name: str) -> None:
        with Store.open(f"{self.directory}/{name}") as store:
            report = shared.pull(store, [self.remote], KEY)
            assert report.warnings == ()
            assert report.files >= self.files

    def look(self, name: str) -> None:
        with Store.open(f"{self.directory}/{name}") as store:
            report = shared.pull(store, [self.remote], KEY)
            assert {problem.code for problem in report.warnings} == {"volume.heads-too-large"}

    def fold(self, name: str) -> None:
        with Store.open(f"{self.directory}/{name}") as store, store.begin() as session:
            (row,) = Volumes(store).rows()
            held = attaching.hold_head(store, session, row.id)
            assert held is not None
            layer, _ = folding.folded_layer(store, held[1], row, 0)
            assert folding.swap(store, row, layer, 0)
            held[1].release()

    def ls(self, name: str) -> None:
        self._run(name, "ls")

    def show(self, name: str) -> None:
        self._run(name, "show", "m2")

    def verify(self, name: str) -> None:
        self._run(name, "verify", "m2")

    def trim(self, name: str) -> None:
        self._run(name, "trim", "m2", "--unused-for", "30d", "--dry-run")

    def rm(self, name: str) -> None:
        self._run(name, "rm", "m2", f"{name}/org/example/library-0")

    def image(self, name: str) -> None:
        self._run(name, "push", "m2", "--as-image", "memory.test/m2:1", "--load", "--path", "/root/.m2")

    def _run(self, name: str, *arguments: str) -> None:
        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            assert main(["volume", *arguments, "--root", f"{self.directory}/{name}"]) == 0, told.getvalue()


if __name__ == "__main__":
    step, directory, files = sys.argv[1:]
    act, name = step.split("-")
    getattr(Worker(directory, int(files)), act)(name)
    # ru_maxrss would count what the parent had before the exec
    with open("/proc/self/status", encoding="ascii") as status:
        sys.stdout.write(next(line for line in status if line.startswith("VmHWM")).split()[1])
