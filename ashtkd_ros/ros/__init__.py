# SPDX-License-Identifier: Apache-2.0
"""The thin ROS 2 layer around the core."""
