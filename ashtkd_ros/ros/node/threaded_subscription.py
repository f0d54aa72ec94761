# SPDX-License-Identifier: Apache-2.0
"""A subscription with a thread of its own.

rclpy's executor looks through all services, timers and events of a node whenever it wakes. An
event handler of the subscription wakes it some twenty times for each large image, with nothing
ready: about a millisecond an image; and a call would wait while an image is copied. The thread
waits as `rclpy.wait_for_message` does.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.subscription import Subscription

from ashtkd_ros.ros.threads import start_thread

_PAUSE_S = 0.1  # after an error, which may come again at once


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
        self._closed = threading.Event()
        self._stop = GuardCondition(callback=None, callback_group=None, context=node.context)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """From now on."""
        self._thread = start_thread('receiver', self._run)

    def close(self) -> None:
        """End the thread; returns when the message in hand has been received."""
        if self._closed.is_set():
            return
        self._closed.set()
        if self._thread is not None:
            self._stop.trigger()
            self._thread.join()
        self._stop.destroy()

    def _run(self) -> None:
        ready = None
        with contextlib.ExitStack() as held:
            while self._context.ok() and not self._closed.is_set():
                try:
                    ready = ready or self._wait_set(held)
                    self._wait(ready)
                except Exception as error:  # a thread that dies would leave a deaf node
                    self._failed(error)
                    self._closed.wait(_PAUSE_S)

    def _wait_set(self, held: contextlib.ExitStack) -> _rclpy.WaitSet:
        """All that is waited for cannot be destroyed while it is held."""
        events, context = self._subscription.event_handlers, self._context.handle
        for used in (self._subscription.handle, self._stop.handle, context, *events):
            held.enter_context(used)
        return _rclpy.WaitSet(1, 1, 0, 0, 0, len(events), context)

    def _wait(self, ready: _rclpy.WaitSet) -> None:
        messages, events = self._subscription.handle, self._subscription.event_handlers
        ready.clear_entities()
        ready.add_subscription(messages)
        ready.add_guard_condition(self._stop.handle)
        for event in events:
            event.add_to_wait_set(ready)
        ready.wait(-1)
        for event in events:
            if event.is_ready(ready) and (data := event.take_data()) is not None:
                event.callback(data)
        if messages.pointer in ready.get_ready_entities('subscription'):
            taken = messages.take_message(self._subscription.msg_type, False)
            if taken is not None:
                self._receive(taken[0])
