# SPDX-License-Identifier: Apache-2.0
"""A subscription that is served by a thread of its own, not by the executor.

rclpy's executor looks through all services, timers and events of a node whenever it wakes. An
event handler of the subscription wakes it about twenty times for each large image although nothing
is ready: this costs about a millisecond for each image, and a service call would wait while an
image is copied. The thread waits as `rclpy.wait_for_message` does.
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
_MOST_VOID = 10  # takes in a row, after which it is no accident


class NoExecutorGroup(MutuallyExclusiveCallbackGroup):
    """Callback group of subscriptions and their events that no executor serves."""

    def can_execute(self, entity: object) -> bool:
        """Never."""
        return False


class SubscriptionThread:
    """Calls `receive(message)` for each message of a subscription in `NoExecutorGroup`.

    The events of the subscription are handled in the same thread. If a message cannot be taken, or
    `receive` raises an error, the error is passed to `on_error`, and the thread goes on.

    Fast DDS may, once in a hundred times that a stream of large messages is joined, say without
    end that there is a message, and give none, or one without content. Such a message is not
    received. After a few in a row `on_void` is called, and the thread slows down: only another
    subscription helps.
    """

    def __init__(
        self,
        node: Node,
        subscription: Subscription,
        receive: Callable[[Any], None],
        on_error: Callable[[Exception], None],
        on_void: Callable[[], None] = lambda: None,
    ):
        self._context, self._subscription = node.context, subscription
        self._receive, self._on_error, self._on_void = receive, on_error, on_void
        self._void, self._without_content = 0, subscription.msg_type()
        self._closed = threading.Event()
        self._stop = GuardCondition(callback=None, callback_group=None, context=node.context)
        self._thread: threading.Thread | None = None

    @property
    def gives_nothing(self) -> bool:
        """Whether messages are announced, and for a while none was one."""
        return self._void > _MOST_VOID

    def start(self) -> None:
        """Receive from now on."""
        self._thread = start_thread('receiver', self._run)

    def close(self) -> None:
        """End the thread; waits until `receive` has returned."""
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
                except Exception as error:  # without this thread nothing would be received
                    self._on_error(error)
                    self._closed.wait(_PAUSE_S)

    def _wait_set(self, held: contextlib.ExitStack) -> _rclpy.WaitSet:
        """What the thread waits for; nothing of it can be destroyed before `held` is closed."""
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
            self._take()

    def _take(self) -> None:
        if self.gives_nothing:
            self._on_void()
            self._closed.wait(_PAUSE_S)
        self._void += 1  # unless it turns out to be a message
        taken = self._subscription.handle.take_message(self._subscription.msg_type, False)
        if taken is not None and taken[0] != self._without_content:
            self._void = 0
            self._receive(taken[0])
