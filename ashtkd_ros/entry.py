# SPDX-License-Identifier: Apache-2.0
"""Where every installed command begins, so that Ctrl-C amid its imports leaves no traceback."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path

from ashtkd_ros.cli.standard_streams import open_standard_streams

COMMANDS = {  # name → module with its `main`; setup.py reads this
    'vpr_node': 'ashtkd_ros.ros.node.vpr_node',
    'vpr_trial': 'ashtkd_ros.ros.trial.supervisor',
    'trial_check': 'ashtkd_ros.ros.trial.check',
    'trial_watch': 'ashtkd_ros.ros.trial.watch',
    'replay': 'ashtkd_ros.ros.play.replay',
    'live': 'ashtkd_ros.ros.play.live',
    'trial_recorder': 'ashtkd_ros.ros.trial.recorder',
    'build_map': 'ashtkd_ros.commands.build_map',
    'evaluate': 'ashtkd_ros.commands.evaluate',
    'calibrate': 'ashtkd_ros.commands.calibrate',
    'map_info': 'ashtkd_ros.commands.map_info',
    'map_tools': 'ashtkd_ros.commands.map_tools',
    'bag_tools': 'ashtkd_ros.commands.bag_tools',
    'trials': 'ashtkd_ros.commands.trials',
    'vpr_dashboard': 'ashtkd_ros.ros.trial.dashboard',
}
_INTERRUPTED = 130


def main() -> None:
    """Run the command whose name this process has, or whose name follows `-m ashtkd_ros.entry`.

    SIGINT and SIGTERM amid the imports end it at once, with status 130: nothing has begun.
    """
    open_standard_streams()
    if Path(sys.argv[0]).name == Path(__file__).name:
        del sys.argv[0]
    path = Path(sys.argv[0]) if sys.argv else Path(__file__)
    name = path.stem if path.stem in COMMANDS else path.resolve().stem  # a link may be renamed
    if name not in COMMANDS:
        sys.exit(f'error: "{path.stem}" is no command; those are {", ".join(COMMANDS)}')
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, _end)
    run = importlib.import_module(COMMANDS[name]).main
    try:
        for number, handler in before.items():
            signal.signal(number, handler)
        run()
    except KeyboardInterrupt:  # before it began to heed signals itself
        _end()


def _end(*_: object) -> None:
    """End without cleaning up: an exception amid an import may be printed, or lost."""
    try:
        os.write(2, b'interrupted\n')
    finally:
        os._exit(_INTERRUPTED)


if __name__ == '__main__':
    main()
