# SPDX-License-Identifier: Apache-2.0
"""What `ros2 run ashtkd_ros ...` starts, a file a command."""
