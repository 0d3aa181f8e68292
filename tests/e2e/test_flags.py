"""Every flag of `chandlery build`, at least once, as its user sees it."""

import gzip
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from tests.e2e.conftest import need, tar_of, text_of

SIMPLE = "FROM busybox\nRUN echo made > /made\n"


def layer_types(archive: Path) -> list[str]:
    with tarfile.open(archive) as opened:
        index = json.load(opened.extractfile("index.json"))
        manifest = json.load(opened.extractfile("blobs/" + index["manifests"][0]["digest"].replace(":", "/")))
    return [layer["mediaType"].rpartition(".")[2] for layer in manifest["layers"]]


# -- what is built


def test_tags_name_the_image(builder):
    assert builder.build(SIMPLE, "-t", "one:1", "--tag", "example.org/two").status == 0
    listed = builder.run("images").stdout
    assert "one" in listed
    assert "example.org/two" in listed


def test_file_names_the_dockerfile(builder):
    builder.write({"sub/My.Dockerfile": SIMPLE, "a": "A"})
    assert builder.build("", "-f", "sub/My.Dockerfile").ran == {"RUN echo made > /made"}
    assert builder.build("", "-f", "sub/none").code == "context.no-dockerfile"


def test_a_dockerfile_on_standard_input_with_and_without_a_context(builder):
    builder.write({"a": "A"})
    assert builder.build("", "-f", "-", stdin=b"FROM busybox\nCOPY a /b\n").ran == {"COPY a /b"}
    assert builder.build("", context="-", stdin=SIMPLE.encode()).status == 0
    assert builder.build("", context="-", stdin=b"FROM busybox\nCOPY a /b\n").code == "context.none"
    assert builder.build("", context="-").code == "request.empty-stdin"


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_tar_on_standard_input_is_the_context(builder, pack):
    data = pack(tar_of({"Dockerfile": b"FROM busybox\nCOPY dir/a /b\n", "dir/a": b"from a tar"}))
    assert text_of(builder.tree("", context="-", stdin=data), "b") == "from a tar"


def test_a_git_url_with_a_reference_and_a_directory(builder, tmp_path):
    need("git")
    repository = tmp_path / "repository"
    (repository / "sub").mkdir(parents=True)
    (repository / "sub/Dockerfile").write_text("FROM busybox\nCOPY . /all/\n")
    (repository / "sub/file").write_text("first")
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "one"], ["tag", "v1"]):
        subprocess.run([*git, *arguments], check=True)
    (repository / "sub/file").write_text("second")
    subprocess.run([*git, "commit", "-q", "-a", "-m", "two"], check=True)

    for reference, content in (("v1", "first"), ("main", "second")):
        assert text_of(builder.tree("", context=f"file://{repository}/.git#{reference}:sub"), "all/file") == content
    assert builder.build("", context=f"file://{repository}/.git#none").code.startswith("git.")


def test_the_time_of_a_git_context_is_its_commit_s(builder, tmp_path):
    need("git")
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "Dockerfile").write_text("FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN echo $SOURCE_DATE_EPOCH > /time\n")
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    environment = {**os.environ, "GIT_COMMITTER_DATE": "1000000000 +0000"}
    for arguments in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *arguments], check=True, env=environment)

    dated = builder.tree("", "--build-arg", "SOURCE_DATE_EPOCH=context", context=f"file://{repository}/.git#main")
    assert text_of(dated, "time") == "1000000000\n"
    undated = builder.tree("", "--build-arg", "SOURCE_DATE_EPOCH=context", context=str(repository))
    assert text_of(undated, "time") == "\n"


def test_target(builder):
    text = "FROM busybox AS one\nRUN echo 1 > /1\nFROM one AS two\nRUN false\n"
    assert builder.build(text, "--target", "one").ran == {"RUN echo 1 > /1"}
    assert builder.build(text, "--target=none").code == "dockerfile.unknown-target"


def test_build_arguments(builder):
    text = "FROM busybox\nARG a\nARG b\nARG c=default\nRUN echo $a-$b-$c > /f\n"
    tree = builder.tree(text, "--build-arg", "a=1", "--build-arg=b", env={"b": "from the environment"})
    assert text_of(tree, "f") == "1-from the environment-default\n"


