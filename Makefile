# SPDX-License-Identifier: Apache-2.0
#
#   make demo                      the whole graph on the gesture simulator, or RECORDING=path
#   make demo-rollout              a good model is promoted and a faulty one rolled back, on the running graph
#   make test, make test-long      the tests with reduced and with full counts; ARGS='-k lava' goes to pytest
#   make bench                     speed beside the peers of scripts/pins/peers.txt; ARGS=events takes one area
#   make lint, make clean
#
# Each does the set-up it needs. ROS_DISTRO=kilted takes the other distribution, PYTHON=python3.12 another interpreter.

ROS_DISTRO ?= jazzy
export ROS_DISTRO
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-rollout test test-long bench lint clean
MAKEFLAGS += --no-print-directory

help:
	@sed -n 's/^#  *make /  make /p' Makefile

setup:
	@scripts/setup

demo: setup
	@scripts/with-env scripts/demo $(if $(RECORDING),"$(RECORDING)")

demo-rollout: setup
	@scripts/with-env python -m neuro_ros.bringup.rollout_demo $(ARGS)

test: setup
	@scripts/with-env python -m pytest $(ARGS)

test-long: setup
	@scripts/with-env python -m pytest --long -o timeout=7000 -o faulthandler_timeout=7200 $(ARGS)

bench: setup
	@scripts/with-env scripts/bench $(ARGS)

lint: setup
	@scripts/with-env ruff check .
	@scripts/with-env ruff format --check --quiet .
	@scripts/with-env mypy

clean:
	rm -rf .work .pytest_cache .mypy_cache .ruff_cache .hypothesis
