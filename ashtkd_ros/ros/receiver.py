# SPDX-License-Identifier: Apache-2.0
"""A subscription with a thread of its own.

rclpy's executor looks through all services, timers and events of a node for each message, which
costs a camera's image about a millisecond; and a call would wait while an image is copied. The
thread waits as `rclpy.wait_for_message` does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.subscription import Subscription

from ashtkd_ros.ros.threads import start_thread


class OffExecutor(MutuallyExclusiveCallbackGroup):
    """Callback group of subscriptions, with their events, that no executor serves."""

    def can_execute(self, entity: object) -> bool:
        """Never."""
        return False


class Receiver:
    """Calls `receive(message)` in a thread for each message of a subscription in `OffExecutor`.

    Its events are handled there too. A message that cannot be taken, and what `receive` raises,
    goes to `failed`; the thread goes on.
    """

    def __init__(
        self,
        node: Node,
        subscription: Subscription,
        receive: Callable[[Any], None],
        failed: Callable[[Exception], None],
    ):
        self._context, self._subscription = node.context, subscription
        self._receive, self._failed = receive, failed
        self._open = True
        self._stop = GuardCondition(callback=None, callback_group=None, context=node.context)
        self._thread = start_thread('receiver', self._run)

    def close(self) -> None:
        """End the thread; returns when the message in hand has been received."""
        self._open = False
        self._stop.trigger()
        self._thread.join()
        self._stop.destroy()

    def _run(self) -> None:
        events, context = self._subscription.event_handlers, self._context.handle
        with contextlib.ExitStack() as held:
            for used in (self._subscription.handle, self._stop.handle, context, *events):
                held.enter_context(used)
            ready = _rclpy.WaitSet(1, 1, 0, 0, 0, len(events), context)
            while self._open and self._context.ok():
                try:
                    self._wait(ready, events)
                except Exception as error:  # a thread that dies would leave a deaf node
                    self._failed(error)

    def _wait(self, ready, events: list) -> None:
        ready.clear_entities()
        ready.add_subscription(self._subscription.handle)
        ready.add_guard_condition(self._stop.handle)
        for event in events:
            event.add_to_wait_set(ready)
        ready.wait(-1)
        for event in events:
            if event.is_ready(ready):
                event.callback(event.take_data())
        if self._subscription.handle.pointer in ready.get_ready_entities('subscription'):
            taken = self._subscription.handle.take_message(self._subscription.msg_type, False)
            if taken is not None:
                self._receive(taken[0])
