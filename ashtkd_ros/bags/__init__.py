# SPDX-License-Identifier: Apache-2.0
"""Rosbags of every kind, read without ROS."""
