# SPDX-License-Identifier: Apache-2.0
"""A training run: settings, loop, losses, checkpoints, several processes, and what is shown of it."""
