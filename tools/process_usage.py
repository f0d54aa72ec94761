# SPDX-License-Identifier: Apache-2.0
"""What a running process has used so far: CPU time and memory, as Linux tells them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

MIB = 2**20  # bytes


def cpu_s(pid: int) -> float:
    """CPU time of a process in s, with that of threads that have ended; to about 0.01 s."""
    fields = Path(f'/proc/{pid}/stat').read_text(encoding='utf-8').rpartition(')')[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf('SC_CLK_TCK')


def threads_cpu_s(pid: int, is_wanted: Callable[[str], bool]) -> float:
    """CPU time in s of those threads of a process whose name `is_wanted`; the main one is main."""
    spent = 0
    for task in Path(f'/proc/{pid}/task').iterdir():
        name = (task / 'comm').read_text(encoding='utf-8').strip()
        if is_wanted('main' if task.name == str(pid) else name):
            spent += int((task / 'schedstat').read_text(encoding='utf-8').split()[0])
    return spent / 1e9


def resident_mib(pid: int) -> float:
    """Resident memory of a process in MiB."""
    status = Path(f'/proc/{pid}/status').read_text(encoding='utf-8')
    return int(status.partition('VmRSS:')[2].split()[0]) * 1024 / MIB
