# SPDX-License-Identifier: Apache-2.0
"""The observer of a node: what it hears, and what it tells of a node that does not answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

import rclpy
from ros_helpers import TOWN, image_message, until
from vision_msgs.msg import Classification, ObjectHypothesis

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.play.message_stamps import stamp_ns_of
from ashtkd_ros.ros.play.observer import NodeTopics, Observer
from ashtkd_ros.traverses.image_folder import read_source

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros


def test_only_what_was_sent_is_heard_and_once(ros) -> None:
    observer = Observer(NodeTopics('/twice/vpr_node', '/twice/image', '/twice/place'))
    node = rclpy.create_node('vpr_node', namespace='/twice')
    places = node.create_publisher(Classification, 'place', 10)
    try:
        until(places.get_subscription_count, 'the listener', lambda: None)
        until(lambda: observer.count_publishers('/twice/place'), 'the node', lambda: None)
        for stamp in (1.5, 1.5, 2.5):
            observer.publish(image_message(np.zeros((2, 2, 3), np.uint8), stamp))
        for stamp, place in ((0.5, 7), (1.5, 3), (1.5, 4), (2.5, 5)):
            message = Classification(results=[ObjectHypothesis(class_id=str(place))])
            message.header.stamp.sec, message.header.stamp.nanosec = int(stamp), 500_000_000
            places.publish(message)
        until(lambda: 2_500_000_000 in observer.answers, 'the last', lambda: None)
        assert len(observer.sent) == 2
        heard = {stamp: observer.answer_to(stamp).places for stamp in observer.answers}
        assert heard == {1_500_000_000: [3], 2_500_000_000: [5]}
        assert observer.repeated == {1_500_000_000}
    finally:
        observer.close()
        observer.destroy_node()
        node.destroy_node()


@pytest.fixture
def observer(ros) -> Iterator[Observer]:
    """The observer of a node that is not there."""
    topics = NodeTopics('/absent/vpr_node', '/absent/image', '/absent/vpr_node/place')
    observer = Observer(topics)
    yield observer
    observer.close()
    observer.destroy_node()


def test_a_frame_that_is_not_answered_is_named(observer: Observer) -> None:
    with pytest.raises(VprError, match=r'/absent/vpr_node has not answered 0000\.jpg within 0 s'):
        observer.ask(read_source(TOWN / 'day')[0], 0.2)


def test_a_node_that_has_ended_is_not_waited_for(ros) -> None:
    def ended() -> None:
        raise VprError('vpr_node ended')

    topics = NodeTopics('/absent/vpr_node', '/absent/image', '/absent/vpr_node/place')
    with contextlib.closing(Observer(topics, check_node=ended)) as observer:
        frame = read_source(TOWN / 'day')[0]
        waits = (observer.wait_until_active, lambda: observer.wait_for_answers(1))
        for wait in (*waits, lambda: observer.ask(frame)):
            with pytest.raises(VprError, match='vpr_node ended'):
                wait()
    observer.destroy_node()


def test_a_node_that_answers_nothing_is_named(observer: Observer) -> None:
    observer.check_answered(0)
    with pytest.raises(VprError, match=r'/absent/vpr_node has answered none of 8 images; it says'):
        observer.check_answered(8)


def test_a_place_without_a_number_is_refused(observer: Observer) -> None:
    cat = Classification(results=[ObjectHypothesis(class_id='cat')])
    observer.answers[7] = cat, 0.0
    with pytest.raises(VprError, match='/absent/vpr_node/place: the place IDs are not numbers'):
        observer.answer_to(7)


def test_stamps_of_serialized_messages() -> None:
    head = (7).to_bytes(4, 'little') + (9).to_bytes(4, 'little')
    assert stamp_ns_of(b'\0\1\0\0' + head + b'more') == 7_000_000_009
    head = (7).to_bytes(4, 'big') + (9).to_bytes(4, 'big')
    assert stamp_ns_of(b'\0\0\0\0' + head) == 7_000_000_009
    with pytest.raises(VprError, match='11 bytes'):
        stamp_ns_of(b'\0\1\0\0' + head[:7])
