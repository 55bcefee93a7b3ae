# SPDX-License-Identifier: Apache-2.0
"""Finds the verbs without importing them, and imports the one that was asked for."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from typing import Protocol, cast

from neuro_ros.cli import verbs as verbs_package

__all__ = ["Verb", "load", "names", "summary"]


class Verb(Protocol):
    """What a module in `neuro_ros.cli.verbs` offers."""

    SUMMARY: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    main: Callable[[argparse.Namespace], int]


def _modules() -> dict[str, str]:
    """Map each verb's name to the name of the module that implements it."""
    found: dict[str, str] = {}
    for module in pkgutil.iter_modules(verbs_package.__path__):
        if not module.name.startswith("_"):
            found[module.name.rstrip("_").replace("_", "-")] = f"{verbs_package.__name__}.{module.name}"
    return dict(sorted(found.items()))


def names() -> list[str]:
    """List the verbs in alphabetical order."""
    return list(_modules())


def summary(verb: str) -> str:
    """Read a verb's ``SUMMARY`` from its source, without running the module.

    Parameters
    ----------
    verb : str
        A name out of `names`.

    Returns
    -------
    str
        The one line; empty where the module defines none as a plain literal.
    """
    specification = importlib.util.find_spec(_modules()[verb])
    source = None
    if specification is not None and specification.loader is not None:
        get_source = getattr(specification.loader, "get_source", None)
        source = get_source(specification.name) if get_source else None
    for statement in ast.parse(source or "").body:
        if isinstance(statement, ast.Assign):
            targets: list[ast.expr] = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        else:
            continue
        value = statement.value
        if any(isinstance(target, ast.Name) and target.id == "SUMMARY" for target in targets):
            return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""
    return ""


def load(verb: str) -> Verb:
    """Import the module of one verb.

    Raises
    ------
    KeyError
        When there is no such verb.
    """
    return cast(Verb, importlib.import_module(_modules()[verb]))
