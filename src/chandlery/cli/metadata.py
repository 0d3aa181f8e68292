"""The metadata file: buildx's keys, and ours beside them (prefix "chandlery.")."""

import os

from chandlery.cli.display.summary import result_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chandlery.buildcache.record import Observation
    from chandlery.engine.request import BuildRequest, BuildResult
    from chandlery.errors import ChandleryError
    from chandlery.events import VolumeUsed


def metadata(request: "BuildRequest", result: "BuildResult") -> "dict[str, object]":
    """The document of a build that succeeded."""
    document: dict[str, object] = {"buildx.build.ref": f"chandlery/default/{result.build_id}"}
    if result.warnings:
        document["buildx.build.warnings"] = [{"short": warned.message} for warned in result.warnings]
        document["chandlery.warnings"] = [
            {"code": warned.code, "message": warned.message} | ({"cause": warned.cause} if warned.cause else {}) for warned in result.warnings
        ]
    if result.image_digest:
        document["containerimage.digest"] = result.image_digest
    if result.config_digest:
        document["containerimage.config.digest"] = result.config_digest
    if result.descriptor:
        descriptor: dict[str, object] = dict(result.descriptor)
        document["containerimage.descriptor"] = descriptor | {"size": int(str(descriptor["size"]))}
    if result.names:
        document["image.name"] = ",".join(result.names)
    document["chandlery.build"] = {
        "seconds": round(result.seconds, 3),
        "bytes_moved": result.bytes_moved,
        "target": request.target,
        "log": result.log_path if os.path.exists(result.log_path) else "",
        "steps": [
            {
                "step": step.step, "name": step.name, "outcome": step.outcome, "seconds": round(step.seconds, 3), "bytes_moved": step.bytes_moved,
                "key": step.key, "detail": step.detail,
            }
            | ({"cache": {name: int(text) if name in ("age_s", "bytes") else text for name, text in step.origin}} if step.origin else {})
            | ({"missed": step.missed} if step.missed else {})
            | ({"observed": [_observed(item) for item in step.observed]} if step.observed else {})
            | ({"volumes": [_volume(use) for use in step.volumes]} if step.volumes else {})
            for step in result.steps
        ],
    }  # fmt: skip
    if result.cache is not None:
        document["chandlery.cache"] = {
            "scope": result.cache.scope, "reads": list(result.cache.reads), "reason": result.cache.reason, "remotes": list(result.cache.remotes),
            "steps_published": result.cache.steps_published, "bytes_published": result.cache.bytes_published,
            "not_published": list(result.cache.unpublished), "why": result.cache.why,
            "volumes": [
                {
                    "name": volume.name, "platform": volume.platform, "sources": [{"remote": remote, "scope": scope} for remote, scope in volume.sources],
                    "files_fetched": volume.files_fetched, "bytes_fetched": volume.bytes_fetched,
                    "files_linked": volume.files_linked, "bytes_linked": volume.bytes_linked,
                    "files_published": volume.files_published, "bytes_published": volume.bytes_published,
                    "left_out": list(volume.left_out), "not_published": volume.not_published,
                }
                for volume in result.cache.volumes
            ],
        }  # fmt: skip
    return document


def failure_metadata(request: "BuildRequest | None", error: "ChandleryError") -> "dict[str, object]":
    """The document of a build that failed: why, and what it did before."""
    result = result_of(error)
    before = metadata(request, result) if request is not None and result is not None else {}
    ours = {name: part for name, part in before.items() if name.startswith("chandlery.")}
    return ours | {"chandlery.error": {"code": error.code, "message": error.message, "exit_status": error.exit_status}}


def _observed(item: "Observation") -> "dict[str, object]":
    """A mutable name that a step's result stands on; "of" names the step that resolved it, where that was another one."""
    document: dict[str, object] = {"kind": item.kind, "url": item.url, "validator": item.validator, "checked_at": round(item.checked_at_s, 3)}
    return document | {"of": item.of} if item.of else document


def _volume(use: "VolumeUsed") -> "dict[str, object]":
    """What a step had of a volume; `served` is None where the step could not be watched."""
    is_known = use.served_files >= 0
    return {
        "name": use.name, "scope": use.scope, "generation": use.generation,
        "files_served": use.served_files if is_known else None, "bytes_served": use.served_bytes if is_known else None,
        "files_fetched": use.fetched_files, "bytes_fetched": use.fetched_bytes, "files_added": use.added_files, "bytes_added": use.added_bytes,
    }  # fmt: skip
