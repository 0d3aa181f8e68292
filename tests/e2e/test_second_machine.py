"""What one machine paid for is there on the next: two stores, a registry or a directory between them, the command line as a user types it."""

import pytest

STEP = "RUN --mount=type=cache,target=/root/.m2 cd /root/.m2 && ls > /before && echo {0} > {0}.jar && sleep 0.1\n"


class Machines:
    """Several stores that share a cache at `address`; `busybox_archive` is the base on each."""

    def __init__(self, builder, archive, address: str) -> None:
        self._builder = builder
        self._archive = archive
        self.address = address
        self._known = {"store"}

    def on(self, name: str):
        store = self._builder.directory / name
        self._builder.store = store
        self._builder.env["CHANDLERY_ROOT"] = str(store)
        if name not in self._known:
            self._known.add(name)
            assert self._builder.run("load", "-q", "-i", str(self._archive)).returncode == 0
        return self

    def build(self, text: str, *arguments: str, **options):
        shared = ("--cache-remote", self.address, "--cache-scope", "team/app@main", "--network=none", "--cache-publish-timeout=60s")
        done = self._builder.build("FROM busybox\n" + text, *shared, *arguments, **options)
        assert done.status == 0, done.err
        return done

    def before(self, name: str, *arguments: str, **options) -> set[str]:
        """What a step that adds `name`.jar found in the volume."""
        output = self._builder.directory / "out"
        self.build(STEP.format(name), "-o", f"type=local,dest={output}", *arguments, **options)
        return set((output / "before").read_text().split())


@pytest.fixture(params=["directory", "registry"])
def machines(request, registry, builder, busybox_archive):
    if request.param == "directory":
        return Machines(builder, busybox_archive, f"file://{builder.directory}/share")
    return Machines(builder, busybox_archive, f"registry://{registry}/{builder.directory.name.lower()}" + "/{scope}")


def test_volume_of_another_machine_is_there(machines):
    assert machines.on("one").before("a") == set()
    assert machines.on("two").before("b") == {"a.jar"}
    assert machines.on("three").before("c") == {"a.jar", "b.jar"}
    assert machines.on("one").before("d") == {"a.jar", "b.jar", "c.jar"}


def test_summary_and_metadata_say_what_a_volume_shared(machines):
    machines.on("one").before("a")
    done = machines.on("two").build(STEP.format("b"))
    (volume,) = done.metadata["chandlery.cache"]["volumes"]
    assert volume["name"] == "/root/.m2"
    assert (volume["files_fetched"], volume["files_published"]) == (1, 1)
    assert volume["bytes_fetched"] > 0
    assert volume["not_published"] == ""
    assert "/root/.m2" in done.err


@pytest.mark.parametrize(("mode", "seen"), [("ro", {"a.jar"}), ("local", set()), ("off", set()), ("rw", {"a.jar"})])
def test_one_variable_overrides_everything(machines, mode, seen):
    machines.on("one").before("a")
    assert machines.on("two").before("b", env={"CHANDLERY_CACHE": mode}) == seen
    published = {"b.jar"} if mode == "rw" else set()
    assert machines.on("three").before("c") == {"a.jar"} | published


def test_scope_of_another_branch_is_read_and_not_written(machines):
    machines.on("one").before("a")
    fork = ("--cache-scope", "team/app@pull/1", "--cache-fork-from", "team/app@main")
    assert machines.on("two").before("b", *fork) == {"a.jar"}
    assert machines.on("three").before("c") == {"a.jar"}
    assert machines.on("four").before("d", *fork) == {"a.jar", "b.jar", "c.jar"}


def test_new_branch_begins_with_what_the_machine_has_of_the_branch_that_it_reads(machines):
    machines.on("one").before("a")
    fork = ("--cache-scope", "team/app@pull/1", "--cache-fork-from", "team/app@main")
    assert machines.before("b", *fork, env={"CHANDLERY_CACHE": "local"}) == {"a.jar"}
    assert machines.before("c") == {"a.jar"}


def test_failed_step_has_shared_what_it_fetched(machines):
    machines.on("one")
    machines._builder.build("FROM busybox\n" + STEP.format("a").replace("sleep", "false; sleep") + "RUN false\n", "--cache-remote", machines.address,
                            "--cache-scope", "team/app@main", "--network=none", "--cache-publish-timeout=60s")  # fmt: skip
    assert machines.on("two").before("b") == {"a.jar"}


def test_unreachable_remote_costs_a_warning(builder):
    done = builder.build("FROM busybox\n" + STEP.format("a"), "--cache-remote", "registry://127.0.0.1:1/cache", "--cache-scope", "x", "--network=none")
    assert done.status == 0
    assert done.metadata["chandlery.cache"]["volumes"][0]["not_published"] != ""
