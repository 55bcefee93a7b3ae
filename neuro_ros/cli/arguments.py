# SPDX-License-Identifier: Apache-2.0
"""Arguments and output that several verbs share, so that they read the same everywhere."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = [
    "add_filter_argument",
    "add_json_argument",
    "add_model_key_arguments",
    "add_recording_arguments",
    "emit",
    "non_negative_float",
    "non_negative_int",
    "positive_float",
    "positive_int",
]


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if value < least:
        raise argparse.ArgumentTypeError(f"{value} is below {least}")
    return value


def positive_int(text: str) -> int:
    """Convert an argument to an integer of at least 1, for ``type=``."""
    return _whole(text, 1)


def non_negative_int(text: str) -> int:
    """Convert an argument to an integer of at least 0, for ``type=``."""
    return _whole(text, 0)


def positive_float(text: str) -> float:
    """Convert an argument to a finite number above 0, for ``type=``."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a finite number above 0")
    return value


def non_negative_float(text: str) -> float:
    """Convert an argument to a finite number of at least 0, for ``type=``."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0.0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a finite number of at least 0")
    return value


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout instead of text")


def add_model_key_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--key`` and ``--trust``: what it takes to read an encrypted or a signed model."""
    parser.add_argument(
        "--key", metavar="KEY", help="key of an encrypted model: a file, or env:NAME for an environment variable"
    )
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="KEY",
        help="public key, one of which must have signed the model; repeatable",
    )


def add_recording_arguments(parser: argparse.ArgumentParser, name: str = "file", optional: bool = False) -> None:
    """Declare a recording and what a file without a header cannot say about itself.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Gets the positional argument `name` and ``--encoding``, ``--width``,
        ``--height``, each ``None`` when not given.
    name : str
        The attribute that the path (`pathlib.Path`) is stored under.
    optional : bool
        Declare an option ``--NAME`` instead, ``None`` when not given.
    """
    if optional:
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help="recording of events")
    else:
        parser.add_argument(name, type=Path, metavar=name.upper(), help="recording of events")
    group = parser.add_argument_group("for files without a header")
    group.add_argument("--encoding", help="how the events are coded, such as evt2, evt3 or nmnist")
    group.add_argument("--width", type=positive_int, metavar="PX", help="width of the sensor")
    group.add_argument("--height", type=positive_int, metavar="PX", help="height of the sensor")


def add_filter_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--filter``, whose `EventFilter` are gathered, in order, in the list ``filters``."""
    from neuro_ros.events.filters import FILTERS, EventFilter, FilterError, parse_filter

    def read(text: str) -> EventFilter:
        try:
            return parse_filter(text)
        except FilterError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    parser.add_argument(
        "--filter",
        type=read,
        action="append",
        default=[],
        dest="filters",
        metavar="NAME[:KEY=VALUE,...]",
        help=f"filter the events, as in refractory:period_us=1000; repeatable, in order: {', '.join(FILTERS)}",
    )


def _plain(value: Any) -> Any:
    """Reduce a result to what JSON knows; NaN and infinities, which it does not, become null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def emit(args: argparse.Namespace, result: Mapping[str, Any], text: str | Callable[[], str] | None = None) -> None:
    """Print a verb's result on stdout, as JSON or for people.

    Parameters
    ----------
    args : argparse.Namespace
        Parsed arguments, with ``json`` from `add_json_argument`.
    result : mapping
        What ``--json`` prints, in this order, on one line. NumPy values are
        converted; NaN and infinities become ``null``.
    text : str or callable, optional
        What people get instead; without it one ``name: value`` line an entry.
    """
    plain = _plain(result)
    if args.json:
        line = json.dumps(plain, allow_nan=False)
    elif text is None:
        width = max((len(key) for key in plain), default=0)
        line = "\n".join(f"{key:<{width}}  {_readable(value)}" for key, value in plain.items())
    else:
        line = text() if callable(text) else text
    sys.stdout.write(line + "\n")


def _readable(value: Any) -> str:
    """Write one value of a result for people."""
    if value is None:
        return "unknown"
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    return str(value)
