# SPDX-License-Identifier: Apache-2.0
"""Recording of a node's answers by the command `live`, in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from ashtkd_ros.cli.child_process import child_process
from ashtkd_ros.errors import VprError
from ashtkd_ros.text import one_line

_END_S = 10.0  # it has a node to end first


def record_live(
    map_folder: Path, source: Path, answers: Path, options: Mapping[str, object]
) -> None:
    """Play a source through a node of its own, and write what it answers to the file `answers`.

    `options`: name of an option of `live`, without dashes → value; an empty value is left out. ROS
    stays in the other process. Its warnings are printed. Raises VprError where ROS is not there or
    the process fails, with the reason that it gave. The other process and its node end with this
    call, whatever ends it.
    """
    command = [sys.executable, '-m', 'ashtkd_ros.ros.play.live', map_folder, source, '-o', answers]
    for name, value in options.items():
        command += [f'--{name}', value] if value else []
    given = [str(part) for part in command]
    with child_process('live', given, True, _END_S) as live:
        status, lines = live.process.wait(), live.lines()
    if status == 0:
        for line in lines:
            print(one_line(line), file=sys.stderr)
        return
    last = lines[-1] if lines else f'status {status}'
    if 'No module named' in last:
        raise VprError('--live needs ROS 2; source its setup.bash, or leave out --live')
    raise VprError(f'the live replay failed: {last.removeprefix("error: ")}')
