# SPDX-License-Identifier: Apache-2.0
"""replay as a process of its own: a folder of images or a bag as a camera."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

import bag_helpers
import rclpy
from bag_helpers import cut, playback, write_bag
from conftest import line_of
from rclpy.executors import SingleThreadedExecutor
from rclpy.serialization import deserialize_message
from ros_helpers import EXIT_S, PLAYED, TOWN, Process, town_bag, until
from sensor_msgs.msg import CompressedImage, Image
from test_video_traverse import write_video

from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.play.image_publisher import ImagePublisher
from ashtkd_ros.traverses.image_folder import read_source

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros


class Listener:
    """Keeps every image of a topic."""

    def __init__(self, kind: type, topic: str, raw: bool = False):
        self.images: list = []
        self.node = rclpy.create_node('listener')
        self.node.create_subscription(kind, topic, self.images.append, 100, raw=raw)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)

    def hear(self, count: int) -> None:
        until(lambda: len(self.images) >= count, f'{count} images', self.spin)

    def spin(self) -> None:
        self._executor.spin_once(timeout_sec=0.02)

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()


@pytest.fixture
def listen(ros) -> Iterator[Callable[..., Listener]]:
    listeners = []

    def make(kind: type, topic: str, raw: bool = False) -> Listener:
        listeners.append(Listener(kind, topic, raw))
        return listeners[-1]

    yield make
    for listener in listeners:
        listener.close()


@pytest.fixture
def replay(ros, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts the command; what a failed test leaves behind is killed."""
    processes = []

    def start(*arguments: object) -> Process:
        processes.append(Process(tmp_path / 'replay', 'ashtkd_ros.ros.play.replay', *arguments))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()


@pytest.fixture
def shuffled_walk(tmp_path: Path) -> Path:
    """A few frames whose CSV is not in order of time."""
    folder = tmp_path / 'walk'
    shutil.copytree(TOWN / 'day', folder)
    header, *rows = (folder / 'poses.csv').read_text().splitlines()
    rows = [rows[i] for i in np.random.default_rng(0).permutation(PLAYED)]
    (folder / 'poses.csv').write_text('\n'.join([header, *rows]) + '\n')
    return folder


def check_stamps(images: list, frames: list) -> None:
    stamps = [image.header.stamp.sec + image.header.stamp.nanosec * 1e-9 for image in images]
    assert stamps == pytest.approx([frame.stamp for frame in frames], abs=1e-9)
    assert stamps == sorted(stamps)


def test_every_image_once_in_order_of_time(replay, listen, shuffled_walk: Path) -> None:
    listener = listen(Image, 'camera/front')
    process = replay(shuffled_walk, '--hz', 20, '--ros-args', '-r', 'image:=camera/front')
    listener.hear(PLAYED)
    assert process.wait() == 0, process.stderr
    listener.spin()
    frames = read_source(shuffled_walk)
    assert len(listener.images) == PLAYED
    check_stamps(listener.images, frames)
    for image, frame in zip(listener.images, frames, strict=True):
        assert (image.encoding, image.header.frame_id) == ('rgb8', 'camera')
        pixels = np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3)
        assert np.array_equal(pixels, frame.read())
    assert process.stdout == f'{PLAYED} images played\n'
    assert process.stderr == ''


def test_compressed_images_are_the_files_bytes(replay, listen, shuffled_walk: Path) -> None:
    listener = listen(CompressedImage, 'image')
    process = replay(shuffled_walk, '--hz', 20, '--compressed')
    listener.hear(PLAYED)
    assert process.wait() == 0, process.stderr
    frames = read_source(shuffled_walk)
    check_stamps(listener.images, frames)
    for image, frame in zip(listener.images, frames, strict=True):
        assert bytes(image.data) == frame.file.read_bytes()
        assert cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR) is not None


def test_what_cannot_be_decoded_is_told_at_the_end(replay, listen, tmp_path: Path) -> None:
    path = write_video(tmp_path / 'v.avi')
    data = path.read_bytes()
    second = data.index(b'\xff\xd8\xff', data.index(b'\xff\xd8\xff') + 1)
    path.write_bytes(data[:second] + bytes(200) + data[second + 200 :])
    listener = listen(Image, 'image')
    process = replay(path, '--hz', 100)
    listener.hear(149)
    assert process.wait() == 0
    assert process.stdout == '149 images played\n'
    assert process.stderr == f'note: {path}: 1 image of 150 cannot be decoded\n'


def failure(process: Process) -> str:
    """The one line that a failed command leaves."""
    assert process.wait() == 1, process.stderr
    (line,) = process.stderr.splitlines()
    assert line.startswith('error: ')
    return line


def test_a_folder_without_a_csv(replay, tmp_path: Path) -> None:
    assert 'neither poses.csv' in failure(replay(tmp_path))


def test_a_broken_image(replay, listen, shuffled_walk: Path) -> None:
    listener = listen(Image, 'image')
    read_source(shuffled_walk)[1].file.write_bytes(b'no image')
    assert 'not a readable image' in failure(replay(shuffled_walk, '--hz', 20))
    listener.hear(1)


def test_nobody_listens(replay) -> None:
    line = failure(replay(TOWN / 'day', '--wait', 0.3))
    assert 'nobody subscribes to /image; check that the node is active' in line


