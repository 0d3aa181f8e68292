"""Frozen values that cost nothing to define.

`@value` gives a class of annotated fields what `@dataclass(frozen=True)` gives it: an initialiser,
equality and hash by content, a readable repr, `__match_args__` and `__post_init__`. The difference is
when the work is done. `dataclass` compiles its methods at import, about 0.4 ms a class, and importing it
pulls in `inspect`: a hundred nouns would cost a fully cached build more than everything else that it does.
Here a class fills in its first few instances field by field and compiles its initialiser only then: most nouns of a
cached build are used once or twice, and compiling costs as much as thirty instances do.

Fields are read from the class body's annotations, in order; a default is the class attribute of that name and
must be immutable. Type checkers see a frozen dataclass.

`@compact` is for the few nouns of which there are a hundred thousand at once: the same in slots, a third of the memory, and no subclass adds fields.
"""

from operator import attrgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")

    @dataclass_transform(eq_default=True, frozen_default=True)
    def value(cls: type[T]) -> type[T]: ...

    @dataclass_transform(eq_default=True, frozen_default=True)
    def compact(cls: type[T]) -> type[T]: ...

else:

    def value(cls):
        """Make `cls` a frozen value (see the module's docstring)."""
        inherited = getattr(cls, "__value_fields__", ())
        own = tuple(name for name in cls.__dict__.get("__annotations__", ()) if name not in inherited)  # noqa: RUF063 - inspect is what this module avoids
        cls.__value_fields__ = inherited + own
        cls.__match_args__ = cls.__value_fields__
        cls.__value_uses__ = 0
        cls.__init__ = _first_init
        cls.__eq__ = _equal
        cls.__hash__ = _hash
        if "__repr__" not in cls.__dict__:
            cls.__repr__ = _repr
        cls.__setattr__ = _refuse
        cls.__delattr__ = _refuse
        return cls

    def compact(cls):
        """Make `cls`, which has two fields or more, a frozen value in slots (see the module's docstring)."""
        names = tuple(cls.__dict__["__annotations__"])  # noqa: RUF063 - as above
        body = {name: content for name, content in cls.__dict__.items() if name not in (*names, "__dict__", "__weakref__")}
        made = type(cls.__name__, (), {**body, "__slots__": names})
        made.__value_fields__ = made.__match_args__ = names
        made.__value_defaults__ = {name: cls.__dict__[name] for name in names if name in cls.__dict__}
        made.__value_content__ = staticmethod(attrgetter(*names))
        made.__init__ = _first_compact_init
        made.__eq__ = _equal_compact
        made.__hash__ = _hash_compact
        made.__reduce__ = _reduce_compact
        made.__repr__ = _repr
        made.__setattr__ = _refuse
        made.__delattr__ = _refuse
        return made


_PLAIN_USES = 16


def fields(of: object) -> tuple[str, ...]:
    """The field names of a value or value class, in order."""
    names: tuple[str, ...] = of.__value_fields__  # type: ignore[attr-defined]
    return names


def replace(old: "T", **changes: "Any") -> "T":
    """A copy of `old` with some fields changed, validated as a new value is."""
    merged = {name: getattr(old, name) for name in fields(old)}
    merged.update(changes)
    return type(old)(**merged)


def _first_init(self: object, *args: object, **kwargs: object) -> None:
    cls = type(self)
    while "__value_fields__" not in cls.__dict__:
        cls = cls.__mro__[1]
    cls.__value_uses__ += 1  # type: ignore[attr-defined]
    if cls.__value_uses__ > _PLAIN_USES or not _filled_in(self, cls, args, kwargs):  # type: ignore[attr-defined]
        initialiser = _compile_init(cls)
        cls.__init__ = initialiser  # type: ignore[method-assign]
        initialiser(self, *args, **kwargs)


def _filled_in(self: object, cls: type, args: "tuple[object, ...]", kwargs: "dict[str, object]") -> bool:
    """What a compiled initialiser does; False where the arguments don't fit, for it to say how."""
    names, content = fields(cls), self.__dict__
    if len(args) > len(names):
        return False
    content.update(zip(names, args, strict=False))
    left = len(kwargs)
    for name in names[len(args) :]:
        if name in kwargs:
            content[name] = kwargs[name]
            left -= 1
        elif hasattr(cls, name):
            content[name] = getattr(cls, name)
        else:
            return False
    if left:
        return False
    if hasattr(cls, "__post_init__"):
        self.__post_init__()  # type: ignore[attr-defined]
    return True


def _compile_init(cls: type) -> "Callable[..., None]":
    defaults = {name: getattr(cls, name) for name in fields(cls) if hasattr(cls, name)}
    parameters = ", ".join(f"{name}=_d[{name!r}]" if name in defaults else name for name in fields(cls))
    body = [f"    d[{name!r}] = {name}" for name in fields(cls)]
    if hasattr(cls, "__post_init__"):
        body.append("    self.__post_init__()")
    source = f"def __init__(self, {parameters}):\n    d = self.__dict__\n" + "\n".join(body or ["    pass"])
    namespace: dict[str, object] = {"_d": defaults}
    exec(source, namespace)
    init: Callable[..., None] = namespace["__init__"]  # type: ignore[assignment]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


def _first_compact_init(self: "Any", *args: object, **kwargs: object) -> None:
    cls = type(self)
    names, defaults = fields(cls), cls.__value_defaults__
    parameters = ", ".join(f"{name}=_d[{name!r}]" if name in defaults else name for name in names)
    body = [f"    _set_{name}(self, {name})" for name in names]
    namespace: dict[str, object] = {"_d": defaults, **{f"_set_{name}": cls.__dict__[name].__set__ for name in names}}
    exec(f"def __init__(self, {parameters}):\n" + "\n".join(body), namespace)
    cls.__init__ = namespace["__init__"]
    cls.__init__.__qualname__ = f"{cls.__qualname__}.__init__"
    cls.__init__(self, *args, **kwargs)


def _equal_compact(self: "Any", other: "Any") -> bool:
    if self is other:
        return True
    if self.__class__ is not other.__class__:
        return False
    return bool(self.__value_content__(self) == self.__value_content__(other))


def _hash_compact(self: "Any") -> int:
    return hash(self.__value_content__(self))


def _reduce_compact(self: "Any") -> "tuple[object, ...]":
    return type(self), self.__value_content__(self)


def _equal(self: object, other: object) -> bool:
    if self.__class__ is not other.__class__:
        return False
    return bool(self.__dict__ == other.__dict__)


def _hash(self: object) -> int:
    return hash((self.__class__, *self.__dict__.values()))


def _repr(self: object) -> str:
    inner = ", ".join(f"{name}={getattr(self, name)!r}" for name in fields(self))
    return f"{type(self).__qualname__}({inner})"


def _refuse(self: object, name: str, *_: object) -> None:
    raise AttributeError(f"{type(self).__qualname__} is immutable: can't change {name!r}, use values.replace()")
