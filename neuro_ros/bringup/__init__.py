# SPDX-License-Identifier: Apache-2.0
"""Brings the graph up and looks back at it: what runs, how processes are kept alive, replay, report. No rclpy."""