def test_who_listens_elsewhere_or_for_another_type_is_named(ros) -> None:
    publisher, context = ImagePublisher(), rclpy.Context()
    context.init()  # one process has one type of a topic
    listener = rclpy.create_node('listener', context=context)
    try:
        for topic, kind, told in (
            (
                '/camera/image_raw',
                Image,
                ', but to /camera/image_raw; name it with --ros-args -r ',
            ),
            (
                '/image',
                CompressedImage,
                ', but as sensor_msgs/msg/CompressedImage; set image_transport ',
            ),
        ):
            listener.create_subscription(kind, topic, lambda message: None, 1)
            until(lambda t=topic: publisher.count_subscribers(t), topic, lambda: time.sleep(0.02))
            with pytest.raises(VprError, match='nobody subscribes to /image') as error:
                publisher.wait_for_subscriber(-1)
            assert told in line_of(error)
    finally:
        listener.destroy_node()
        publisher.destroy_node()
        context.shutdown()


@pytest.mark.parametrize('hz', ['0', '-1', 'nan', 'inf', 'fast'])
def test_a_bad_rate_is_a_bad_argument(hz: str, capsys) -> None:
    from ashtkd_ros.ros.play.replay import main

    with pytest.raises(SystemExit) as error:
        main([str(TOWN / 'day'), f'--hz={hz}'])
    assert error.value.code == 2
    assert '--hz' in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_its_status_tells(replay, listen, signal_number: int) -> None:
    listener = listen(Image, 'image')
    process = replay(TOWN / 'day', '--hz', 5)
    listener.hear(2)
    status, seconds = process.stop(signal_number)
    assert seconds < EXIT_S
    assert (status, process.stdout, process.stderr) == (130, '', 'interrupted\n')


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_for_a_subscriber(replay, ros, signal_number: int) -> None:
    process = replay(TOWN / 'day')
    camera = rclpy.create_node('observer')
    until(lambda: camera.count_publishers('image'), 'the camera', lambda: None)
    camera.destroy_node()
    status, seconds = process.stop(signal_number)
    assert seconds < EXIT_S
    assert (status, process.stdout, process.stderr) == (130, '', 'interrupted\n')


def ros1_bag(path: Path) -> Path:
    frames = read_source(TOWN / 'day')[:PLAYED]
    return write_bag(path, [(10 + f.stamp, f.read()) for f in frames], compression='bz2')


BAGS = {
    'raw': (Image, lambda folder: town_bag(folder / 'bag')),
    'jpeg': (CompressedImage, lambda folder: town_bag(folder / 'b', jpeg=True, storage='mcap')),
    'ros1': (Image, lambda folder: ros1_bag(folder / 'walk.bag')),
}


@pytest.mark.parametrize('kind', BAGS)
def test_a_bags_messages_byte_for_byte(kind: str, replay, listen, tmp_path: Path) -> None:
    type_, make = BAGS[kind]
    path = make(tmp_path)
    listener = listen(type_, 'image', raw=True)
    process = replay(path, '--rate', 4)
    listener.hear(PLAYED)
    assert process.wait() == 0, process.stderr
    assert (process.stdout, process.stderr) == (f'{PLAYED} images played\n', '')
    bag = Bag(path)
    (topic,) = (t.name for t in bag.topics.values() if 'Image' in t.type)
    recorded = [data for _, _, data in bag.serialized([topic])]
    assert len(listener.images) == PLAYED
    for heard, data in zip(listener.images, recorded, strict=True):
        assert heard[: len(data)] == data
        assert len(heard) - len(data) < 4  # on the wire whole words
    messages = [message for _, _, message in bag.messages([topic])]
    for heard, message in zip(listener.images, messages, strict=True):
        played = deserialize_message(heard, type_)
        stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in (played, message)]
        assert stamps[0] == stamps[1]
        assert played.header.frame_id == message.header.frame_id == 'camera_optical'
        assert bytes(played.data) == message.data.tobytes()


def test_pauses_are_kept_and_told(tmp_path: Path, capsys) -> None:
    records = [
        bag_helpers.image(9.0, np.zeros((2, 2), np.uint8), received=t) for t in (1.0, 2.0, 9.5)
    ]
    bag = write_bag(tmp_path / 'bag', records=records)
    assert [seconds for seconds, _ in playback(bag)] == pytest.approx([0, 1, 8.5])
    assert 'a pause of 7.5 s follows' in capsys.readouterr().out
    assert [seconds for seconds, _ in playback(bag, hz=4)] == [0, 0.25, 0.5]
    assert capsys.readouterr().out == ''


def test_a_folder_is_played_evenly() -> None:
    assert [s for s, _ in playback(TOWN / 'day')][:3] == pytest.approx([0, 0.1, 0.2])
    assert [s for s, _ in playback(TOWN / 'day', hz=5.0)][:3] == pytest.approx([0, 0.2, 0.4])


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (('--image-topic', '/nose'), '/nose is not a topic with images; those are: /camera'),
        (('--role', 'query'), '--role is for folders'),
        (('--compressed',), 'leave --compressed out'),
    ],
)
def test_options_that_do_not_fit_a_bag(options, said: str, tmp_path: Path, capsys) -> None:
    from ashtkd_ros.ros.play.replay import main

    with pytest.raises(SystemExit):
        main([str(town_bag(tmp_path / 'bag')), *options])
    assert said in capsys.readouterr().err


def test_an_image_topic_is_for_bags(capsys) -> None:
    from ashtkd_ros.ros.play.replay import main

    with pytest.raises(SystemExit):
        main([str(TOWN / 'day'), '--image-topic', '/camera'])
    assert '--image-topic is for bags' in capsys.readouterr().err


def test_nothing_there(tmp_path: Path, capsys) -> None:
    from ashtkd_ros.ros.play.replay import main

    with pytest.raises(SystemExit):
        main([str(tmp_path / 'nothing')])
    assert 'no such folder or file' in capsys.readouterr().err


def test_a_bag_that_was_cut_off(replay, listen, tmp_path: Path) -> None:
    bag = cut(ros1_bag(tmp_path / 'walk.bag'), 0.5)
    assert str(bag) in failure(replay(bag))
