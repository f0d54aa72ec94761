# SPDX-License-Identifier: Apache-2.0
"""live as a process of its own: a source through a node, and the file of answers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

import rclpy
from conftest import checksums
from ros_helpers import MAP_PLACES, PLAYED, TOWN, Peer, Process, save_town, town_bag, until
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.recognition.matcher import Matcher, MatcherConfig
from ashtkd_ros.ros.play import live
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import TraverseOptions

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
RATE = 4.0


@pytest.fixture
def start(ros, town_map: Path, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts the command with the town's map; what a failed test leaves behind is killed."""
    processes = []

    def start(source: Path, *arguments: object, of: Path = town_map) -> Process:
        folder = tmp_path / f'live{len(processes)}'
        given = (of, source, '-o', tmp_path / 'answers.json', '--rate', RATE, *arguments)
        processes.append(Process(folder, 'ashtkd_ros.ros.play.live', *given))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()


def read_answers(process: Process, tmp_path: Path) -> dict:
    """The file of a process that ended well; what it says of itself."""
    assert process.wait() == 0, process.stderr
    values = json.loads((tmp_path / 'answers.json').read_text())
    heard, path = len(values['answers']), tmp_path / 'answers.json'
    assert process.stdout == f'{heard} answers to {PLAYED} images: {path}\n'
    assert process.stderr == ''
    assert (values['schema_version'], values['sent'], values['rate']) == (2, PLAYED, RATE)
    node = {key: int(v) for key, v in values['node'].items() if v.isdecimal()}
    # An image may be dropped by a machine that stalls: not in silence, and no answer is lost.
    assert node['places published'] == heard > 0
    assert values['node']['verification'].startswith(('on, of the ', 'off ('))
    assert node['images received'] == heard + node['images dropped']
    stamps = [answer['stamp_ns'] for answer in values['answers']]
    assert stamps == sorted(set(stamps))
    return values


def check_places(answers: list[dict], source: Path, town_map: Path, count: int) -> None:
    """The answers are those of network and map by themselves."""
    embedder = Embedder(shipped_model())
    matcher = Matcher(PlaceMap.load(town_map, embedder), MatcherConfig(top_k=count))
    given = {answer['stamp_ns']: answer for answer in answers}
    for _, frame in open_traverse(source, TraverseOptions()).frames():
        answer = given.pop(frame.header_ns, None)
        if answer is not None:
            found = matcher.answer(embedder.describe(*frame.pixels())).candidates
            assert answer['places'] == [c.place.id for c in found]
            assert answer['scores'] == pytest.approx([c.confidence for c in found], abs=1e-3)
    assert not given


def test_a_bag_through_a_node_of_its_own(start, town_map: Path, tmp_path: Path) -> None:
    bag = town_bag(tmp_path / 'bag', 'dusk')
    values = read_answers(start(bag, '--player', 'own'), tmp_path)
    assert (values['source'], values['map']) == (str(bag), str(town_map))
    assert values['map_sha256'] == checksums(town_map)['index.faiss']
    assert values['node']['places in map'] == str(MAP_PLACES)
    assert all(answer['seconds'] > 0 for answer in values['answers'])
    check_places(values['answers'], bag, town_map, MAP_PLACES)


def test_a_folder_and_a_map_of_any_name(start, town_map: Path, tmp_path: Path) -> None:
    odd_map, walk = tmp_path / 'a: [map] #1 "ü"', tmp_path / 'walk'
    shutil.copytree(town_map, odd_map)
    shutil.copytree(TOWN / 'dusk', walk)
    lines = (walk / 'poses.csv').read_text().splitlines(keepends=True)
    (walk / 'poses.csv').write_text(''.join(lines[: PLAYED + 1]))
    values = read_answers(start(walk, '--compressed', '--hz', 2, of=odd_map), tmp_path)
    check_places(values['answers'], walk, town_map, MAP_PLACES)


@pytest.mark.parametrize(('transport', 'jpeg'), [('raw', False), ('compressed', True)])
def test_a_node_that_runs_already(
    transport: str, jpeg: bool, start, start_node, town_map: Path, tmp_path: Path
) -> None:
    names = ('-r', '__ns:=/robot', '-r', 'image:=/camera', '-r', '~/place:=/where')
    options = {'map_path': town_map, 'min_confidence': 0.0, 'image_transport': transport}
    node = start_node(*names, **options)
    bag = town_bag(tmp_path / 'bag', 'dusk', jpeg=jpeg, storage='mcap')
    values = read_answers(start(bag, '--node', 'robot/vpr_node'), tmp_path)
    check_places(values['answers'], bag, town_map, 5)
    assert node.alive
    node.end()


