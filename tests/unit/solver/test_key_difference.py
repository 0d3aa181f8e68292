"""The first difference of two key documents, in words."""

import pytest

from chandlery.solver.key_difference import first_difference, likeness

NAMES = ["[2/3] WORKDIR /w", "[make 1/1] RUN make"]


def step(**changes) -> dict:
    op = {
        "type": "exec",
        "argv": ["/bin/sh", "-c", "make"],
        "env": ["A=1", "TOKEN=secret"],
        "cwd": "/",
        "user": "",
        "network": "default",
        "hosts": [],
        "mounts": [],
    }
    return {"v": 1, "op": op | changes, "inputs": [{"chain": "sha256:1"}]}


def cache(**changes) -> dict:
    return {"type": "cache", "target": "/root/.m2", "id": "m2", "sharing": "shared"} | changes


def copy(*inputs: dict, **changes) -> dict:
    action = {"type": "copy", "input": 1, "sources": ["/src", "/pom.xml"], "target": "/w/", "owner": "", "mode": None}
    return {"v": 1, "op": {"type": "file", "actions": [action | changes]}, "inputs": [{"chain": "sha256:1"}, *inputs]}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (step(), step(argv=["/bin/sh", "-c", "make all"]), "the command changed from 'make' to 'make all'"),
        (step(), step(env=["A=2", "TOKEN=secret"]), "the variable A has another value"),
        (step(), step(env=["A=1", "TOKEN=other"]), "the variable TOKEN has another value"),
        (step(), step(env=["A=1", "TOKEN=secret", "B=1"]), "the variable B is new"),
        (step(), step(env=["TOKEN=secret"]), "the variable A is gone"),
        (step(), step(env=["TOKEN=secret", "A=1"]), "the variables are in another order"),
        (step(), step(cwd="/w"), "the working directory changed from '/' to '/w'"),
        (step(), step(mounts=[cache()]), "the mount /root/.m2 is new"),
        (step(mounts=[cache()]), step(mounts=[cache(id="other")]), "the mount /root/.m2 has another id"),
        (step(), step() | {"inputs": [{"chain": "sha256:2"}]}, "it stands on another result of [2/3] WORKDIR /w"),
        (copy({"content": "x"}), copy({"content": "x"}, target="/v/"), "COPY: target changed from '/w/' to '/v/'"),
        (copy({"content": "x"}), copy({"content": "y"}), "COPY src pom.xml: x to y"),
        (copy({"chain": "x"}), copy({"chain": "y"}), "COPY src pom.xml comes from another result of [make 1/1] RUN make"),
        (step(), copy({"content": "x"}), "it was another instruction"),
        (step() | {"v": 0}, step(), "another version of chandlery makes other keys"),
        (step(), step(), ""),
    ],
)
def test_the_first_difference_is_said(before, after, said):
    assert first_difference(before, after, NAMES, lambda old, new: f"{old} to {new}") == said


def test_no_value_of_a_variable_is_said():
    assert "secret" not in first_difference(step(), step(env=["A=1", "TOKEN=x"]), NAMES, lambda old, new: "")


def test_what_has_the_same_inputs_is_nearer():
    now = copy({"content": "new"})
    stranger = copy({"content": "old"}) | {"inputs": [{"chain": "sha256:9"}, {"content": "old"}]}
    assert likeness(copy({"content": "old"}), now) > likeness(stranger, now)
