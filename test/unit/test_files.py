# SPDX-License-Identifier: Apache-2.0
"""Paths that a remote peer names stay inside the configured folder, by whatever means they try to leave it."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.cores.candidate import CandidateError, ModelFolders
from neuro_ros.cores.files import StateDirectory, StatePathError, confine


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "states"
    (folder / "deep").mkdir(parents=True)
    (folder / "state.safetensors").touch()
    (tmp_path / "outside.safetensors").touch()
    (folder / "link").symlink_to(tmp_path)
    (folder / "leak.safetensors").symlink_to(tmp_path / "outside.safetensors")
    (folder / "to_be.safetensors").symlink_to(tmp_path / "not_yet.safetensors")
    (folder / "loop").symlink_to(folder / "loop")
    (tmp_path / "states_too").mkdir()
    os.mkfifo(folder / "pipe.safetensors")
    return folder.resolve()


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "/",
        "..",
        "../outside.safetensors",
        "deep/../../outside.safetensors",
        "/etc/passwd",
        "//etc/passwd",
        "~/outside.safetensors/../../..",
        "../states_too/x",
        "link/x",
        "link/outside.safetensors",
        "leak.safetensors",
        "to_be.safetensors",
        "loop",
        "loop/x",
        "a\0b",
        "deep",
        "pipe.safetensors",
        "pipe.safetensors/",
        "x" * 256,
        "deep/" * 1000 + "x",
        "\udc80" * 300,
        "\ud800",
        "x" * 1_000_000,
    ],
    ids=lambda path: repr(path[:30]),
)
def test_a_path_that_leads_outside_or_is_none_is_refused_in_one_short_line(root, path):
    with pytest.raises(StatePathError) as refusal:
        confine(path, root, "state_directory")
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("state.safetensors", "state.safetensors"),
        ("new.safetensors", "new.safetensors"),
        ("deep/../new.safetensors", "new.safetensors"),
        ("deep/new.safetensors", "deep/new.safetensors"),
        ("link/states/state.safetensors", "state.safetensors"),
        ("~x", "~x"),
    ],
)
def test_a_path_inside_is_resolved(root, path, expected):
    assert confine(path, root, "state_directory") == root / expected
    assert confine(str(root / path), root, "state_directory") == root / expected


@given(st.lists(st.sampled_from(["..", ".", "/", "/", "a", "link", "loop", "~", "\\", "\n"]), max_size=12))
def test_whatever_is_accepted_lies_inside(tmp_path_factory, parts):
    path = "".join(parts)
    folder = tmp_path_factory.mktemp("confined").resolve()
    (folder / "link").symlink_to("/")
    (folder / "loop").symlink_to(folder / "loop")
    try:
        found = confine(path, folder, "state_directory")
    except StatePathError:
        return
    assert os.path.realpath(found).startswith(f"{folder}{os.sep}")


def test_without_a_folder_nothing_is_taken():
    with pytest.raises(StatePathError, match="state_directory is not set"):
        StateDirectory("").confine("x")


# --- models -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "live.safetensors").touch()
    (tmp_path / "outside.safetensors").touch()
    (folder / "leak.safetensors").symlink_to(tmp_path / "outside.safetensors")
    (folder / "loop.safetensors").symlink_to(folder / "loop.safetensors")
    os.mkfifo(folder / "pipe.safetensors")
    return ModelFolders(str(folder / "live.safetensors"))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../outside.safetensors",
        "/etc/passwd",
        "leak.safetensors",
        "loop.safetensors",
        "pipe.safetensors",
        "~nobody_at_all/x.safetensors",
        "a\0b.safetensors",
        "x" * 300 + ".safetensors",
        "deep/" * 1000 + "x.safetensors",
        "x" * 1_000_000,
        "\ud800.safetensors",
    ],
    ids=lambda name: repr(name[:30]),
)
def test_a_candidate_comes_from_a_model_folder_only(models, name):
    with pytest.raises(CandidateError) as refusal:
        models.find(name)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 1000


def test_a_candidate_beside_the_live_model_is_found(models, tmp_path):
    file = tmp_path / "models" / "live.safetensors"
    for name in ("live.safetensors", str(file), "../models/live.safetensors"):
        assert models.find(name) == file.resolve()
