# SPDX-License-Identifier: Apache-2.0
"""A trial under its load: CPU and memory of each of its processes, and what the recorder loses.

    python -m tools.bench.trial_load --minutes 30

The simulated robot of tools.trial drives round the rendered town, in real time: a camera at 10 Hz,
odometry at 50 Hz. The dashboard draws on a terminal of 80 x 24 that nobody looks at. Memory is
read after two minutes and at the end; shorter runs are read after a tenth of their time.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.cli.arguments import positive
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import print_lines
from ashtkd_ros.ros.session import ros_session
from ashtkd_ros.ros.trial.processes import running
from ashtkd_ros.stamps import stamp_to_ns
from ashtkd_ros.trials.folder import TrialFolder
from tools.process_usage import cpu_s, resident_mib
from tools.town import DUSK, build_town_map
from tools.trial.operator import Operator
from tools.trial.plan import PlannedTrial
from tools.trial.robot import IMAGE_TOPIC
from tools.trial.supervised import TRUTH, RunningTrial, Site, running_trial

_SIZE = (24, 80)  # lines and columns of the terminal
_WARM_S = 120.0
_DASHBOARD = 'vpr_dashboard'
Usage = dict[str, tuple[float, float]]  # process → CPU time so far in s, memory in MiB


@contextlib.contextmanager
def dashboard() -> Iterator[int]:
    """The dashboard on a terminal of its own, whose output is read and let go; its pid."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', *_SIZE, 0, 0))
    command = [sys.executable, '-m', 'ashtkd_ros.ros.trial.dashboard']
    environment = {**os.environ, 'TERM': 'xterm-256color'}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)

    def read() -> None:
        with contextlib.suppress(OSError):  # of a terminal that nobody writes to any more
            while os.read(ours, 65536):
                pass

    threading.Thread(target=read, daemon=True).start()
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)
        os.close(ours)


def usage(processes: Mapping[str, int]) -> Usage:
    """Of running processes, name → pid."""
    return {name: (cpu_s(pid), resident_mib(pid)) for name, pid in processes.items()}


def images_lost(trial: TrialFolder) -> tuple[int, int]:
    """How many images the robot has sent while the bag was recorded, and how many of them are not
    in it."""
    recorded = set()
    for path in trial.bags():
        with contextlib.closing(Bag(path)) as bag:
            found = bag.messages([IMAGE_TOPIC])
            recorded |= {stamp_to_ns(message.header.stamp) for _, _, message in found}
    with (trial.path / TRUTH).open(encoding='utf-8', newline='') as file:
        sent = {int(row['stamp_ns']) for row in csv.DictReader(file) if row['image'] == '1'}
    due = {stamp for stamp in sent if min(recorded) <= stamp <= max(recorded)}
    return len(due), len(due - recorded)


def measure(trial: RunningTrial, operator: Operator, minutes: float) -> None:
    """Drive for so long, and print what each process has used."""

    def drive_until(seconds: float) -> None:
        while (left := seconds - trial.seconds) > 0:
            trial.supervisor.check()
            operator.wait(left)

    with dashboard() as pid:
        trial.robot.go()
        drive_until(min(_WARM_S, 6.0 * minutes))
        processes = {**running(trial.folder.path), _DASHBOARD: pid}
        begun, first = time.monotonic(), usage(processes)
        drive_until(60.0 * minutes)
        seconds, last = time.monotonic() - begun, usage(processes)
    print_lines(f'{seconds:.0f} s, {os.cpu_count()} cores')
    for name, (cpu, mib) in last.items():
        share, growth = 100 * (cpu - first[name][0]) / seconds, 100 * (mib / first[name][1] - 1)
        print_lines(
            f'{name:>14}: {share:5.1f} % of a core, {first[name][1]:.0f} MiB, '
            f'at the end {mib:.0f} MiB ({growth:+.1f} %)'
        )


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    text = 'how long to drive (default: %(default)g)'
    parser.add_argument('--minutes', type=positive, default=2.0, help=text)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name, ros_session([]):
        folder = Path(name)
        site = Site(folder / 'trials', build_town_map(folder))
        planned = PlannedTrial('load', 'dusk', 60.0 * args.minutes)
        with (
            contextlib.closing(Operator()) as operator,
            running_trial(planned, [str(DUSK)], site, operator) as trial,
        ):
            measure(trial, operator, args.minutes)
        due, lost = images_lost(trial.folder)
        megabytes = sum(f.stat().st_size for b in trial.folder.bags() for f in b.iterdir()) / 1e6
        print_lines(f'{due} images sent, {lost} of them not recorded; {megabytes:.0f} MB')
    return 0


if __name__ == '__main__':
    run_command(main)
