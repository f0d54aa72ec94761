# SPDX-License-Identifier: Apache-2.0
"""Which changes of the diagnostics become lines of log."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from ashtkd_ros.ros.node import console

LEVELS = {'o': b'\0', 'w': b'\1', 'e': b'\2'}


@pytest.mark.parametrize(
    ('levels', 'logged'),
    [  # one a second
        ('eeeo', 'o'),
        ('oowwww', 'ow'),
        (20 * 'wwo', 'w'),
        ('oow' + 30 * 'o', 'owo'),
        ('oweweoow' + 5 * 'o' + 'e', 'owe'),
        ('oe' + 30 * 'w' + 30 * 'o', 'oewo'),
    ],
)
def test_worse_at_once_better_when_it_lasts(levels: str, logged: str, monkeypatch) -> None:
    lines, clock = [], SimpleNamespace(now=100.0)
    logger = SimpleNamespace(
        error=lambda line: lines.append(('e', line)),
        warning=lambda line: lines.append(('w', line)),
        info=lambda line: lines.append(('o', line)),
    )
    monkeypatch.setattr(console.time, 'monotonic', lambda: clock.now)
    log = console.DiagnosticsLog(logger)
    for level in levels:
        log.report_level(LEVELS[level], f'it is {level}')
        clock.now += 1.0
    assert ''.join(kind for kind, _ in lines) == logged
    assert all(line.endswith(f'it is {kind}') for kind, line in lines)
