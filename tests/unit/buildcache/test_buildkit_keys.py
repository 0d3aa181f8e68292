"""BuildKit's names of operations. The digests were taken from BuildKit 0.34's own records (tests/conformance asks it again)."""

import pytest

from chandlery.buildcache.buildkit_config import CacheConfig
from chandlery.buildcache.buildkit_export import StepLayer, describe
from chandlery.buildcache.buildkit_keys import Node, Surroundings, go_json, name_operations
from chandlery.buildcache.buildkit_match import Matches
from chandlery.graph.mount import BindMount, CacheMount, TmpfsMount
from chandlery.graph.op import ContextOp, CopyAction, ExecOp, FileOp, HttpOp, ImageOp, MakeDirAction, Network, ScratchOp
from chandlery.graph.vertex import Graph, Vertex
from chandlery.oci.digest import Digest, sha256
from chandlery.oci.platform import Platform
from chandlery.solver.cache_key import chain_keys
from chandlery.values import replace

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MANIFEST = Digest("sha256:c7f56613a2298d9ef1c5d3aedd583a9ef4f9319e202466169ae3800f6afca3c1")
BASE = ImageOp("busybox", MANIFEST, (sha256(b"base"),))
SURROUNDINGS = Surroundings(Platform("linux", "amd64"))
ENV = (PATH, "V=1", "X=y")


def run(*argv: str, **changes) -> ExecOp:
    return ExecOp(argv or ("/bin/sh", "-c", "true"), **({"env": ENV, "cwd": "/w"} | changes))


def names(*vertices: Vertex, surroundings: Surroundings = SURROUNDINGS, contents=lambda *_: sha256(b"content")) -> tuple[Node, ...]:
    return name_operations(Graph(vertices, (len(vertices) - 1,)), surroundings, contents)


def name_of(op, *inputs: Vertex, **more) -> str:
    vertices = inputs or (Vertex(BASE),)
    (name,) = names(*vertices, Vertex(op, tuple(range(len(vertices)))), **more)[-1].names
    return name


CONTEXT = Vertex(ContextOp(""))
# as they stand in a cache that BuildKit wrote
KNOWN = [
    (run("/bin/sh", "-c", "echo made > /made", env=(PATH,), cwd="/"), "sha256:3deff302c60911f27b1c601beb50f85755f1b224f85d3fb2d49a8a6dda8ff748"),
    (run("/bin/sh", "-c", "echo $X $V > /r"), "sha256:71c96ece4c8b748664969ae5daed374d9793d17d4b726a4bcc432945016a0471"),
    (run("/bin/sh", "-c", "id > /tmp/id", user="alice", network=Network.NONE), "sha256:17405249023fd24d67b4ee4d6767222f9f75cc5d2b3bce231d50fcc12fa045b6"),
    (FileOp((MakeDirAction("/w"),)), "sha256:f6515d8afd8f2d2ce6612a1d4492f88887feb327524d76cfd0f4c19c328711c2"),
    (FileOp((MakeDirAction("/w/sub", "alice"),)), "sha256:cd5572963ee7a638b8ee0590b9577f62e57985cb084624d7b469ff7980ff28e0"),
]


@pytest.mark.parametrize(("op", "digest"), KNOWN)
def test_operations_have_buildkit_s_names(op, digest):
    assert name_of(op) == digest


def test_a_copy_of_several_paths_has_buildkit_s_name():
    op = FileOp((CopyAction(1, ("/a",), "/x/"), CopyAction(1, ("/dir",), "/x/")))
    digest = "sha256:fd7df7f37faf9c8aa170ac3a669ef140c1aaeb3f914b76e91c248e83be20cb7b"
    assert name_of(op, Vertex(BASE), CONTEXT) == digest


def test_a_step_with_mounts_has_buildkit_s_name():
    mounts = (CacheMount("/c", "/c"), BindMount("/d", 1, "/dir"), TmpfsMount("/t"))
    op = run("/bin/sh", "-c", "cat /d/b > /tmp/m", cwd="/w/sub", user="alice", mounts=mounts)
    digest = "sha256:ccd6053ad252fe3bc9e7911f59ef296acbb321fe99ae9dead29f360301e59259"
    assert name_of(op, Vertex(BASE), CONTEXT) == digest


