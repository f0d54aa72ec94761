# SPDX-License-Identifier: Apache-2.0
"""What the recorder's diagnostics in a bag tell the report."""

from __future__ import annotations

from types import SimpleNamespace

from ashtkd_ros.trials.bag_watch import BagWatch
from ashtkd_ros.trials.trial_clock import TrialClock
from ashtkd_ros.trials.vocabulary import MESSAGES_LOST, RECORDER_STATUS

FIRST_NS, S = 1_795_000_000 * 10**9, 10**9


def events_of(*told: dict[str, str]) -> list[str]:
    """The kinds of events by what the recorder told once a second."""
    watch = BagWatch(TrialClock.of([], None, FIRST_NS), {})
    for second, values in enumerate(told):
        pairs = [SimpleNamespace(key=k, value=v) for k, v in values.items()]
        status = SimpleNamespace(name=RECORDER_STATUS, values=pairs)
        message = SimpleNamespace(status=[status])
        watch.hear('diagnostics', '/diagnostics', FIRST_NS + second * S, message)
    return [event.kind for event in watch.events]


def test_messages_that_a_full_disk_lost_are_not_told_again():
    """Nothing is recorded while the disk is full: the first thing after it is the number."""
    good = {'state': 'recording', 'lost': '0', 'bytes': '9'}
    full = {**good, 'lost': '80', 'lost: disk': '80'}
    assert events_of(good, full) == []
    assert events_of(good, {**full, 'lost': '90', 'lost: queue full': '10'}) == [MESSAGES_LOST]
