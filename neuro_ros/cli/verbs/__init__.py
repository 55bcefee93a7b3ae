# SPDX-License-Identifier: Apache-2.0
"""One module a verb of the ``neuro_ros`` command, found by listing this folder.

A verb module defines

``SUMMARY``
    One line for ``neuro_ros --help``, a plain string literal: it is read from
    the source without importing the module.
``add_arguments(parser)``
    Declares the verb's arguments on an `argparse.ArgumentParser`.
``main(args) -> int``
    Does the work and returns the exit code: 0 good, 1 the answer is bad. Wrong
    usage and unreadable input are raised as `neuro_ros.errors.NeuroRosError`.

The verb's name is the module's, with ``_`` written as ``-`` and a trailing
``_`` dropped (``import_.py`` is the verb ``import``). Modules whose name begins
with ``_`` are helpers of the verbs, not verbs. Heavy libraries are imported
inside ``main``.
"""
