# SPDX-License-Identifier: Apache-2.0
"""Filters as text: ``NAME[:key=value[,key=value]]``, on the command line and in parameters."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import get_type_hints

from neuro_ros.events.filters.base import EventFilter, FilterError

__all__ = ["read_filter"]

_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


def _boolean(text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError
    return text.lower() in _TRUE


def _pixels(text: str) -> tuple[tuple[int, int], ...]:
    pixels = []
    for part in text.split("+"):
        match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", part)
        if match is None:
            raise ValueError
        pixels.append((int(match[1]), int(match[2])))
    return tuple(pixels)


# How a value of each type is read, and what to call it where it cannot be.
_READERS: dict[object, tuple[Callable[[str], object], str]] = {
    int: (int, "a whole number"),
    float: (float, "a number"),
    bool: (_boolean, "true or false"),
    str: (str, "a word"),
    tuple[tuple[int, int], ...]: (_pixels, "a list of pixels such as 12x40+300x7"),
}


def read_filter(text: str, filters: Mapping[str, type[EventFilter]]) -> EventFilter:
    """Read a filter out of ``NAME[:key=value[,key=value]]``; one of `filters`.

    Raises
    ------
    FilterError
        In one line, with what may stand there.
    """
    name, colon, rest = text.strip().partition(":")
    if name not in filters:
        raise FilterError(f"there is no filter {name!r}; there are: {', '.join(filters)}")
    chosen = filters[name]
    fields = {item.name: item for item in dataclasses.fields(chosen)}
    hints = get_type_hints(chosen)
    values: dict[str, object] = {}
    for part in rest.split(",") if colon else ():
        key, equals, value = part.partition("=")
        if not equals or key not in fields:
            raise FilterError(f"filter {name}: {part!r} is not KEY=VALUE with a key of {', '.join(fields)}")
        if key in values:
            raise FilterError(f"filter {name}: {key} is given twice")
        read, kind = _READERS[hints[key]]
        try:
            values[key] = read(value)
        except ValueError:
            raise FilterError(f"filter {name}: {key} is {value!r}, it must be {kind}") from None
    required = [key for key, item in fields.items() if item.default is dataclasses.MISSING and key not in values]
    if required:
        raise FilterError(f"filter {name}: {', '.join(required)} must be given, as in {chosen.example}")
    try:
        return chosen(**values)
    except FilterError as error:
        raise FilterError(f"filter {name}: {error}") from None
