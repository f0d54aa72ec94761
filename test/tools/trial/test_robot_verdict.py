# SPDX-License-Identifier: Apache-2.0
"""A fault counts as named by an event of its kind, about its process, at the right minute."""

from __future__ import annotations

import pytest

from tools.trial import plan
from tools.trial.verdict import Injected, Named, judge, unexplained


def made(fault: str, minute: float, seconds: float = 0.0) -> Injected:
    return Injected(plan.Fault(0.0, fault, seconds), minute)


UNPLUGGED = made(plan.CAMERA_UNPLUGGED, 0.20, 4.0)
STOPPED = Named(0.22, 'camera stopped', 'the camera is silent')


@pytest.mark.parametrize(
    'event, is_named',
    [
        (STOPPED, True),
        (Named(0.29, 'camera stopped', ''), True),
        (Named(0.31, 'camera stopped', ''), False),  # too late
        (Named(0.31, 'camera stopped', '', lasted_s=2.0), True),  # for 2 s, it says
        (Named(0.22, 'camera fault', ''), False),  # something else
    ],
)
def test_kind_and_minute_decide(event: Named, is_named: bool):
    (verdict,) = judge([UNPLUGGED], [event])
    assert (verdict.named is event) == is_named
    assert ('NOT NAMED' in verdict.line()) != is_named


def test_of_a_process_that_was_killed_the_event_must_be_about_it():
    killed = made(plan.RECORDER_KILLED, 0.5)
    other = Named(0.5, 'process died', '', '/vpr_node')
    own = Named(0.52, 'process died', '', 'trial_recorder')
    assert [v.named for v in judge([killed], [other, own])] == [own]
    assert judge([made(plan.NODE_KILLED, 0.5)], [own, other])[0].named is other


def test_one_event_names_one_fault():
    verdicts = judge([UNPLUGGED, made(plan.CAMERA_UNPLUGGED, 0.25)], [STOPPED])
    assert [v.named for v in verdicts] == [STOPPED, None]


def test_what_nobody_made_is_told_and_what_goes_as_planned_is_not():
    odd = Named(0.9, 'gnss jump', '')
    events = [STOPPED, odd, Named(0.9, 'camera back', ''), Named(0.0, 'started', '')]
    assert unexplained([UNPLUGGED], events) == [odd]
