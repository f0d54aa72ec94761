# SPDX-License-Identifier: Apache-2.0
"""The pauses after which a node whose network failed is activated again."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from rclpy.lifecycle import TransitionCallbackReturn

from ashtkd_ros.ros.node.failure_recovery import FailureRecovery
from ashtkd_ros.ros.node.health import Health


class FakeNode:
    """Of the node, what the recovery asks of it; `timers`: those that run, with their seconds."""

    def __init__(self):
        self.state, self.health, self.timers = 'active', Health(), {}
        self.executor = SimpleNamespace(create_task=lambda task: task())
        self.recovery = FailureRecovery(self)

    def get_parameter(self, name: str):
        return SimpleNamespace(value=True)

    def get_logger(self):
        return SimpleNamespace(error=lambda text: None, info=lambda text: None)

    def trigger_deactivate(self) -> None:
        self.state = 'inactive'

    def trigger_activate(self) -> TransitionCallbackReturn:
        self.recovery.begin()
        self.state = 'active'
        return TransitionCallbackReturn.SUCCESS

    def create_timer(self, seconds: float, callback, clock) -> object:
        timer = object()
        self.timers[timer] = seconds, callback
        return timer

    def destroy_timer(self, timer: object) -> None:
        del self.timers[timer]

    def fail(self) -> None:
        for _ in range(10):
            self.recovery.count_failure('broken')
        assert self.state == 'inactive'


def test_each_pause_is_longer_and_ends_once_however_the_node_is_activated() -> None:
    node = FakeNode()
    for expected in (10.0, 20.0, 40.0):
        node.fail()
        ((seconds, _),) = node.timers.values()
        assert seconds == expected
        assert node.recovery.reactivate()  # a map that was reloaded, before the pause is over
        assert not node.timers
    node.fail()
    ((seconds, end),) = node.timers.values()
    assert seconds == 80.0
    end()
    assert node.state == 'active' and not node.timers