def test_build_contexts_of_every_kind(builder, tmp_path):
    extra = tmp_path / "extra"
    extra.mkdir()
    (extra / "x").write_text("X")
    assert text_of(builder.tree("FROM busybox\nCOPY --from=extra x /\n", "--build-context", f"extra={extra}"), "x") == "X"
    image = builder.image("FROM somewhere\nLABEL a=1\n", "--build-context", "somewhere=docker-image://busybox")
    assert image["history"][0] == "layer base busybox"
    layout = tmp_path / "layout"
    layout.mkdir()
    assert builder.build(SIMPLE, "-o", f"type=oci,dest={tmp_path}/made.tar").status == 0
    subprocess.run(["tar", "-xf", str(tmp_path / "made.tar"), "-C", str(layout)], check=True)
    assert "made" in builder.tree("FROM given\nRUN cat /made\n", "--build-context", f"given=oci-layout://{layout}")
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    assert "made" in builder.tree("FROM given\nRUN cat /made\n", "--build-context", f"given=oci-layout://{layout}@{digest}")
    assert builder.build(SIMPLE, "--build-context", "extra=/does/not/exist").code == "context.missing"


def test_labels(builder):
    assert builder.image(SIMPLE + "LABEL a=1 b=2\n", "--label", "a=flag", "--label=c=3")["config"]["Labels"] == {"a": "flag", "b": "2", "c": "3"}


def test_platform(builder):
    assert builder.build(SIMPLE, "--platform", "linux").status == 0
    assert builder.build(SIMPLE, "--platform", "a/b/c/d").code == "platform.malformed"
    assert builder.build(SIMPLE, "--platform", "linux/s390x").code == "platform.foreign"
    assert builder.build(SIMPLE, "--platform", "linux/amd64,linux/arm64").code == "platform.many"


def test_no_cache_runs_everything_anew(builder):
    builder.build(SIMPLE)
    assert builder.build(SIMPLE).ran == set()
    assert builder.build(SIMPLE, "--no-cache").ran == {"RUN echo made > /made"}
    assert builder.build(SIMPLE, "--no-cache=false").ran == set()


COUNTING = "RUN --mount=type=cache,id=v,target=/v echo run >> /v/runs; wc -l < /v/runs > /count; cat /proc/sys/kernel/random/uuid > /u\n"


def test_no_cache_for_steps_alone_keeps_what_volumes_hold(builder):
    counts = [text_of(builder.tree("FROM busybox\n" + COUNTING, *flags), "count") for flags in ([], ["--no-cache=steps"], ["--no-cache"])]
    assert counts == ["1\n", "2\n", "1\n"]


def test_what_follows_a_filtered_stage_keeps_its_volumes(builder):
    text = f"FROM busybox AS one\n{COUNTING}FROM busybox\nCOPY --from=one /u /count /from/\n{COUNTING.replace('/v/runs', '/v/others')}"
    builder.build(text)
    tree = builder.tree(text, "--no-cache-filter=one")
    assert (text_of(tree, "from/count"), text_of(tree, "count")) == ("1\n", "2\n")


def test_pull_asks_the_registry(builder):
    done = builder.build(SIMPLE, "--pull", env={"HTTPS_PROXY": "http://127.0.0.1:9"})
    assert done.code.startswith("registry.")
    assert builder.build(SIMPLE, env={"HTTPS_PROXY": "http://127.0.0.1:9"}).status == 0


# -- how steps run


def test_secrets_of_a_file_and_of_the_environment(builder, tmp_path):
    (tmp_path / "token").write_text("from a file")
    text = (
        "FROM busybox\nRUN --mount=type=secret,id=one cat /run/secrets/one > /f\n"
        "RUN --mount=type=secret,id=two,env=TWO --mount=type=secret,id=one,target=/t,mode=0440,uid=5 echo $TWO > /g; stat -c '%a %u' /t >> /g\n"
    )
    tree = builder.tree(text, "--secret", f"id=one,src={tmp_path}/token", "--secret=id=two,env=SOME", env={"SOME": "from the environment"})
    assert text_of(tree, "f") == "from a file"
    assert text_of(tree, "g") == "from the environment\n440 5\n"
    assert "run/secrets" not in tree


