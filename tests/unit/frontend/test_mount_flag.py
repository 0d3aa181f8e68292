"""RUN --mount: every option, its checks, and what it becomes in a graph."""

import pytest
from tests.fakes.pins import lower_text

from chandlery.errors import DockerfileError
from chandlery.frontend.dockerfile.mount_flag import MountFlag, origin_of, read_mount
from chandlery.graph.mount import BindMount, CacheMount, Mount, SecretMount, Sharing, TmpfsMount
from chandlery.graph.op import ContextOp, ExecOp, ImageOp, ScratchOp


def read(text: str) -> MountFlag:
    return read_mount(text, lambda word: word)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=/a", MountFlag(target="/a")), ("TYPE=Bind,DST=/a,src=b,rw", MountFlag(target="/a", source="b", is_read_only=False)),
        ("destination=/a,readwrite=false", MountFlag(target="/a")), ("target=/a,ro=0", MountFlag(target="/a", is_read_only=False)),
        ("type=cache,target=/a", MountFlag("cache", target="/a", is_read_only=False)),
        ("type=cache,target=/a,ro", MountFlag("cache", target="/a")),
        ("type=cache,target=/a,id=x,sharing=Locked,mode=0700,uid=1,gid=2,from=b,source=/c",
         MountFlag("cache", "b", "/c", "/a", False, id="x", sharing="locked", mode=0o700, uid=1, gid=2)),
        ("type=tmpfs,target=/a,size=64m", MountFlag("tmpfs", target="/a", is_read_only=False, size_bytes=64 << 20)),
        ("type=secret,id=s,required,env=E,mode=0440", MountFlag("secret", id="s", is_required=True, env="E", mode=0o440)),
        ("type=secret,id=s,required=false", MountFlag("secret", id="s")),
        ('type=cache,"target=/a,b"', MountFlag("cache", target="/a,b", is_read_only=False)),
        ('"target=/a ""b"""', MountFlag(target='/a "b"')),
    ],
)  # fmt: skip
def test_options(text: str, expected: MountFlag) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("10", 10), ("10b", 10), ("1k", 1024), ("1KB", 1024), ("1kib", 1024), ("1.5g", 3 << 29), (".5m", 1 << 19), ("5 kb", 5120),
        ("1e3", 1000),
        ("1T", 1 << 40), ("2p", 2 << 50),
    ],
)  # fmt: skip
def test_sizes(size: str, expected: int) -> None:
    assert read(f"type=tmpfs,target=/a,size={size}").size_bytes == expected


@pytest.mark.parametrize(
    "text",
    [
        "foo", "foo=1", "type=foo", "target=/a,readonly=x", "target=/a,rw=maybe", "target=/a,mode=1", "type=tmpfs,uid=1",
        "type=bind,gid=1", "type=bind,size=1m",
        "type=tmpfs,size=x", "type=tmpfs,size=", "type=tmpfs,size=-1", "type=tmpfs,size=10kx", "type=tmpfs,size=1_0",
        "type=cache,sharing=foo", "type=bind,sharing=shared",
        "type=cache,required", "type=cache,required=true", "required,type=secret,id=s", "type=secret", "type=secret,id=a,source=b",
        "type=secret,id=s,from=x",
        "type=secret,id=s,sharing=shared", "type=secret,id=s,required=maybe", "type=secret,id=s,mode=9", "type=cache,mode=0o755", "type=cache,uid=-1",
        "type=cache,uid=99999999999", "type=cache,gid=x", "target=/a,", "", 'a"b', '"a', '"a"b',
    ],
)  # fmt: skip
def test_wrong_options_are_refused(text: str) -> None:
    with pytest.raises(DockerfileError) as refused:
        read(text)
    assert refused.value.code == "dockerfile.bad-mount"


@pytest.mark.parametrize(("text", "expected"), [("from=a,target=/x", "a"), ("target=/x", ""), ("from=a$", "a$"), ("FROM=b", "b")])
def test_origin(text: str, expected: str) -> None:
    assert origin_of(text) == expected


