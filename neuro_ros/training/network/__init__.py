# SPDX-License-Identifier: Apache-2.0
"""Networks in torch whose forward pass computes the engine's integers: neurons, weights, layers, conversion."""
