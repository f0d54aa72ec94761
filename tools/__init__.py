# SPDX-License-Identifier: Apache-2.0
"""Training, measuring and rendering; nothing of it is installed on a robot."""

import ashtkd_ros  # noqa: F401  before ONNX Runtime: its telemetry is off
