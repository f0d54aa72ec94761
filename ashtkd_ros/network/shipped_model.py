# SPDX-License-Identifier: Apache-2.0
"""The network that comes with the package."""

from __future__ import annotations

from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.shipped import shipped_file

_MODEL = Path('models', 'ashtkd_student.onnx')


def shipped_model() -> Path:
    """Path of the student network: in the source tree, or where colcon has installed it."""
    if (found := shipped_file(_MODEL)) is not None:
        return found
    raise VprError(f'{_MODEL.name} is not installed; give a model, or source install/setup.bash')
