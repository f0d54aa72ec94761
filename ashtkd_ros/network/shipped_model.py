# SPDX-License-Identifier: Apache-2.0
"""The network that comes with the package."""

from __future__ import annotations

import os
from pathlib import Path

from ashtkd_ros.errors import VprError

_MODEL = Path('models', 'ashtkd_student.onnx')


def shipped_model() -> Path:
    """Path of the student network: in the source tree, or where colcon has installed it."""
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    shares = [Path(prefix, 'share', 'ashtkd_ros') for prefix in prefixes if prefix]
    for folder in (Path(__file__).resolve().parents[2], *shares):
        if (folder / _MODEL).is_file():
            return folder / _MODEL
    raise VprError(f'{_MODEL.name} is not installed; give a model, or source install/setup.bash')
