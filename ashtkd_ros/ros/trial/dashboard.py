# SPDX-License-Identifier: Apache-2.0
"""Show in the terminal what a vpr_node and a trial do, live; keys mark what happens.

Works over ssh. Without a terminal it prints a line whenever something changes, once a second at
most.

example: ros2 run ashtkd_ros vpr_dashboard
example: ros2 run ashtkd_ros vpr_dashboard --node /front/vpr_node
example: ros2 run ashtkd_ros vpr_dashboard --plain > drive.txt
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

from rich.console import Console

from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import print_lines
from ashtkd_ros.ros.play.play_options import own_arguments
from ashtkd_ros.ros.session import end_on_signal, ros_session
from ashtkd_ros.ros.signals import interrupt_once
from ashtkd_ros.ros.trial.trial_topics import TrialTopics
from ashtkd_ros.trials.dashboard.alerts import alerts
from ashtkd_ros.trials.dashboard.keys import HELP, QUIT, Keys
from ashtkd_ros.trials.dashboard.plain_lines import PlainLines
from ashtkd_ros.trials.dashboard.state import DashboardState
from ashtkd_ros.trials.dashboard.terminal import (
    Keyboard,
    Screen,
    errors_afterwards,
    single_keys,
)
from ashtkd_ros.trials.dashboard.view import View
from ashtkd_ros.trials.vocabulary import WRONG

_FRAME_S, _LINE_S = 1 / 3, 1.0  # from one frame, or line, to the next
_MOST_OF_A_CORE, _LONGEST_S = 0.04, 1.0  # between two frames: the share is kept by waiting
_NO_SCREEN = ('', 'dumb', 'unknown')  # TERM


class Dashboard:
    """What the screen and the plain lines share: what is heard, and the keys."""

    def __init__(self, node: str):
        self.state = DashboardState()
        self.topics = TrialTopics(self.state, node)
        self.has_keys = sys.stdin is not None and sys.stdin.isatty()
        self.keys = Keys(self.state.now)
        self.keyboard = Keyboard(sys.stdin.fileno() if self.has_keys else None)
        self.typed = ''
        self._next, self._used = 0.0, time.process_time()

    def wait(self, seconds: float) -> bool:
        """Listen; True when `seconds` are over since the last time, False when a key came before.

        On a slow machine it takes longer. KeyboardInterrupt where a signal ends it.
        """
        self.typed = self.keyboard.read(max(self._next - self.state.now(), 0.0))
        end_on_signal()
        if self.state.now() < self._next:
            return False
        self.topics.poll()
        used, self._used = self._used, time.process_time()
        pause = min(max(seconds, (self._used - used) / _MOST_OF_A_CORE), _LONGEST_S)
        self._next = self.state.now() + pause
        return True

    def obey(self, characters: str) -> bool:
        """Do what was typed; whether to go on."""
        for kind, text in self.keys.press(characters):
            if kind == QUIT:
                return False
            self.topics.mark(kind, self.state.present_place() if kind == WRONG else text)
        return True


def _show_screen(dashboard: Dashboard, console: Console) -> None:
    """Draw until q is pressed."""
    state, told = dashboard.state, set()
    view = View(state, dashboard.keys if dashboard.has_keys else None)
    with contextlib.ExitStack() as put_back:
        put_back.enter_context(errors_afterwards())
        if dashboard.has_keys:
            put_back.enter_context(single_keys(sys.stdin.fileno()))
        put_back.enter_context(console.screen())
        screen = Screen(console)
        while True:
            dashboard.wait(_FRAME_S)
            if not dashboard.obey(dashboard.typed):
                return
            bad = {alert.what for alert in alerts(state) if alert.bad}
            size = screen.size
            screen.draw(view.screen(*size, screen.ascii_only), size, bell=bool(bad - told))
            told = bad


def _print_plainly(dashboard: Dashboard) -> None:
    """Print until q is typed, and Enter."""
    lines, keys = PlainLines(dashboard.state), dashboard.keys
    while True:
        is_time = dashboard.wait(_LINE_S)
        for line in dashboard.typed.splitlines():
            text = keys.typing or line[:2] in ('l ', 'n ')
            if not (text or len(line) == 1):
                print_lines('type one key and Enter; ? tells which; "n TEXT" is a note')
            elif not dashboard.obey(f'{line}\n' if text else line):
                return
            if keys.help:
                print_lines(*(f'{key}: {text}' for key, text in HELP))
        if is_time:
            print_lines(*lines.new())


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    argv = sys.argv if argv is None else ['vpr_dashboard', *argv]
    parser = make_parser(__doc__)
    add = parser.add_argument
    add(
        '--node',
        default='',
        help='full name of the vpr_node, where there are several (default: the only one)',
    )
    add('--plain', action='store_true', help='print lines, even on a terminal')
    args = parser.parse_args(own_arguments(argv))
    plain = args.plain or not sys.stdout.isatty() or os.environ.get('TERM', '') in _NO_SCREEN

    def command() -> int:
        interrupt_once()
        with ros_session(argv):
            dashboard = Dashboard(args.node)
            with contextlib.closing(dashboard.topics):
                if plain:
                    _print_plainly(dashboard)
                else:
                    _show_screen(dashboard, Console(highlight=False))
            end_on_signal()
        return 0

    run_command(command)


if __name__ == '__main__':
    main()
