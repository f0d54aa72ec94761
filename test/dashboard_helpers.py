# SPDX-License-Identifier: Apache-2.0
"""What the tests of the dashboard share: a clock that stands, a drive, a drawn screen."""

from __future__ import annotations

import io
import math
import time

import numpy as np
from rich.cells import cell_len
from rich.console import Console

from ashtkd_ros.trials.dashboard.keys import Keys
from ashtkd_ros.trials.dashboard.state import DashboardState
from ashtkd_ros.trials.dashboard.view import View
from ashtkd_ros.trials.trial_log import LogEntry

NODE = '/front/vpr_node'
NODE_VALUES = {
    'state': 'active',
    'images received Hz': '10.0',
    'places published Hz': '9.5',
    'latency p50 ms': '23.2',
    'latency p95 ms': '31.4',
    'images dropped': '7',
    'seconds since last image': '0.1',
    'camera faults': '3',
    'bad images': '1',
    'last confidence': '0.870',
    'lowest confidence': '0.500',
    'last refusal': '',
}
RECORDER_VALUES = {
    'state': 'recording',
    'messages': '12034',
    'bytes': '1000000',
    'lost': '0',
    'disk free MB': '12345',
    'topics': '14',
    'file': 'bag_0.mcap',
}
# control characters, an escape sequence, wide, piled, reversing, invisible, emoji with selectors
HOSTILE = (
    '\x1b[2J\x1b[31mred\a\r\n\t',
    '東京都千代田区' * 60,
    'e' + '\u0301' * 500,
    '\u202eright to left\u2066',
    '\u200b\ufeff\ue000\ud800',
    '👩\u200d👩\u200d👧 ❤\ufe0f' * 40,
    'x' * 100_000,
    '[bold]markup[/] [link=x]',
    '',
)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def hear_status(state: DashboardState, name: str, values=None, level=0, text='', bag='') -> None:
    state.hear_status(name, level, text, bag, values or {})


def driving(clock: Clock) -> DashboardState:
    """In the middle of a trial, all is well."""
    state = DashboardState(clock)
    state.follow(NODE)
    turns = np.linspace(0, 6, 120)
    state.hear_places(np.stack([40 * np.cos(turns), 30 * np.sin(turns)], axis=1))
    state.hear_place([('12', 0.87), ('13', 0.05)])
    state.hear_name('Church door')
    state.hear_pose(40.0, 0.0, math.pi / 2)
    hear_status(state, f'{NODE}: place recognition', NODE_VALUES, text='active')
    hear_status(state, 'trial: recorder', RECORDER_VALUES, text='recording', bag='/trials/day/bag')
    hear_status(state, 'trial: watch')
    state.hear_event(LogEntry('started', 'the trial day has begun').to_json())
    return state


def drawn(
    state: DashboardState, width: int = 80, height: int = 24, keys: Keys | None = None
) -> list[str]:
    """The lines of the screen; each must be as wide as it, without control characters."""
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True)
    screen = View(state, keys or Keys(time.monotonic)).screen(width, height)
    options = console.options.update(width=width, height=height)
    lines = [
        ''.join(segment.text for segment in line)
        for line in console.render_lines(screen, options, pad=True)
    ]
    assert len(lines) <= height
    assert {cell_len(line) for line in lines} == {width}
    assert all(character >= ' ' for line in lines for character in line)
    return lines


def screen_text(state: DashboardState, *size: int, keys: Keys | None = None) -> str:
    return '\n'.join(drawn(state, *size, keys=keys))
