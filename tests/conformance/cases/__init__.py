"""The cases, a module a theme."""

from dataclasses import replace

from tests.conformance.cases import (
    args,
    cache_keys,
    configuration,
    copy,
    copy_corners,
    dockerignore,
    expansion,
    heredocs,
    mounts,
    onbuild,
    owners,
    parser,
    running,
    stages,
)

CASES = [
    replace(case, theme=module.__name__.rpartition(".")[2].replace("_", "-"))
    for module in (
        parser, expansion, args, configuration, copy, copy_corners, dockerignore, owners, mounts, heredocs, onbuild, running, stages, cache_keys,
    )
    for case in module.CASES
]  # fmt: skip
