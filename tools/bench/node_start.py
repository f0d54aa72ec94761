# SPDX-License-Identifier: Apache-2.0
"""How long vpr_node takes from the start of its process until it is active, and its memory then.

    python -m tools.bench.node_start

The map is that of the rendered town. The first start, which reads files that the system may not
have in memory yet, is not counted. The CPU time changes less than the time if other programs run.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np

from ashtkd_ros.cli.arguments import positive_count
from ashtkd_ros.cli.child_process import child_process
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.play.node_process import NODE_MODULE, node_command
from ashtkd_ros.ros.play.observer import wait_for
from tools.process_usage import cpu_s, resident_mib
from tools.town import build_town_map

_LONGEST_S = 120.0


def start_once(module: str, place_map: Path) -> tuple[float, float, float]:
    """Seconds until the node is active; its CPU seconds and resident memory in MiB at that time.

    VprError where it ends or is not active after 120 s.
    """
    command = node_command(f'/start_{os.getpid()}', {'map_path': place_map}, 'info', module)
    started = time.perf_counter()
    with child_process(module, command) as node:

        def is_active() -> bool:
            return any(' active: ' in line for line in node.lines())

        if not wait_for(is_active, _LONGEST_S, node.check):
            raise VprError(f'{module} is not active after {_LONGEST_S:.0f} s; run it to see why')
        return time.perf_counter() - started, cpu_s(node.pid), resident_mib(node.pid)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add(
        '--starts',
        type=positive_count,
        default=5,
        help='number of starts that count (default: %(default)d)',
    )
    add(
        '--module',
        default=NODE_MODULE,
        help='module of the node, to compare versions (default: %(default)s)',
    )
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        place_map = build_town_map(Path(folder))
        runs = [start_once(args.module, place_map) for _ in range(1 + args.starts)][1:]
    seconds, cpu, memory = np.median(runs, axis=0)
    print(
        f'active {seconds:.2f} s after the start of the process, {cpu:.2f} s of CPU time, '
        f'{memory:.0f} MiB resident (medians of {len(runs)} starts)'
    )
    return 0


if __name__ == '__main__':
    run_command(main)
