# SPDX-License-Identifier: Apache-2.0
"""A subscription that is served by a thread of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from ros_helpers import PATIENCE_S, until
from std_msgs.msg import ColorRGBA

from ashtkd_ros.ros.node.threaded_subscription import NoExecutorGroup, SubscriptionThread

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros


class Ends:
    """A node that receives, with what came and what failed, and a publisher to it."""

    def __init__(self, context: Context, receive: Callable | None = None):
        self.node = Node('ends', context=context)
        self.came: list[float] = []
        self.failed: list[Exception] = []
        self.void: list[float] = []
        self.publisher = self.node.create_publisher(ColorRGBA, 'colour', 100)
        subscription = self.node.create_subscription(
            ColorRGBA, 'colour', lambda _: None, 100, callback_group=NoExecutorGroup()
        )
        keep = receive or (lambda message: self.came.append(message.r))
        self.receiver = SubscriptionThread(
            self.node,
            subscription,
            keep,
            self.failed.append,
            lambda: self.void.append(time.monotonic()),
        )
        self.receiver.start()

    def send(self, *numbers: float) -> None:
        until(self.publisher.get_subscription_count, 'the subscription', lambda: time.sleep(0.01))
        for number in numbers:
            self.publisher.publish(ColorRGBA(r=number))

    def wait(self, condition: Callable[[], object], what: str) -> None:
        until(condition, what, lambda: time.sleep(0.01))


@pytest.fixture
def context(ros) -> Iterator[Context]:
    context = Context()
    context.init()
    yield context
    context.try_shutdown()


def threads() -> int:
    return sum(thread.name == 'receiver' for thread in threading.enumerate())


def test_messages_come_in_order_without_an_executor(context: Context) -> None:
    ends = Ends(context)
    ends.send(1.0, 2.0, 3.0)
    ends.wait(lambda: len(ends.came) == 3, 'three messages')
    assert ends.came == [1.0, 2.0, 3.0] and not ends.failed
    ends.receiver.close()
    ends.receiver.close()
    assert threads() == 0
    ends.node.destroy_node()


def test_an_executor_leaves_them_alone(context: Context) -> None:
    ends = Ends(context, receive=lambda _: time.sleep(0.05))
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(ends.node)
    ends.send(1.0, 2.0)
    woken = []
    original = executor._take_subscription
    executor._take_subscription = lambda sub: woken.append(sub) or original(sub)
    for _ in range(20):
        executor.spin_once(timeout_sec=0.01)
    assert woken == []
    ends.receiver.close()
    executor.shutdown()
    ends.node.destroy_node()


def test_what_receiving_raises_is_told_and_the_next_message_comes(context: Context) -> None:
    came = []

    def receive(message: ColorRGBA) -> None:
        came.append(message.r)
        if message.r == 1.0:
            raise ValueError('no colour')

    ends = Ends(context, receive)
    ends.send(1.0, 2.0)
    ends.wait(lambda: len(came) == 2, 'both messages')
    assert [str(error) for error in ends.failed] == ['no colour']
    ends.receiver.close()
    ends.node.destroy_node()


def test_messages_without_content_are_told_of_and_take_no_time(context: Context) -> None:
    """As Fast DDS gives them, ten thousand a second and without end."""
    ends = Ends(context)
    ends.send(*[0.0] * 9, 1.0, *[0.0] * 10, 2.0)
    ends.wait(lambda: len(ends.came) == 2, 'what has content')
    assert ends.void == [] and not ends.receiver.gives_nothing
    began = time.monotonic()
    while len(ends.void) < 5:
        assert time.monotonic() < began + PATIENCE_S
        ends.send(*[0.0] * 10)
    assert ends.receiver.gives_nothing
    assert all(after - before > 0.09 for before, after in pairwise(ends.void)), ends.void
    ends.wait(lambda: ends.send(3.0) or 3.0 in ends.came, 'the next one')
    ends.wait(lambda: not ends.receiver.gives_nothing, 'the end of it')
    assert ends.came[:2] == [1.0, 2.0] and not ends.failed
    ends.receiver.close()
    ends.node.destroy_node()


@pytest.mark.parametrize('error', [None, RuntimeError('damaged')], ids=['nothing', 'error'])
def test_what_is_announced_and_cannot_be_taken_is_told_of(context: Context, error) -> None:
    taken, void = 0, []

    def take(*_: object) -> None:
        nonlocal taken
        taken += 1
        if error is not None:
            raise error

    node = Node('ends', context=context)
    subscription = SimpleNamespace(handle=SimpleNamespace(take_message=take), msg_type=ColorRGBA)
    receiver = SubscriptionThread(node, subscription, print, print, lambda: void.append(taken))
    for _ in range(13):
        with contextlib.suppress(RuntimeError):
            receiver._take()
    assert void == [11, 12] and receiver.gives_nothing
    receiver.close()
    node.destroy_node()


def test_closing_waits_for_the_message_in_hand(context: Context) -> None:
    begun, ended = threading.Event(), []

    def receive(message: ColorRGBA) -> None:
        begun.set()
        time.sleep(0.2)
        ended.append(message.r)

    ends = Ends(context, receive)
    ends.send(1.0)
    assert begun.wait(10.0)
    ends.receiver.close()
    assert ended == [1.0] and threads() == 0
    ends.node.destroy_node()


def test_it_closes_after_its_context_has_ended(context: Context) -> None:
    ends = Ends(context)
    context.shutdown()
    ends.receiver.close()
    assert threads() == 0 and not ends.failed


def test_a_receiver_that_never_started_closes(context: Context) -> None:
    node = Node('idle', context=context)
    subscription = node.create_subscription(
        ColorRGBA, 'colour', lambda _: None, 10, callback_group=NoExecutorGroup()
    )
    SubscriptionThread(node, subscription, print, print).close()
    node.destroy_node()
