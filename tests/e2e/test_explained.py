"""Why steps ran: in the metadata for each, in the summary for the first."""


def why(done) -> dict[str, str]:
    return {step["name"].partition("] ")[2]: step["missed"] for step in done.metadata["chandlery.build"]["steps"] if "missed" in step}


TEXT = "FROM busybox\nARG V=1\nCOPY src /src\nRUN env > /v\n"


def test_first_build_of_all_has_nothing_to_say(builder):
    builder.write({"src/a": "1"})
    done = builder.build(TEXT)
    assert set(why(done).values()) == {"no earlier run of it is known here"}
    assert "missed" not in done.err
    assert why(builder.build(TEXT)) == {}


def test_changed_files_are_named(builder):
    builder.write({"src/a": "1", "src/b": "1", "src/c/d": "1", "src/same": "1"})
    builder.build(TEXT)
    builder.write({"src/a": "2", "src/c/new": "1"})
    (builder.context / "src/b").unlink()
    done = builder.build(TEXT)
    assert why(done)["COPY src /src"] == "COPY src: 3 files changed: src/a, src/b (gone), src/c/new (new)"
    assert why(done)["RUN env > /v"].startswith("it stands on another result of [2/3] COPY src /src")
    assert "missed  [2/3] COPY src /src: COPY src: 3 files changed" in done.err
    assert done.err.count("missed") == 1


def test_explain_says_it_of_every_step(builder):
    builder.write({"src/a": "1"})
    builder.build(TEXT)
    builder.write({"src/a": "2"})
    done = builder.build(TEXT, "--explain", "--progress=quiet")
    assert [line.partition("] ")[2].partition(":")[0] for line in done.err.splitlines()] == ["COPY src /src", "RUN env > /v"]


def test_changed_argument_and_command_are_told(builder):
    builder.write({"src/a": "1"})
    builder.build(TEXT)
    assert why(builder.build(TEXT, "--build-arg=V=2")) == {"RUN env > /v": "the variable V has another value"}
    changed = why(builder.build(TEXT.replace("env >", "env  | sort >")))
    assert changed == {"RUN env  | sort > /v": "the command changed from 'env > /v' to 'env  | sort > /v'"}


def test_steps_that_were_to_run_and_records_that_were_too_old_are_told(builder):
    builder.write({"src/a": "1"})
    builder.build(TEXT)
    assert set(why(builder.build(TEXT, "--no-cache")).values()) == {"it was to run anew"}
    assert "its record is too old" in why(builder.build(TEXT, "--cache-max-age=0.001s")).values()


def test_each_step_says_which_machine_made_it_and_later_what_changed_since(builder, busybox_archive):
    shared = ("--cache-remote", f"file://{builder.directory}/share", "--cache-scope", "team/app@main", "--explain")
    builder.write({"src/a": "1"})
    builder.build(TEXT, *shared, env={"CHANDLERY_MACHINE": "runner-1"})
    builder.store = builder.directory / "second"
    builder.env["CHANDLERY_ROOT"] = str(builder.store)
    builder.run("load", "-q", "-i", str(busybox_archive))
    done = builder.build(TEXT, *shared)
    where = f"from file://{builder.directory}/share"
    assert f" hits    2 steps of team/app@main {where}, by runner-1, the oldest " in done.err
    assert f"cached [3/3] RUN env > /v: {where}, scope team/app@main, by runner-1, " in done.err
    found = [step["cache"] for step in done.metadata["chandlery.build"]["steps"] if "cache" in step]
    assert [(cache["writer"], type(cache["age_s"])) for cache in found] == [("runner-1", int)] * 2
    builder.write({"src/a": "2"})
    assert why(builder.build(TEXT, *shared))["COPY src /src"].startswith("COPY src: ")