def test_json_is_go_s():
    assert go_json({"a": '<&>\u2028"\\\t\x01é'}) == rb'{"a":"\u003c\u0026\u003e\u2028\"\\\t\u0001' + "é".encode() + b'"}'


def test_a_base_has_a_name_for_its_manifest_and_one_for_its_index():
    index = sha256(b"index")
    (node,) = names(Vertex(BASE), surroundings=replace(SURROUNDINGS, tops={MANIFEST: index}))
    assert len(node.names) == 2
    assert names(Vertex(BASE))[0].names[0] == node.names[1]


@pytest.mark.parametrize(
    "op",
    [
        run(mounts=(CacheMount("/c", "/c", mode=0o700),)),
        run(mounts=(CacheMount("/c", "/c", input=0),)),
        FileOp((CopyAction(0, ("/",), "/", allows_wildcards=False),)),
        HttpOp("http://x/y", sha256(b"y"), "y"),
    ],
)  # fmt: skip
def test_what_buildkit_can_t_say_has_no_name_and_neither_has_what_stands_on_it(op):
    found = names(Vertex(BASE), Vertex(op, (0,)), Vertex(run(), (1,)))
    assert [node.vertex for node in found] == [0]


def test_options_that_enter_buildkit_s_keys_leave_steps_without_names():
    found = names(Vertex(BASE), Vertex(run(), (0,)), surroundings=replace(SURROUNDINGS, has_usual_steps=False))
    assert [node.vertex for node in found] == [0]


def test_a_context_that_can_t_be_digested_leaves_its_copy_without_a_name():
    found = names(Vertex(BASE), CONTEXT, Vertex(FileOp((CopyAction(1, ("/a",), "/b"),)), (0, 1)), contents=lambda *_: "")
    assert [node.vertex for node in found] == [0]


def test_the_empty_file_system_is_no_input():
    found = names(Vertex(ScratchOp()), Vertex(FileOp((MakeDirAction("/w"),)), (0,)))
    assert found[0].dependencies == ()
    assert found[0].names != names(Vertex(BASE), Vertex(FileOp((MakeDirAction("/w"),)), (0,)))[1].names


# matching what was described

CHAIN = (Vertex(BASE), Vertex(run("a"), (0,)), CONTEXT, Vertex(FileOp((CopyAction(1, ("/a",), "/b"),)), (1, 2)), Vertex(run("b"), (3,)))
LAYERS = tuple(StepLayer(sha256(bytes([number])), "2024-01-01T00:00:00Z") for number in range(4))
RESULTS = {1: LAYERS[:2], 3: LAYERS[:3], 4: LAYERS[:4]}


def described(nodes: tuple[Node, ...]) -> tuple[CacheConfig, tuple]:
    keys = chain_keys(Graph(CHAIN, (4,)), {(3, 1): sha256(b"ours")})
    return describe(RESULTS, keys, nodes), keys


def test_what_is_described_is_found_by_either_name():
    nodes = names(*CHAIN)
    config, keys = described(nodes)
    strangers = tuple(replace(key, digest=sha256(key.digest.encode())) if key is not None else None for key in keys)
    for known in (keys, strangers):
        matches = Matches(config, nodes, known)
        for vertex, chain in RESULTS.items():
            (found, *_) = matches.results(known[vertex].digest)
            assert [layer.blob for layer in config.chain(found)] == [step.blob for step in chain]


def test_other_files_are_other_steps_from_there_on():
    config, keys = described(names(*CHAIN))
    strangers = tuple(replace(key, digest=sha256(key.digest.encode())) if key is not None else None for key in keys)
    changed = Matches(config, names(*CHAIN, contents=lambda *_: sha256(b"other")), strangers)
    assert [bool(list(changed.results(strangers[vertex].digest))) for vertex in (1, 3, 4)] == [True, False, False]


def test_only_what_leads_to_layers_is_described():
    keys = chain_keys(Graph(CHAIN, (4,)), {(3, 1): sha256(b"ours")})
    config = describe({1: LAYERS[:2]}, keys, names(*CHAIN))
    assert len(config.records) == 3  # our own, the base, and the step on it
    assert len(config.layers) == 2
