# SPDX-License-Identifier: Apache-2.0
"""Minutes of a trial, also where the system's clock was set while it ran."""

from __future__ import annotations

from trial_maker import M0, T0, entry

from ashtkd_ros.trials.trial_clock import TrialClock
from ashtkd_ros.trials.trial_log import LogEntry
from ashtkd_ros.trials.vocabulary import CLOCK_JUMP, NOTE, STARTED


def set_by(seconds: float, at: float) -> LogEntry:
    """An event after the system's clock was set."""
    return LogEntry(CLOCK_JUMP, '', T0 + round((at + seconds) * 1e9), M0 + round(at * 1e9))


def system(at: float, ahead: float = 0.0) -> int:
    return T0 + round((at + ahead) * 1e9)


def test_seconds_count_from_the_start_by_the_steady_clock():
    clock = TrialClock.of([entry(0, STARTED, ''), entry(5, NOTE, '')])
    assert clock.seconds(system(90)) == 90.0 and clock.of_entry(entry(30, NOTE, '')) == 30.0


def test_messages_keep_their_second_where_the_system_clock_is_set():
    for ahead in (3600.0, -3600.0):
        clock = TrialClock.of([entry(0, STARTED, ''), entry(59, NOTE, ''), set_by(ahead, 60.0)])
        assert clock.was_set == 1
        assert clock.seconds(system(30)) == 30.0
        assert clock.seconds(system(120, ahead)) == 120.0


def test_the_configuration_tells_the_start_where_the_log_is_gone():
    told = {'started_ns': T0, 'started_monotonic_ns': M0}
    assert TrialClock.of([], told).seconds(system(7)) == 7.0
    damaged = {'started_ns': 'yesterday', 'started_monotonic_ns': None}
    assert TrialClock.of([], damaged, system(2)).seconds(system(7)) == 5.0


def test_the_first_message_may_come_before_the_first_entry():
    clock = TrialClock.of([entry(50, NOTE, '')], {}, system(2))
    assert clock.seconds(system(2)) == 0.0 and clock.of_entry(entry(50, NOTE, '')) == 48.0


def test_an_entry_of_another_time_is_none_of_the_trial():
    late, early = LogEntry(NOTE, '', 10**18, 10**18), LogEntry(NOTE, '', T0, M0 - 10**12)
    clock = TrialClock.of([early, entry(0, STARTED, ''), entry(9, NOTE, ''), late])
    assert clock.was_set == 0 and clock.seconds(system(5)) == 5.0
    assert not clock.holds(late) and not clock.holds(early)
