# SPDX-License-Identifier: Apache-2.0
"""What ``neuro_ros bench`` measures, one module an area, found by listing this folder.

An area module defines ``benchmarks(report) -> Iterator[Benchmark]``. Peers are measured in the same run, in turn with
ours, because a machine's speed drifts: what counts is the ratio. A peer that is not installed is left out and named.
"""