def mounts(flag: str, head: str = "FROM busybox\nWORKDIR /w\nENV T=tmpfs") -> tuple[Mount, ...]:
    op = lower_text(f"{head}\nRUN --mount={flag} x\n").graph.vertices[-1].op
    assert isinstance(op, ExecOp)
    return op.mounts


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("type=cache,target=/c", CacheMount("/c", "/c")), ("type=cache,target=c/", CacheMount("/w/c", "c")),
        ("type=cache", CacheMount("/w", ".")),
        ("type=cache,target=/x/../y", CacheMount("/y", "/y")), ("type=cache,target=..//q", CacheMount("/q", "../q")),
        ("type=cache,target=/c,id=i,sharing=private,mode=711,uid=3,gid=4,ro", CacheMount("/c", "i", Sharing.PRIVATE, True, mode=0o711, uid=3, gid=4)),
        ("type=cache,target=/c,source=s,uid=3", CacheMount("/c", "/c", source="/s")),
        ("type=cache,target=/c,from=scratch", CacheMount("/c", "/c")),
        ("type=cache,target=/c,id=${N:-d}", CacheMount("/c", "d")),
        ("type=$T,target=t,size=1k", TmpfsMount("/w/t", 1024)), ("type=tmpfs,target=/t", TmpfsMount("/t")),
        ("type=secret,id=s", SecretMount("s", "/run/secrets/s")), ("type=secret,id=a/b", SecretMount("a/b", "/run/secrets/b")),
        ("type=secret,target=q/foo", SecretMount("foo", "/w/q/foo")), ("type=secret,source=s,target=/t", SecretMount("s", "/t")),
        ("type=secret,id=s,env=E", SecretMount("s", "", "E")), ("type=secret,id=s,env=E,target=/t", SecretMount("s", "/t", "E")),
        ("type=secret,id=s,required,mode=0444,uid=1,gid=2", SecretMount("s", "/run/secrets/s", "", True, 0o444, 1, 2)),
        ("target=b", BindMount("/w/b", 1)), ("target=/b,source=../x,rw", BindMount("/b", 1, "/x", False)),
    ],
)  # fmt: skip
def test_mounts_of_a_step(flag: str, expected: Mount) -> None:
    assert mounts(flag) == (expected,)


@pytest.mark.parametrize("flag", ["target=/", "target=/a/..", "type=cache,target=../.."])
def test_a_mount_may_not_cover_everything(flag: str) -> None:
    with pytest.raises(DockerfileError) as refused:
        mounts(flag)
    assert refused.value.code == "dockerfile.bad-mount"
    assert refused.value.where == "Dockerfile:4:13"


def test_mounts_name_their_inputs() -> None:
    lowered = lower_text("FROM busybox\nRUN --mount=target=/a --mount=target=/b,from=debian:12 --mount=type=cache,target=/c,from=debian:12,source=/s x\n")
    step = lowered.graph.vertices[-1]
    assert isinstance(step.op, ExecOp)
    first, second, third = step.op.mounts
    assert isinstance(first, BindMount)
    assert isinstance(second, BindMount)
    assert isinstance(third, CacheMount)
    assert third.input == second.input
    ops = [type(lowered.graph.vertices[step.inputs[index]].op) for index in (0, first.input, second.input)]
    assert ops == [ImageOp, ContextOp, ImageOp]
    assert lowered.contexts[0].patterns == ("/",)


def test_a_cache_namespace_sets_volumes_apart() -> None:
    lowered = lower_text("FROM busybox\nRUN --mount=type=cache,target=/c x\n", build_args=(("BUILDKIT_CACHE_MOUNT_NS", "ns"),))
    assert lowered.graph.vertices[-1].op.mounts == (CacheMount("/c", "ns//c"),)  # type: ignore[union-attr]


def test_a_script_is_mounted_and_run() -> None:
    lowered = lower_text("FROM busybox\nRUN <<EOF\n#!/bin/bash\necho hi\nEOF\n")
    step = lowered.graph.vertices[-1]
    assert isinstance(step.op, ExecOp)
    assert step.op.argv == ("/bin/sh", "-c", "/dev/pipes/EOF")
    assert step.op.mounts == (BindMount("/dev/pipes", 1),)
    script = lowered.graph.vertices[step.inputs[1]]
    assert script.op.actions[0].data == b"#!/bin/bash\necho hi\n"  # type: ignore[union-attr]
    assert isinstance(lowered.graph.vertices[script.inputs[0]].op, ScratchOp)


def test_ssh_mounts_are_left_to_later() -> None:
    with pytest.raises(DockerfileError) as refused:
        mounts("type=ssh")
    assert refused.value.code == "dockerfile.unsupported"
