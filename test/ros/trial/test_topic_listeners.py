# SPDX-License-Identifier: Apache-2.0
"""Listening to topics whose publishers, types and middleware are odd."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.serialization import deserialize_message
from ros_helpers import until
from std_msgs.msg import Int32, String

from ashtkd_ros.bags.mcap_writer import RecordedTopic
from ashtkd_ros.ros.trial import topic_listeners
from ashtkd_ros.ros.trial.topic_listeners import TopicListeners

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros


class Ears:
    """TopicListeners in a node of their own; `heard`: topics and messages, `lost`: numbers."""

    def __init__(self) -> None:
        self.heard: list[tuple[RecordedTopic, bytes]] = []
        self.lost: list[int] = []
        self.node = rclpy.create_node('ears')
        self.listeners = TopicListeners(self.node, ['/words'], self._keep, self.lost.append)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)

    def _keep(self, topic: RecordedTopic, received_ns: int, data: bytes) -> None:
        self.heard.append((topic, data))

    def step(self) -> None:
        self.listeners.look()
        self._executor.spin_once(timeout_sec=0.05)

    def until_heard(self, publisher, text: str) -> None:
        """Publish until it is heard."""

        def step() -> None:
            publisher.publish(String(data=text))
            self.step()

        until(lambda: text in self.texts(), f'"{text}" on /words', step)

    def texts(self) -> list[str]:
        return [deserialize_message(data, String).data for _, data in self.heard]

    def subscription(self):
        [found] = self.node.subscriptions
        return found

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()


@pytest.fixture
def ears(ros) -> Iterator[Ears]:
    ears = Ears()
    yield ears
    ears.close()


def test_empty_messages_without_end_are_cured(ears: Ears) -> None:
    publisher = ears.node.create_publisher(String, '/words', 10)
    ears.until_heard(publisher, 'before')
    broken = ears.subscription()
    for _ in range(10):
        broken.callback(b'')
    ears.step()
    assert ears.subscription() is broken
    for _ in range(11):  # at once; Fast DDS gives 10000 a second where a message is damaged
        broken.callback(b'')
    ears.step()
    assert ears.subscription() is not broken
    ears.until_heard(publisher, 'after')
    assert b'' not in [data for _, data in ears.heard]


def test_what_was_under_way_before_is_not_lost(ears: Ears, monkeypatch) -> None:
    publisher = ears.node.create_publisher(String, '/words', 10)
    ears.until_heard(publisher, 'here')
    [event] = ears.subscription().event_handlers
    event.callback(SimpleNamespace(total_count_change=3))
    assert ears.lost == []
    monkeypatch.setattr(topic_listeners.time, 'monotonic', lambda: float('inf'))
    event.callback(SimpleNamespace(total_count_change=2))
    assert ears.lost == [2]


def test_of_two_types_the_first_is_recorded(ears: Ears, capfd) -> None:
    publisher = ears.node.create_publisher(String, '/words', 10)
    ears.until_heard(publisher, 'here')
    apart = rclpy.Context()  # in one, Fast DDS has one type for a topic
    rclpy.init(context=apart)
    other = rclpy.create_node('other', context=apart)
    other.create_publisher(Int32, '/words', 10)
    said = []
    monitor = 'has messages of std_msgs/msg/Int32 as well, NOT recorded'
    until(lambda: said.append(capfd.readouterr().err) or monitor in ''.join(said), 'it', ears.step)
    other.destroy_node()
    apart.try_shutdown()
    ears.until_heard(publisher, 'still here')
    assert {topic.type for topic, _ in ears.heard} == {'std_msgs/msg/String'}
    assert ''.join(said).count(monitor) == 1


def test_a_type_that_is_not_installed_is_told_once(ears: Ears, monkeypatch, capfd) -> None:
    monkeypatch.setattr(topic_listeners, 'message_class', lambda _: None)
    ears.node.create_publisher(String, '/words', 10)
    until(lambda: ears.node.count_publishers('/words'), 'the publisher', ears.step)
    for _ in range(3):
        ears.step()
    assert ears.listeners.waiting == ['/words']
    text = '/words: NOT recorded, for std_msgs/msg/String is not installed here; source the'
    assert capfd.readouterr().err.count(text) == 1