def test_a_node_that_runs_with_another_map(start, start_node, town_map: Path, tmp_path: Path):
    smaller, bag = tmp_path / 'smaller', town_bag(tmp_path / 'bag', 'dusk')
    save_town(smaller, Embedder(shipped_model()), 4)
    node = start_node(map_path=town_map)
    line = failure(start(bag, '--node', '/vpr_node', of=smaller), tmp_path)
    assert f'/vpr_node serves {town_map} of {MAP_PLACES} places, {smaller} has 4' in line
    node.end()


def test_a_node_that_runs_and_answers_nothing(
    start, start_node, peer: Peer, town_map: Path, tmp_path: Path
):
    bag = town_bag(tmp_path / 'bag', 'dusk')
    node = start_node(map_path=town_map)
    enable = peer.service('enable', SetBool)
    assert enable(SetBool.Request(data=False)).success
    peer.until(lambda: 'disabled' in peer.status(state='active')[0].message, 'diagnostics of it')
    line = failure(start(bag, '--node', '/vpr_node'), tmp_path)
    assert line == 'error: /vpr_node is disabled; call ~/enable with data: true'
    node.end()


def test_ten_images_a_second_are_all_answered(start, tmp_path: Path) -> None:
    walk = tmp_path / 'walk'
    shutil.copytree(TOWN / 'dusk', walk)
    lines = (walk / 'poses.csv').read_text().splitlines(keepends=True)
    (walk / 'poses.csv').write_text(''.join(lines[:21]))
    dropped = []
    for _ in range(3):  # a machine that stalls for a tenth of a second is no fault of the node
        process = start(walk, '--hz', 10, '--rate', 1)
        assert process.wait() == 0, process.stderr
        values = json.loads((tmp_path / 'answers.json').read_text())
        dropped.append(values['sent'] - len(values['answers']))
        assert values['node']['images dropped'] == str(dropped[-1])
        if not dropped[-1]:
            break
    assert (values['sent'], values['hz'], dropped[-1]) == (20, 10, 0), dropped


def failure(process: Process, tmp_path: Path) -> str:
    """The one line that a failed command leaves, and nothing else."""
    assert process.wait() == 1, process.stderr
    assert not (tmp_path / 'answers.json').exists()
    (line,) = process.stderr.splitlines()
    assert line.startswith('error: ')
    return line


def test_a_map_that_the_node_refuses(start, town_map: Path, tmp_path: Path) -> None:
    damaged = tmp_path / 'damaged'
    shutil.copytree(town_map, damaged)
    with (damaged / 'places.csv').open('a') as file:
        file.write('\n')
    line = failure(start(town_bag(tmp_path / 'bag', 'dusk'), of=damaged), tmp_path)
    assert f'{damaged}/places.csv: is damaged, its checksum differs' in line


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    found = []
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            parent = stat.read_text().rpartition(')')[2].split()[1]
        except OSError:  # it has ended
            continue
        if int(parent) == pid:
            found.append(int(stat.parent.name))
    return found


def playing(pid: int) -> int:
    """The node of a process of live, once images are being played through it."""
    heard: list = []
    listener = rclpy.create_node('listener')
    listener.create_subscription(Image, f'/replay_{pid}/image', heard.append, 10)
    step = lambda: rclpy.spin_once(listener, timeout_sec=0.05)  # noqa: E731
    until(lambda: heard or not Path(f'/proc/{pid}').exists(), 'an image', step)
    listener.destroy_node()
    (node,) = children(pid)
    return node


def test_a_node_that_dies(start, tmp_path: Path) -> None:
    process = start(TOWN / 'dusk')
    os.kill(playing(process.pid), signal.SIGKILL)
    assert 'vpr_node ended with status -9' in failure(process, tmp_path)


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_its_node(signal_number: int, start, tmp_path: Path) -> None:
    process = start(TOWN / 'dusk')
    node = playing(process.pid)
    status, _ = process.stop(signal_number)
    assert status == 130, process.stderr
    assert process.stderr == 'interrupted\n'
    assert not Path(f'/proc/{node}').exists()
    assert not (tmp_path / 'answers.json').exists()


def gone(*pids: int) -> None:
    """Return when these processes are no more."""
    there = lambda: any(Path(f'/proc/{pid}').exists() for pid in pids)  # noqa: E731
    until(lambda: not there(), f'{pids} to end', lambda: time.sleep(0.05))


def test_a_live_that_is_killed_takes_its_node_along(start, tmp_path: Path) -> None:
    process = start(TOWN / 'dusk')
    node = playing(process.pid)
    process.stop(signal.SIGKILL)
    gone(node)
    assert not (tmp_path / 'answers.json').exists()


