# SPDX-License-Identifier: Apache-2.0
"""Lifecycle shells over the cores: parameters, message conversion, QoS. The only folder that imports rclpy."""
