# SPDX-License-Identifier: Apache-2.0
"""vpr_trial with stand-ins for what it starts: processes that wait, and a check list that ends
with the status in CHECK_STATUS. "child NAME" is such a process."""

from __future__ import annotations

import os
import signal
import sys

from ashtkd_ros.ros.trial import supervisor
from ashtkd_ros.ros.trial.trial_plan import TrialPlan

NAMES = ('trial_recorder', 'trial_watch', '/vpr_node')


def wait_for_signal() -> None:
    """End with status 0 on SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        signal.pause()


def main() -> None:
    """The trial."""
    child = [sys.executable, __file__, 'child']
    status = os.environ.get('CHECK_STATUS', '0')
    TrialPlan.commands = lambda self, trial: {name: [*child, name] for name in NAMES}
    TrialPlan.check_command = lambda self, trial: [
        sys.executable,
        '-c',
        f'raise SystemExit({status})',
    ]
    supervisor.main()


if __name__ == '__main__':
    wait_for_signal() if sys.argv[1:2] == ['child'] else main()
