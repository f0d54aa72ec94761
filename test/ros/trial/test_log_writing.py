# SPDX-License-Identifier: Apache-2.0
"""Lines that the disk refuses are written down as soon as it takes them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from ros_helpers import PATIENCE_S

from ashtkd_ros.ros.trial.log_writing import LogWriter
from ashtkd_ros.trials.trial_log import LogEntry, TrialLog


def texts(log: TrialLog) -> list[str]:
    return [entry.text for entry in log.read()[0]]


def test_a_log_that_cannot_be_written_for_a_while(tmp_path: Path):
    marks, events = TrialLog(tmp_path / 'marks.jsonl'), TrialLog(tmp_path / 'events.jsonl')
    marks.path.mkdir()
    writer, acknowledged = LogWriter(), []
    waits = [
        writer.write(marks, LogEntry('note', text), lambda text=text: acknowledged.append(text))
        for text in ('one', 'two')
    ]
    assert writer.write(events, LogEntry('started', 'other')).wait(PATIENCE_S)
    assert texts(events) == ['other'] and acknowledged == []
    assert str(marks.path) in writer.fault
    marks.path.rmdir()
    assert all(wait.wait(PATIENCE_S) for wait in waits)
    writer.close(PATIENCE_S)
    assert texts(marks) == acknowledged == ['one', 'two'] and writer.fault == ''


def test_what_is_refused_to_the_end_is_given_up(tmp_path: Path):
    writer, log = LogWriter(), TrialLog(tmp_path / 'none' / 'marks.jsonl')
    writer.write(log, LogEntry('note', 'lost'))
    writer.close(PATIENCE_S)
    assert 'cannot be written' in writer.fault
