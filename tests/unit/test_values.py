"""`@value` keeps the promises of a frozen dataclass."""

import pickle

import pytest

from chandlery.values import fields, replace, value


@value
class Point:
    x: int
    y: int = 0


@value
class Named(Point):
    name: str = ""


@value
class Positive:
    amount: int

    def __post_init__(self) -> None:
        if self.amount <= 0:
            raise ValueError(self.amount)


def test_equal_by_content_and_class() -> None:
    assert Point(1) == Point(1, 0)
    assert Point(1) != Point(2)
    assert Point(1) != Named(1)
    assert len({Point(1), Point(1, 0), Point(2)}) == 2


def test_fields_are_inherited_in_order() -> None:
    assert fields(Named) == ("x", "y", "name")
    assert Named(1, 2, "n").name == "n"


def test_missing_and_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Point(1, z=2)  # type: ignore[call-arg]


def test_values_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Point(1).x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del Point(1).x


def test_replace_makes_a_validated_copy() -> None:
    assert replace(Point(1, 2), y=3) == Point(1, 3)
    with pytest.raises(ValueError, match="0"):
        replace(Positive(1), amount=0)


def test_pickles_and_matches() -> None:
    assert pickle.loads(pickle.dumps(Named(1, 2, "n"))) == Named(1, 2, "n")
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)


def test_repr_names_fields() -> None:
    assert repr(Point(1)) == "Point(x=1, y=0)"
