# SPDX-License-Identifier: Apache-2.0
"""``neuro_ros rollout COMMAND``: move a candidate model through its roll-out on a running graph."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from neuro_ros.cli.arguments import add_json_argument, emit, positive_float

SUMMARY = "try another model beside the live one on a running graph, promote it or roll it back"

_HELP = {
    "shadow": "run a candidate beside the live model, published on gesture/shadow only",
    "canary": "publish the candidate's gestures for a share of the windows",
    "promote": "make the candidate the live model",
    "rollback": "return to the model that was live before",
    "cancel": "drop the candidate",
    "status": "say where the roll-out stands, and how it got there",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in _HELP.items():
        command = commands.add_parser(name, help=text, description=text)
        if name == "shadow":
            command.add_argument("model", metavar="MODEL", help="candidate's model file, or the name of a shipped one")
        if name == "canary":
            command.add_argument(
                "--share", type=_share, default=0.0, metavar="S", help="share of the windows (default a tenth)"
            )
            command.add_argument(
                "--for", dest="duration_s", type=positive_float, default=0.0, metavar="S",
                help="fall back to shadow after so many seconds",
            )  # fmt: skip
        command.add_argument("--namespace", default="", metavar="NAME", help="namespace of the graph")
        command.add_argument("--node", default="snn_inference", metavar="NAME", help="node that runs the models")
        command.add_argument(
            "--timeout", type=positive_float, default=10.0, metavar="S",
            help="how long to look for the graph, and to wait for its answer (default 10)",
        )  # fmt: skip
        add_json_argument(command)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 < value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share above 0 and up to 1")
    return value


def _fields(args: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of the request besides the command."""
    if args.command == "shadow":
        path = Path(args.model).expanduser()
        # Absolute, because the graph runs in another folder; a bare name is for the graph to find.
        return {"model_path": str(path.absolute()) if path.suffix or len(path.parts) > 1 else args.model}
    if args.command == "canary":
        return {"share": args.share, "duration_s": args.duration_s}
    return {}


def _text(answer: dict[str, Any]) -> str:
    """Write an answer for people."""
    lines = [("phase", answer["phase"]), ("live", answer["live_id"] or "not known")]
    if answer["candidate_id"]:
        share = f", published for {answer['share']:.1%} of the windows" if answer["share"] else ""
        lines.append(("candidate", answer["candidate_id"] + share))
    if answer["previous_id"]:
        lines.append(("previous", f"{answer['previous_id']}, kept for a roll-back"))
    for entry in answer["history"]:
        at_s = entry["at_ns"] * 1e-9
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s)) + f".{int(at_s % 1.0 * 10)}"
        lines.append(("history", f"{when}  {entry['before']} to {entry['after']}  {entry['cause']}: {entry['reason']}"))
    return "\n".join(f"{name:<10} {text}" for name, text in lines)


def main(args: argparse.Namespace) -> int:
    """Ask the graph; 0 when it was done, 1 when it was refused, with the reason on stderr."""
    import sys

    from neuro_ros.bringup.switching import SwitchClient

    with SwitchClient(args.node, args.namespace, args.timeout) as client:
        answer = client.ask(args.command, **_fields(args))
    emit(args, answer, lambda: _text(answer))
    if not answer["accepted"]:
        sys.stderr.write(f"neuro_ros rollout: {args.command} refused: {answer['message']}\n")
        return 1
    return 0