def test_networks(builder):
    links = "FROM busybox\nRUN ls /sys/class/net | sort | tr '\\n' ' ' > /n\n"
    assert text_of(builder.tree(links, "--network=none"), "n") == "lo "
    host = sorted(entry.name for entry in Path("/sys/class/net").iterdir())
    assert text_of(builder.tree(links, "--network", "host"), "n").split() == host
    assert builder.build(links, "--network=bridge0").code.startswith("request.")


def test_hosts(builder):
    tree = builder.tree("FROM busybox\nRUN grep -e one -e two /etc/hosts | sort > /h\n", "--add-host", "one:10.1.2.3", "--add-host=two=[fd00::1]")
    assert [line.split() for line in text_of(tree, "h").splitlines()] == [["10.1.2.3", "one"], ["fd00::1", "two"]]


def test_shared_memory_and_limits_of_processes(builder):
    text = "FROM busybox\nRUN ulimit -n > /n; ulimit -Hn >> /n; grep shm /proc/mounts > /m\n"
    tree = builder.tree(text, "--shm-size", "3m", "--ulimit", "nofile=100:200")
    assert text_of(tree, "n") == "100\n200\n"
    assert "size=3072k" in text_of(tree, "m")


def test_a_step_above_its_memory_limit_is_killed_and_says_so(builder):
    greedy = "FROM busybox\nRUN head -c 200m /dev/zero | tail | wc -c\n"
    for flags in (["-m", "32m"], ["--memory=32m"], ["--resource", "memory=32m"]):
        done = builder.build(greedy, *flags, "--no-cache")
        assert (done.status, done.code) == (1, "step.out-of-memory")
    assert builder.build(greedy, "--memory=x").code == "request.bad-size"


def test_processor_limits_are_taken(builder):
    flags = ["--cpu-shares=512", "--cpu-period=100000", "--cpu-quota", "50000", "--cpuset-cpus=0", "--resource=cpuset-mems=0", "--memory-swap=-1"]
    assert builder.build(SIMPLE, *flags).status == 0


# -- what becomes of it


def test_local_output(builder, tmp_path):
    for spec in (f"{tmp_path}/one", f"type=local,dest={tmp_path}/two"):
        assert builder.build("FROM scratch\nCOPY <<EOF /d/f\nhello\nEOF\n", "-o", spec).status == 0
        assert (Path(spec.rpartition("=")[2]) / "d/f").read_text() == "hello\n"
    assert builder.build(SIMPLE, "-o", "type=local").code == "request.bad-output"


def test_tar_output_to_a_file_and_to_standard_output(builder, tmp_path):
    text = "FROM scratch\nCOPY <<EOF /d/f\nhello\nEOF\n"
    assert builder.build(text, "--output", f"type=tar,dest={tmp_path}/t.tar").status == 0
    with tarfile.open(tmp_path / "t.tar") as opened:
        assert opened.extractfile("d/f").read() == b"hello\n"
    done = builder.build(text, "-o", "-")
    assert done.out[257:262] == "ustar"


@pytest.mark.parametrize(
    ("options", "types"),
    [("", "tar+gzip"), (",compression=zstd", "tar+zstd"), (",compression=zstd,compression-level=9", "tar+zstd"), (",compression=uncompressed", "tar")],
)
def test_oci_output_with_each_compression(builder, tmp_path, options, types):
    assert builder.build(SIMPLE, "-o", f"type=oci,dest={tmp_path}/i.tar{options},force-compression=true", "-t", "named").status == 0
    assert [kind.rpartition("v1.")[2] for kind in layer_types(tmp_path / "i.tar")] == [types] * 2


def test_docker_output_is_what_docker_load_reads(builder, tmp_path):
    assert builder.build(SIMPLE, "-o", f"type=docker,dest={tmp_path}/i.tar", "-t", "named:1").status == 0
    with tarfile.open(tmp_path / "i.tar") as opened:
        assert json.load(opened.extractfile("manifest.json"))[0]["RepoTags"] == ["named:1"]
    assert builder.build(SIMPLE, "-o", f"type=docker,dest={tmp_path}/i.tar,compression=zstd,force-compression=true").code == "request.bad-output"


