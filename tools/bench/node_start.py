# SPDX-License-Identifier: Apache-2.0
"""How long vpr_node takes from the start of its process until it is active, and its memory then.

    python -m tools.bench.node_start

The map is that of the rendered town. The first start, which reads files that the system may not
have in memory yet, is not counted. The CPU time changes less than the time if other programs run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ashtkd_ros.cli.command import run_command
from ashtkd_ros.errors import VprError
from tools.town import build_town_map

NODE = 'ashtkd_ros.ros.node.vpr_node'


def start_once(module: str, place_map: Path) -> tuple[float, float, float]:
    """Seconds until the node is active; its CPU seconds and resident memory in MB at that time."""
    command = [sys.executable, '-m', module, '--ros-args', '-p', f'map_path:={place_map}']
    started = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stderr:
                if ' active: ' in line:
                    seconds = time.perf_counter() - started
                    return seconds, cpu_seconds(process.pid), resident_mb(process.pid)
        finally:
            process.terminate()
    raise VprError(f'{module}: the node did not become active; run it by hand to see why')


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, of all its threads, in seconds."""
    fields = Path(f'/proc/{pid}/stat').read_text(encoding='ascii').rpartition(')')[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf('SC_CLK_TCK')


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB."""
    status = Path(f'/proc/{pid}/status').read_text(encoding='ascii')
    return int(status.partition('VmRSS:')[2].split()[0]) * 1024 / 1e6


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--starts', type=int, default=5, help='starts that count (default: 5)')
    parser.add_argument(
        '--module', default=NODE, help=f'module of the node, to compare versions (default: {NODE})'
    )
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        place_map = build_town_map(Path(folder))
        runs = [start_once(args.module, place_map) for _ in range(1 + args.starts)][1:]
    seconds, cpu, memory = np.median(runs, axis=0)
    print(
        f'active {seconds:.2f} s after the start of the process, {cpu:.2f} s of CPU time, '
        f'{memory:.0f} MB resident (medians of {len(runs)} starts)'
    )
    return 0


if __name__ == '__main__':
    run_command(main)