@pytest.fixture
def evaluating(ros, town_map: Path, tmp_path: Path) -> Iterator[tuple[Process, int, int]]:
    """evaluate --live while it plays, and the numbers of its live and of the node."""
    arguments = (town_map, TOWN / 'dusk', '--live', '--rate', RATE / 4)
    process = Process(tmp_path / 'evaluate', 'ashtkd_ros.commands.evaluate', *arguments)
    try:
        until(lambda: children(process.pid) or not process.alive, 'live', lambda: time.sleep(0.1))
        (live_pid,) = children(process.pid)
        yield process, live_pid, playing(live_pid)
    finally:
        process.kill()


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_evaluate_live_and_all_that_it_started(
    signal_number: int, evaluating: tuple[Process, int, int]
) -> None:
    process, *started = evaluating
    status, _ = process.stop(signal_number)
    assert (status, process.stderr) == (130, 'interrupted\n')
    assert not any(Path(f'/proc/{pid}').exists() for pid in started)


def test_an_evaluate_that_is_killed_takes_live_and_its_node_along(evaluating) -> None:
    process, *started = evaluating
    process.stop(signal.SIGKILL)
    gone(*started)


ROS2 = """#!{python}
import argparse, json, os, sys

arguments = sys.argv[1:]
assert arguments.pop(0) == 'bag' and arguments.pop(0) == 'play'
parser = argparse.ArgumentParser()  # as that of Humble, and what Jazzy and Kilted have of it
parser.add_argument('bag_path')
parser.add_argument('-r', '--rate', type=float, default=1.0)
parser.add_argument('--topics', type=str, default=[], nargs='+')
parser.add_argument('--qos-profile-overrides-path', type=argparse.FileType('r'))
parser.add_argument('--remap', '-m', default='', nargs='+')
parser.add_argument('-d', '--delay', type=float, default=0.0)
parser.add_argument('--disable-keyboard-controls', action='store_true')
parser.add_argument('--wait-for-all-acked', type=int, default=-1)
parser.add_argument('--read-ahead-queue-size', type=int, default=1000)
args = parser.parse_args(arguments)
if args.bag_path.endswith('bad'):
    sys.exit('[ERROR] [1700000000.5] [rosbag2]: no such storage plugin')
(topic,), (rule,) = args.topics, args.remap
old, new = rule.split(':=')
assert old == topic and args.disable_keyboard_controls
assert json.load(args.qos_profile_overrides_path)[topic]['reliability'] == 'reliable'
command = ['-m', 'ashtkd_ros.ros.play.replay', args.bag_path, '--rate', str(args.rate)]
command += ['--image-topic', topic, '--ros-args', '-r', f'image:={{new}}']
os.execv(sys.executable, [sys.executable, *command])
"""


@pytest.fixture
def ros2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `ros2 bag play` that checks its arguments and has our own player play."""
    script = tmp_path / 'bin' / 'ros2'
    script.parent.mkdir()
    script.write_text(ROS2.format(python=sys.executable))
    script.chmod(0o755)
    monkeypatch.setenv('PATH', f'{script.parent}{os.pathsep}{os.environ["PATH"]}')


def test_ros2_bag_play_as_the_player(start, ros2, town_map: Path, tmp_path: Path) -> None:
    bag = town_bag(tmp_path / 'bag', 'dusk')
    values = read_answers(start(bag), tmp_path)
    assert all(answer['seconds'] is None for answer in values['answers'])
    check_places(values['answers'], bag, town_map, MAP_PLACES)


def test_a_player_that_fails(start, ros2, tmp_path: Path) -> None:
    town_bag(tmp_path / 'bag').rename(tmp_path / 'bad')
    line = failure(start(tmp_path / 'bad', '--player', 'ros2'), tmp_path)
    assert 'ros2 bag play ended with status 1: no such storage plugin' in line


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (('-o', '.'), 'it is a folder'),
        (
            ('-o', 'a.json', '--node', '/vpr_node', '--model', 'm.onnx'),
            'leave out --model or --node',
        ),
        (
            ('-o', 'a.json', '--node', '/vpr_node', '--providers', 'auto'),
            'leave out --providers or --node',
        ),
        (
            ('-o', 'a.json', '--node', '/vpr_node', '--verify-top', '0'),
            'leave out --verify-top or --node',
        ),
    ],
)
def test_bad_arguments(arguments, said: str, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        live.main(['map', str(TOWN / 'dusk'), *arguments])
    assert said in capsys.readouterr().err
