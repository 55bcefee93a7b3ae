# SPDX-License-Identifier: Apache-2.0
"""Finds a candidate's model file, inside the folders that models may come from, and checks that it can take over.

A candidate must read the same windows and give the same answers as the live model; its layers, weights and decays are
its own. This module refuses to know about back ends and roll-outs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from neuro_ros.cores.files import model_path, shown_path
from neuro_ros.errors import NeuroRosError
from neuro_ros.resources import ResourceError, models_directory
from neuro_ros.snn import Model

__all__ = ["CandidateError", "ModelFolders", "check_candidate"]


class CandidateError(NeuroRosError):
    """A model cannot be the candidate: its file lies outside the model folders, or it does not fit the live model."""


class ModelFolders:
    """The folders that models may come from, and nothing outside of them.

    Parameters
    ----------
    model : str
        The configured model: the folder of its file is one of them, as is that of the shipped models.
    more : sequence of str
        Further folders; empty names count for nothing.
    """

    def __init__(self, model: str, more: Sequence[str] = ()) -> None:
        folders = [model_path(model).parent, *(Path(name).expanduser() for name in more if name)]
        with contextlib.suppress(ResourceError):  # not installed with its models; the user's own folders are enough
            folders.append(models_directory())
        self._folders = list(dict.fromkeys(folder.resolve() for folder in folders))

    def find(self, name: str) -> Path:
        """Return the file of a model.

        Parameters
        ----------
        name : str
            A path, relative ones to each folder in turn, or the name of a shipped model.

        Raises
        ------
        CandidateError
            There is no such file inside a folder, also when a link leads outside.
        """
        if not name:
            raise CandidateError("SHADOW needs model_path, the file of a candidate model")
        shown = shown_path(name)
        try:
            path = model_path(name)
        except RuntimeError:  # the home folder of nobody
            raise CandidateError(f"{shown} is not a path") from None
        outside = False
        for folder in self._folders:
            try:
                resolved = (folder / path).resolve()
                if not resolved.is_file():
                    continue
            except (OSError, RuntimeError, ValueError) as error:  # loops of links, NUL bytes
                reason = error.strerror if isinstance(error, OSError) else error
                raise CandidateError(f"{shown} is not a path: {reason}") from None
            if any(resolved.is_relative_to(root) for root in self._folders):
                return resolved
            outside = True
        known = ", ".join(map(str, self._folders))
        if outside or not any(path.is_relative_to(root) for root in self._folders if path.is_absolute()):
            raise CandidateError(f"{shown} is no model file inside the folders {known}; name more with model_folders")
        raise CandidateError(f"{path}: no such model file")


def check_candidate(live: Model, candidate: Model) -> None:
    """Raise unless a candidate reads the windows of the live model and gives answers of the same meaning.

    Raises
    ------
    CandidateError
        The text names everything that differs.
    """
    differences = []
    for what, ours, theirs in (
        ("labels", list(live.labels), list(candidate.labels)),
        ("(channels, height, width)", live.network.input_shape, candidate.network.input_shape),
        ("window_length_ns", live.window_length_ns, candidate.window_length_ns),
        ("bins", live.bins, candidate.bins),
        ("normalisation", live.normalisation, candidate.normalisation),
    ):
        if ours != theirs:
            differences.append(f"{what} {theirs} instead of {ours}")
    if differences:
        raise CandidateError(f"{candidate.model_id} cannot stand in for {live.model_id}: {'; '.join(differences)}")
