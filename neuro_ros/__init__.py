# SPDX-License-Identifier: Apache-2.0
"""Event cameras, Loihi-compatible spiking networks and ROS 2, for gesture recognition on robots.

The subpackages do the science and know nothing of ROS; only ``neuro_ros.nodes``
imports rclpy. The generated ``neuro_ros.msg`` and ``neuro_ros.srv`` share this
name and may lie in another directory (a colcon install space), which is why the
package's path is extended over every entry of ``sys.path``.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
