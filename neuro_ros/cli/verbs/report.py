# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros report``: a table and a page about a recorded run."""

from __future__ import annotations

import argparse
from pathlib import Path

from neuro_ros.cli.arguments import add_json_argument, emit

SUMMARY = "look back at a recorded run: a table, and a page with plots"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("bag", type=Path, metavar="BAG", help="bag of a run, as `neuro_ros up --record` writes it")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the page to write (default: report.html beside the bag)"
    )
    add_json_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Write the page and print the table; 1 when something in the bag does not add up."""
    from neuro_ros.bringup.collect import summarise
    from neuro_ros.bringup.page import write_page
    from neuro_ros.bringup.table import as_dict, as_text

    summary = summarise(args.bag)
    path = args.out or args.bag.absolute().parent / "report.html"
    write_page(summary, path)
    emit(args, {"path": path, **as_dict(summary)}, lambda: f"{as_text(summary)}\n  page        {path}")
    return 1 if summary.problems() else 0
