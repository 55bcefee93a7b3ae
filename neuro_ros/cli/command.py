# SPDX-License-Identifier: Apache-2.0
"""The ``neuro_ros`` command itself: parse, load one verb, run it, translate errors to exit codes.

Exit codes: 0 good, 1 the answer is bad (or a fault of this package, with its
traceback), 2 wrong usage or unreadable input (one line on stderr), 128 + n when
ended by signal n, as a shell counts.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from neuro_ros.cli import _verbs
from neuro_ros.errors import NeuroRosError
from neuro_ros.resources import version

__all__ = ["main"]

_LOGGER = logging.getLogger(__name__)
_EXIT_BAD = 1
_EXIT_USAGE = 2
_EXIT_INTERRUPTED = 128 + signal.SIGINT
_EXIT_PIPE_CLOSED = 128 + signal.SIGPIPE


def _overview() -> str:
    """Write the list of verbs for ``--help``."""
    found = _verbs.names()
    width = max((len(verb) for verb in found), default=0)
    return "verbs:\n" + "\n".join(f"  {verb:<{width}}  {_verbs.summary(verb)}" for verb in found)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without repeating the whole usage."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit."""
        self.exit(_EXIT_USAGE, f"{self.prog}: {' '.join(message.split())} (see {self.prog} --help)\n")


class _HelpAction(argparse.Action):
    """Print the help with all verbs, which costs reading every verb's source, only when asked."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show this help and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.epilog = _overview()
        parser.print_help()
        parser.exit()


def _parse(argv: Sequence[str] | None) -> tuple[_verbs.Verb, argparse.Namespace]:
    """Parse the command line, importing only the verb it names."""
    parser = _Parser(
        prog="neuro_ros",
        usage="%(prog)s [-h] [--version] [-v | -q] VERB ...",
        description="Event cameras and spiking networks for ROS 2: offline tools and bring-up.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action=_HelpAction)
    parser.add_argument("--version", action="version", version=f"neuro_ros {version()}")
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("-v", "--verbose", action="store_true", help="log more to stderr")
    loudness.add_argument("-q", "--quiet", action="store_true", help="log errors only")
    parser.add_argument("verb", metavar="VERB", help="what to do, see below")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    outer = parser.parse_args(argv)
    if outer.verb not in _verbs.names():
        parser.error(f"there is no verb {outer.verb!r}; there are: {', '.join(_verbs.names())}")
    verb = _verbs.load(outer.verb)
    verb_parser = _Parser(prog=f"neuro_ros {outer.verb}", description=verb.SUMMARY)
    verb.add_arguments(verb_parser)
    args = verb_parser.parse_args(outer.rest)
    level = logging.DEBUG if outer.verbose else logging.ERROR if outer.quiet else logging.INFO
    # Everything but the result goes to stderr, so that stdout can be piped on.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("neuro_ros").setLevel(level)
    return verb, args


def _complain(text: object) -> int:
    """Print one line on stderr and return the exit code of wrong usage."""
    sys.stderr.write("neuro_ros: " + " ".join(str(text).split()) + "\n")
    return _EXIT_USAGE


def _silence_stdout() -> None:
    """Point stdout at nothing, so that the flush at exit does not fail a second time."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; ``sys.argv`` when not given.

    Returns
    -------
    int
        The exit code, see the module.
    """
    try:
        verb, args = _parse(argv)
        code = verb.main(args)
        sys.stdout.flush()
        return code
    except SystemExit as exit_request:  # argparse has printed its line
        return exit_request.code if isinstance(exit_request.code, int) else _EXIT_USAGE
    except BrokenPipeError:  # the reader of stdout, head for one, has seen enough
        _silence_stdout()
        return _EXIT_PIPE_CLOSED
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except NeuroRosError as error:
        return _complain(error)
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error)
    except Exception:  # the one boundary: a fault of ours must be seen whole, and must not read as "good"
        _LOGGER.exception("a fault in neuro_ros itself; please report it with the lines below")
        return _EXIT_BAD
