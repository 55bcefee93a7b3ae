# SPDX-License-Identifier: Apache-2.0
"""What a trained network is worth: figures, comparisons, the guard before it is written, and the card that tells."""