def test_load_and_image_outputs_put_the_image_in_the_store(builder):
    for number, flags in enumerate((["--load"], ["-o", "type=docker"], ["-o", "type=image"], [])):
        assert builder.build(SIMPLE, *flags, "-t", f"n{number}").status == 0
        assert builder.run("inspect", f"n{number}").returncode == 0


def test_pushing_and_building_on_what_was_pushed(builder, registry):
    for flags, name in ((["--push"], "a"), (["-o", "type=registry"], "b"), (["-o", "type=image,push=true,compression=zstd,oci-mediatypes=true"], "c")):
        done = builder.build(SIMPLE, *flags, "-t", f"{registry}/{name}:1")
        assert done.status == 0, done.err
        digest = done.metadata["containerimage.digest"]
        found = builder.run("pull", f"{registry}/{name}@{digest}")
        assert found.returncode == 0, found.stderr
    assert "made" in builder.tree(f"FROM {registry}/a:1\nRUN cat /made\n", "--pull")
    assert builder.build(SIMPLE, "--push").code.startswith("request.")


def test_cache_only_makes_no_image(builder):
    assert builder.build(SIMPLE, "-o", "type=cacheonly", "-t", "not-there").status == 0
    assert builder.run("inspect", "not-there").returncode != 0
    assert builder.build(SIMPLE).ran == set()


def test_several_outputs_at_once(builder, tmp_path):
    done = builder.build(SIMPLE, "-o", f"type=oci,dest={tmp_path}/a.tar", "-o", f"type=tar,dest={tmp_path}/b.tar", "-o", "type=image", "-t", "all")
    assert done.status == 0, done.err
    assert (tmp_path / "a.tar").exists()
    assert (tmp_path / "b.tar").exists()
    assert builder.run("inspect", "all").returncode == 0


def test_the_image_id_and_metadata_are_written(builder, tmp_path):
    done = builder.build(SIMPLE, "--iidfile", f"{tmp_path}/iid", "-t", "named")
    assert (tmp_path / "iid").read_text() == done.image_id
    assert done.metadata["image.name"].endswith("named:latest")
    failed = builder.build("FROM busybox\nRUN exit 4\n", "--iidfile", f"{tmp_path}/none")
    assert failed.metadata["chandlery.error"]["exit_status"] == 1
    assert not (tmp_path / "none").exists()


def test_quiet_prints_the_image_id_alone(builder):
    done = builder.build(SIMPLE, "-q")
    assert (done.out, done.err) == (done.image_id + "\n", "")
    assert builder.build(SIMPLE, "--progress=quiet").err == ""


@pytest.mark.parametrize("mode", ["auto", "plain", "none"])
def test_progress_modes_show_the_step(builder, mode):
    done = builder.build(SIMPLE, f"--progress={mode}")
    assert done.status == 0
    assert ("RUN echo made" in done.err) == (mode != "none")


def test_raw_progress_is_json_lines(builder):
    done = builder.build(SIMPLE, "--progress=rawjson")
    assert all(isinstance(json.loads(line), dict) for line in done.err.splitlines())
    assert "request.bad-progress" in builder.build(SIMPLE, "--progress=fancy").err


# -- what isn't there


@pytest.mark.parametrize(
    "flag",
    ["--allow=security.insecure", "--annotation=a=b", "--attest=type=sbom", "--builder=x", "--call=outline", "--check",
     "--policy=filename=a", "--provenance=true", "--sbom=true", "--ssh=default", "--cgroup-parent=/x"],
)  # fmt: skip
def test_a_flag_that_is_left_for_later_is_refused_by_a_sentence(builder, flag):
    done = builder.build(SIMPLE, flag)
    assert (done.status, done.code) == (2, "request.unsupported-flag")
    assert flag.partition("=")[0] in done.err


def test_an_unknown_flag_is_refused_and_its_neighbour_named(builder):
    done = builder.run("build", "--no-cashe", ".")
    assert done.returncode == 2
    assert "request.unknown-flag" in done.stderr
    assert "--no-cache" in done.stderr


def test_flags_that_ask_for_nothing_are_accepted(builder):
    flags = ["--provenance=false", "--sbom=false", "--allow=network.host", "--rm", "--force-rm", "--compress", "--isolation=default", "--security-opt=x"]
    assert builder.build(SIMPLE, *flags).status == 0
