# SPDX-License-Identifier: Apache-2.0
"""Training of integer spiking networks, in torch.

The forward pass is the integer network itself, so there is nothing to convert afterwards. This is the only folder
that needs torch; nodes never import it.
"""
