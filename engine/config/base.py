"""What all job configurations have in common: plain JSON values, checked once."""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import InvalidParameter

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")

C = TypeVar("C", bound="Config")


@dataclass(frozen=True)
class Config:
    """Base of all job configurations."""

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls: type[C], values: dict[str, Any]) -> C:
        """Build and validate from plain JSON values; unknown names and wrong types are refused."""
        fields = typing.get_type_hints(cls)
        unknown = sorted(set(values) - set(fields))
        if unknown:
            raise InvalidParameter(
                f"Unknown parameter {', '.join(unknown)}", f"Known are: {', '.join(sorted(fields))}"
            )
        try:
            config = cls(**{name: _coerce(name, fields[name], v) for name, v in values.items()})
        except TypeError as error:
            raise InvalidParameter(f"Parameters are incomplete ({error})", "Give every input and output") from error
        config.validate()
        return config

    def validate(self) -> None:
        """Raise `InvalidParameter` for values the job cannot run with."""


def _coerce(name: str, hint: Any, value: Any) -> Any:
    """Check one JSON value against its type hint; integers pass as floats, lists become tuples."""
    options = typing.get_args(hint) if typing.get_origin(hint) is typing.Union else (hint,)
    for option in options:
        if option is type(None) and value is None:
            return None
        if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if option is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if option in (bool, str) and isinstance(value, option):
            return value
        if typing.get_origin(option) is tuple and isinstance(value, (list, tuple)):
            item, *rest = typing.get_args(option)
            items = [item] * len(value) if rest == [Ellipsis] else [item, *rest]
            if len(items) == len(value):
                return tuple(_coerce(name, i, v) for i, v in zip(items, value))  # noqa: B905  (strict= needs Python 3.10)
    readable = str(hint).replace("<class '", "").replace("'>", "")
    raise InvalidParameter(f"{name} = {value!r} is not of type {readable}", "Correct the value")


def require_range(name: str, value: float, low: float, high: float) -> None:
    """Raise `InvalidParameter` unless ``low <= value <= high``."""
    if not (math.isfinite(value) and low <= value <= high):
        raise InvalidParameter(f"{name} is {value:g}", f"Choose a value from {low:g} to {high:g}")


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `InvalidParameter` unless `value` is one of `choices`."""
    if value not in choices:
        raise InvalidParameter(f"{name} is {value!r}", f"Choose one of {', '.join(choices)}")


def require_given(name: str, value: str) -> None:
    """Raise `InvalidParameter` for an empty path."""
    if not value:
        raise InvalidParameter(f"{name} is empty", "Give a path")
