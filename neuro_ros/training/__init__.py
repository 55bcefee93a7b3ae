# SPDX-License-Identifier: Apache-2.0
"""Training of integer spiking networks, in torch.

The forward pass is the integer network itself, so there is nothing to convert afterwards. This is the only folder
that needs torch; nodes never import it.

`network` holds the layers and their arithmetic, `run` the loop and what surrounds it, `judge` what a trained network is
worth; here lie the data and the jobs, each from recordings to a model: `pipeline` (the shipped gesture network),
`dataset_job` (any data set) and `quantise_job` (from floating point).
"""
