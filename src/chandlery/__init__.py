"""Chandlery builds container images from source, without a daemon.

The public Python API is re-exported here lazily: `import chandlery` costs nothing, and
`from chandlery import build` loads the engine only then (design: start-up is a feature).
"""

__version__ = "0.1.0"

_API = {
    "BuildRequest": "chandlery.engine.request",
    "BuildResult": "chandlery.engine.request",
    "build": "chandlery.wiring",
}

__all__ = ["BuildRequest", "BuildResult", "__version__", "build"]  # pyright: ignore


def __getattr__(name: str) -> object:
    if name in _API:
        from importlib import import_module

        return getattr(import_module(_API[name]), name)
    raise AttributeError(f"module 'chandlery' has no attribute {name!r}")
