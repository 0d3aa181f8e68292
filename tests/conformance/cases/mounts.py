"""RUN --mount: bind, cache, tmpfs and secret."""
# ruff: noqa: E501 - a case is a line

from tests.conformance.model import Case

_FILES = {"a.txt": "A", "dir/b.txt": "B", "dir/sub/c": "C"}

CASES = [
    Case("bind of the context", "FROM busybox\nRUN --mount=target=/ctx cp -r /ctx/dir /copied; cat /ctx/a.txt > /a\n", _FILES, older="20.10 does otherwise"),
    Case(
        "bind of a directory and of a file",
        "FROM busybox\nRUN --mount=type=bind,source=dir,target=/d --mount=type=bind,src=a.txt,dst=/one ls -R /d > /list; cat /one > /two\n",
        _FILES,
        older="20.10 does otherwise",
    ),
    Case(
        "bind from a stage",
        "FROM busybox AS one\nRUN mkdir /out; echo x > /out/x\nFROM busybox\nRUN --mount=type=bind,from=one,source=/out,target=/in cat /in/x > /y\n",
        older="20.10 does otherwise",
    ),
    Case("bind from an image", "FROM busybox\nRUN --mount=from=configured,target=/img cat /img/opt/base > /y\n", older="20.10 does otherwise"),
    Case("bind is read-only", "FROM busybox\nRUN --mount=target=/ctx echo x > /ctx/new\n", _FILES, fails="step.failed"),
    Case(
        "bind for writing keeps nothing",
        "FROM busybox\nRUN --mount=target=/ctx,rw echo x > /ctx/new; cat /ctx/new > /kept; rm /ctx/a.txt\nRUN --mount=target=/ctx ls /ctx > /list\n",
        _FILES,
        older="20.10 does otherwise",
    ),
    Case("bind of a missing path", "FROM busybox\nRUN --mount=source=nope,target=/x ls /x\n", _FILES, fails="context.missing"),
    Case(
        "bind at a relative path",
        "FROM busybox\nWORKDIR /w\nRUN --mount=source=dir,target=rel ls rel > /list; pwd >> /list\n",
        _FILES,
        older="20.10 does otherwise",
    ),
    Case(
        "bind with variables",
        "FROM busybox\nARG d=dir\nENV t=/tgt\nRUN --mount=source=$d,target=${t}/x ls $t/x > /list\n",
        _FILES,
        older="20.10 does otherwise",
    ),
    Case("bind over what is there", "FROM busybox\nRUN --mount=source=dir,target=/opt ls /opt > /list\nRUN ls /opt >> /list\n", _FILES),
    Case(
        "cache starts empty and stays out",
        "FROM busybox\nRUN --mount=type=cache,target=/cache ls -A /cache > /before; echo x > /cache/x\nRUN --mount=type=cache,target=/cache cat /cache/x > /after\n",
        older="20.10 does otherwise",
    ),
    Case(
        "cache by id",
        "FROM busybox\nRUN --mount=type=cache,id=mine,target=/one echo x > /one/x\nRUN --mount=type=cache,id=mine,target=/two cp /two/x /y\n",
        older="20.10 does otherwise",
    ),
    Case(
        "cache with a mode and an owner",
        "FROM busybox\nRUN --mount=type=cache,id=o,target=/c,mode=0750,uid=1000,gid=50 stat -c '%a %u %g' /c > /s\nUSER alice\nRUN --mount=type=cache,id=o2,target=/c,uid=1000 touch /c/x\n",
        older="20.10 does otherwise",
    ),
    Case(
        "cache from a stage",
        "FROM busybox AS seed\nRUN mkdir /s; echo seeded > /s/f\nFROM busybox\nRUN --mount=type=cache,id=seeded,target=/c,from=seed,source=/s cat /c/f > /g; echo n > /c/new\n",
        older="20.10 does otherwise",
    ),
    Case("cache read-only", "FROM busybox\nRUN --mount=type=cache,id=ro,target=/c,ro touch /c/x\n", fails="step.failed"),
    Case(
        "cache in all sharings",
        "FROM busybox\nRUN --mount=type=cache,id=l,target=/c,sharing=locked touch /c/x\nRUN --mount=type=cache,id=p,target=/c,sharing=private ls -A /c > /f\n",
        older="20.10 does otherwise",
    ),
    Case("cache over what is there", "FROM busybox\nRUN --mount=type=cache,id=over,target=/opt ls -A /opt > /list; touch /opt/x\nRUN ls /opt >> /list\n"),
    Case(
        "tmpfs",
        "FROM busybox\nRUN --mount=type=tmpfs,target=/t echo x > /t/x && cat /t/x > /y\nRUN --mount=type=tmpfs,target=/opt,size=1m ls -A /opt > /z\n",
        older="20.10 does otherwise",
    ),
    Case("a secret that is missing", "FROM busybox\nRUN --mount=type=secret,id=none ls /run/secrets > /list 2>&1 || true\n"),
    Case("a required secret that is missing", "FROM busybox\nRUN --mount=type=secret,id=none,required true\n", fails="request.missing-secret"),
    Case(
        "mounts in mounts",
        "FROM busybox\nRUN --mount=type=cache,id=nest,target=/c --mount=source=dir,target=/c/in ls /c/in > /list\nRUN --mount=type=cache,id=nest,target=/c ls -A /c/in >> /list 2>/dev/null || true\n",
        _FILES,
        older="20.10 does otherwise",
    ),
    Case("an unknown type", "FROM busybox\nRUN --mount=type=magic,target=/x true\n", fails="dockerfile.bad-mount"),
    Case("an unknown option", "FROM busybox\nRUN --mount=type=cache,target=/x,colour=red true\n", fails="dockerfile.bad-mount"),
    Case("no target", "FROM busybox\nRUN --mount=type=cache true\n", fails="dockerfile.bad-mount"),
    Case(
        "mounts leave their directories",
        "FROM busybox\nRUN --mount=type=tmpfs,target=/new/deep/t true\nRUN --mount=type=cache,id=x,target=/new2/c true\nRUN --mount=source=a.txt,target=/new3/f true\n",
        _FILES,
        older="20.10 does otherwise",
    ),
]
