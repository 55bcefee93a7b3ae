# SPDX-License-Identifier: Apache-2.0
"""What the README states is so: verbs, topics, files."""

import dataclasses
import re

import pytest

from neuro_ros.cli import _verbs
from neuro_ros.events import ENCODINGS
from neuro_ros.events.filters import FILTERS
from neuro_ros.events.formats import FORMATS
from neuro_ros.resources import message_definition_paths, share_directory

README = share_directory() / "README.md"
pytestmark = pytest.mark.skipif(not README.is_file(), reason="the README stands in the source tree only")


@pytest.fixture(scope="module")
def text():
    return README.read_text(encoding="utf-8")


def test_every_verb_it_names_exists(text):
    named = set(re.findall(r"neuro_ros ([a-z]+)\b", "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S))))
    named |= set(re.findall(r"`neuro_ros ([a-z]+) [^`]*`", text))
    assert named
    assert named - {"neuro_ros"} <= {*_verbs.names(), "git"}


def test_every_message_it_names_exists(text):
    ours = {name.rsplit("/", 1)[1] for name in message_definition_paths()}
    rows = [
        row.split("|") for row in text.split("## The graph")[1].split("## ")[0].splitlines() if row.startswith("| `")
    ]
    assert rows
    for row in rows:
        kind = row[2].strip().strip("`")
        assert "/" in kind or kind in ours, f"{kind} is no message of this package"


def test_every_filter_is_told_with_its_keys_and_defaults(text):
    for name, chosen in FILTERS.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        for field in dataclasses.fields(chosen):
            default = field.default
            if default in (dataclasses.MISSING, ()):
                assert f"`{field.name}`" in row
            else:
                shown = str(default).lower() if isinstance(default, bool) else default
                shown = f"{default:g}" if isinstance(default, float) else shown
                assert f"`{field.name}={shown}`" in row


def test_every_encoding_and_suffix_is_told(text):
    for name in ENCODINGS:
        assert f"`{name}`" in text
    for form in FORMATS:
        assert form.name.partition(" ")[0] in text
        assert all(f"`{suffix}`" in text for suffix in form.suffixes)


def test_every_link_and_folder_exists(text):
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    links += re.findall(r"`(neuro_ros/[a-z_/]+)`", text)
    assert links
    for link in links:
        place = README.parent / link
        assert place.exists() or place.with_suffix(".py").exists(), f"{link} is not there"
