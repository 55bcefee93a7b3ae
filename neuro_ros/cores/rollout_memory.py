# SPDX-License-Identifier: Apache-2.0
"""What snn_inference keeps on disk of a roll-out, so that a restart goes on with the same live model.

One JSON file beside the saved states, written as a whole or not at all; and beside it a folder for the states of each
model but the configured one, so that states of two models never meet. What the record holds is the business of
`neuro_ros.cores.arms`.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuro_ros.errors import NeuroRosError

__all__ = ["RolloutMemory", "RolloutMemoryError"]

_NAME = "rollout.json"
_FOLDER = "arms"
_MOST_BYTES = 1 << 22


class RolloutMemoryError(NeuroRosError):
    """The record of a roll-out cannot be read or written."""


class RolloutMemory:
    """The record in a folder.

    Parameters
    ----------
    directory : str
        That of the saved states. Empty = none: nothing is kept.
    """

    def __init__(self, directory: str) -> None:
        self._root = Path(directory).expanduser().resolve() if directory else None

    def __bool__(self) -> bool:
        return self._root is not None

    def states(self, model_id: str) -> str:
        """Return the folder for the states of a model that is not the configured one; empty = none."""
        return "" if self._root is None else str(self._root / _FOLDER / model_id)

    def load(self) -> dict[str, Any] | None:
        """Return the record; None when there is none.

        Raises
        ------
        RolloutMemoryError
            The file is damaged or cannot be read.
        """
        if self._root is None:
            return None
        path = self._root / _NAME
        try:
            with path.open("rb") as file:
                content = json.loads(file.read(_MOST_BYTES))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RolloutMemoryError(f"{path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise RolloutMemoryError(f"{path}: not the record of a roll-out: {error!r}") from None
        if not isinstance(content, dict):
            raise RolloutMemoryError(f"{path}: not the record of a roll-out")
        return content

    def save(self, record: Mapping[str, Any]) -> None:
        """Write, so that a power cut leaves the old record or the new one.

        Raises
        ------
        RolloutMemoryError
            It cannot be written; an older file is whole.
        """
        if self._root is None:
            return
        path = self._root / _NAME
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with partial.open("w", encoding="utf-8") as file:
                json.dump(record, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise RolloutMemoryError(f"{path}: cannot be written: {error.strerror}") from error

    def tidy(self, keep: frozenset[str]) -> None:
        """Remove the saved states of models that have no part in the roll-out any more; what is not ours stays."""
        folder = None if self._root is None else self._root / _FOLDER
        if folder is None or not folder.is_dir():
            return
        for states in folder.iterdir():
            if states.name in keep or not states.is_dir() or states.is_symlink():
                continue
            with contextlib.suppress(OSError):  # not empty then: somebody keeps something else there
                for path in states.glob("state-*.safetensors"):
                    path.unlink()
                states.rmdir()
