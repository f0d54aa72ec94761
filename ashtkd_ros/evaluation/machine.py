# SPDX-License-Identifier: Apache-2.0
"""The machine that durations were measured on: date, processor and versions."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

_PACKAGES = {
    'ashtkd_ros': ('ashtkd_ros',),
    'ONNX Runtime': ('onnxruntime', 'onnxruntime-gpu', 'onnxruntime-openvino'),
    'FAISS': ('faiss-cpu', 'faiss-gpu', 'faiss'),
    'OpenCV': ('opencv-python-headless', 'opencv-python', 'opencv-contrib-python', 'opencv'),
    'NumPy': ('numpy',),
}


def measured_on() -> dict[str, str]:
    """Date (UTC), processor and versions, as text for a report."""
    versions = [f'{name} {_version(names)}' for name, names in _PACKAGES.items()]
    return {
        'Date': datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M UTC'),
        'Processor': f'{_processor()}, {len(os.sched_getaffinity(0))} cores',
        'Versions': ', '.join([*versions, f'Python {platform.python_version()}']),
    }


def _version(names: tuple[str, ...]) -> str:
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return 'of unknown version'


def _processor() -> str:
    """The processor as the kernel names it; on ARM boards that is the name of the board."""
    for file, key in (('/proc/cpuinfo', 'model name'), ('/proc/device-tree/model', '')):
        try:
            lines = Path(file).read_text(errors='replace').splitlines()
        except OSError:
            continue
        found = [line.partition(':')[2] if key else line for line in lines if key in line]
        if found and found[0].strip('\0 '):
            return found[0].strip('\0 ')
    return platform.machine()
