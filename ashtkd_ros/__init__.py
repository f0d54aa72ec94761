# SPDX-License-Identifier: Apache-2.0
"""Visual place recognition for mobile robots: the core, free of ROS and of torch."""
