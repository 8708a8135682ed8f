"""Whether the fields of a config are of the types that they say."""

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from idfsr_jax.io.errors import BadConfig


def typed_fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of a config by its dotted name, with its value, after its type was checked.

    Raises:
      BadConfig: it is of another type; the sentence names the field, its value, and what it may be.
    """
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    require_types(type(config), values, prefix)
    for field, value in values.items():
        name = prefix + field
        if dataclasses.is_dataclass(value):
            yield from typed_fields(value, f"{name}.")
        else:
            yield name, value


def require_types(config: type, values: Mapping[str, Any], prefix: str = "") -> None:
    """Checks values of fields of a config that need not have been made yet.

    Raises:
      BadConfig: see `typed_fields`.
    """
    kinds = typing.get_type_hints(config)
    for name, value in values.items():
        if not _is_of(value, kinds[name]):
            raise BadConfig(f"{prefix}{name} is {value!r}; give {_described(kinds[name])}.")


def _is_of(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is Literal:
        return value in typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_is_of(each, typing.get_args(kind)[0]) for each in value)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return any(_is_of(value, each) for each in typing.get_args(kind))
    if kind in (int, float):
        # True is an int to Python, and no number of steps.
        return isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _described(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return " or ".join(repr(each) for each in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return f"a tuple, each element {_described(typing.get_args(kind)[0])}"
    names = {int: "a whole number", float: "a number", int | float: "a number", bool: "True or False", str: "a text"}
    return names.get(kind, f"a {getattr(kind, '__name__', kind)}")
