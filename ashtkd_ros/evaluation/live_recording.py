# SPDX-License-Identifier: Apache-2.0
"""Recording of a node's answers by the command `live`, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.text import one_line


def record_live(
    map_folder: Path, source: Path, answers: Path, options: Mapping[str, object]
) -> None:
    """Play a source through a node of its own, and write what it answers to the file `answers`.

    `options`: name of an option of `live`, without dashes → value; an empty value is left out. ROS
    stays in the other process. Its warnings are printed. Raises VprError where ROS is not there or
    the process fails, with the reason that it gave.
    """
    command = [sys.executable, '-m', 'ashtkd_ros.ros.play.live', map_folder, source, '-o', answers]
    for name, value in options.items():
        command += [f'--{name}', value] if value else []
    process = subprocess.run([str(part) for part in command], stderr=subprocess.PIPE, text=True)
    lines = process.stderr.strip().splitlines() or [f'status {process.returncode}']
    if process.returncode == 0:
        for line in process.stderr.splitlines():
            print(one_line(line), file=sys.stderr)
    elif 'No module named' in lines[-1]:
        raise VprError('--live needs ROS 2; source its setup.bash, or leave out --live')
    else:
        raise VprError(f'the live replay failed: {lines[-1].removeprefix("error: ")}')
