# SPDX-License-Identifier: Apache-2.0
"""The launch files declare their arguments and start what they should with what is given."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip('launch_ros', reason='launch_ros cannot be imported')

from launch import LaunchContext, LaunchDescription, LaunchService
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource

from ashtkd_ros.commands.evaluate import evaluate_parser

pytestmark = pytest.mark.ros
FOLDER = Path(__file__).resolve().parents[2] / 'launch'
ARGUMENTS = {
    *('params_file', 'image_topic', 'namespace', 'use_sim_time', 'log_level', 'map_path'),
    *('model_path', 'image_transport', 'min_confidence', 'autostart'),
}


def read(file: str) -> LaunchDescription:
    spec = importlib.util.spec_from_file_location('launch_file', FOLDER / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


@pytest.fixture
def description() -> LaunchDescription:
    return read('vpr.launch.py')


def test_arguments(description) -> None:
    declared = [e for e in description.entities if isinstance(e, DeclareLaunchArgument)]
    assert {argument.name for argument in declared} >= ARGUMENTS
    assert all(argument.description for argument in declared)
    assert all(argument.default_value is not None for argument in declared)


def test_the_node(description) -> None:
    context = LaunchContext()
    context.launch_configurations.update(map_path='/maps/campus', min_confidence='0.7')
    nodes = []
    for entity in description.entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.visit(context)
        elif isinstance(entity, OpaqueFunction):
            nodes += entity.visit(context)
    (node,) = nodes
    assert (node.node_package, node.node_executable) == ('ashtkd_ros', 'vpr_node')


REQUIRED = {'map_path': '/maps/campus', 'bag': '~/tuesday', 'report': 'tuesday.html'}
COMMAND = """#!{python}
import json, pathlib, sys
pathlib.Path(__file__ + '.json').write_text(json.dumps(sys.argv[1:]))
sys.exit({status})
"""


def replay_arguments() -> dict[str, DeclareLaunchArgument]:
    return {a.name: a for a in read('replay.launch.py').get_launch_arguments()}


def default(argument: DeclareLaunchArgument) -> str:
    return ''.join(part.text for part in argument.default_value)


def test_the_replay_has_every_option_of_the_evaluation() -> None:
    declared = replay_arguments()
    assert {n for n, a in declared.items() if a.default_value is None} == set(REQUIRED)
    options = set(re.findall(r'^  (?:-\w.*, )?--([a-z-]+)', evaluate_parser().format_help(), re.M))
    own = {'help', 'out', 'compare', 'live', 'answers'}
    assert set(declared) - set(REQUIRED) == {o.replace('-', '_') for o in options - own}
    assert {'camera_frame_is', 'video_start', 'no_timing', 'threads', 'labels'} < set(declared)


def test_each_default_of_the_replay_is_told_once() -> None:
    declared = replay_arguments()
    for argument in declared.values():
        assert not re.search('default|--|%', argument.description), argument.description
        told = argument.default_value is None or default(argument) != ''
        assert told != ('empty: ' in argument.description), argument.description
    defaults = {name: default(declared[name]) for name in ('rate', 'player', 'no_timing', 'hz')}
    assert defaults == {'rate': '1', 'player': 'auto', 'no_timing': 'false', 'hz': ''}


def launched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: int, **given: str
) -> tuple[int, list[str]]:
    """Status of the replay launch, and the arguments of evaluate, which ends with `ending`."""
    prefix = tmp_path / 'prefix'
    index = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages'
    folder = prefix / 'lib' / 'ashtkd_ros'
    for new in (index, folder):
        new.mkdir(parents=True)
    (index / 'ashtkd_ros').touch()
    (folder / 'evaluate').write_text(COMMAND.format(python=sys.executable, status=ending))
    (folder / 'evaluate').chmod(0o755)
    path = f'{prefix}{os.pathsep}{os.environ.get("AMENT_PREFIX_PATH", "")}'
    monkeypatch.setenv('AMENT_PREFIX_PATH', path)
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path / 'log'))
    source = PythonLaunchDescriptionSource(str(FOLDER / 'replay.launch.py'))
    service = LaunchService(noninteractive=True)
    arguments = {**REQUIRED, **given}.items()
    service.include_launch_description(
        IncludeLaunchDescription(source, launch_arguments=arguments)
    )
    status = service.run()
    return status, json.loads((folder / 'evaluate.json').read_text())


def test_the_replay_and_its_evaluation(tmp_path: Path, monkeypatch) -> None:
    given = {'rate': '2', 'metres': '5', 'min_confidence': '0.4', 'image_topic': '/front'}
    status, called = launched(tmp_path, monkeypatch, 0, **given)
    assert status == 0
    sources = ['/maps/campus', str(Path.home() / 'tuesday')]
    assert called[:5] == [*sources, '--live', '-o', 'tuesday.html']
    assert set(called[5:]) == {f'--{n.replace("_", "-")}={v}' for n, v in given.items()}


def test_an_evaluation_that_fails_fails_the_launch(tmp_path: Path, monkeypatch) -> None:
    status, _ = launched(tmp_path, monkeypatch, 1)
    assert status == 1


def test_options_of_the_launch_are_options_of_the_command(tmp_path: Path, monkeypatch):
    """Every argument given to the launch is one that the command knows."""
    from ashtkd_ros.commands import evaluate

    usual = {n: default(a) for n, a in replay_arguments().items() if n not in REQUIRED}
    others = {'auto': 'own', 'header': 'receive', 'false': 'true', '': '1'}
    given = {n: others.get(value, '0.75') for n, value in usual.items()}
    given |= {
        'threads': '1',
        'verify_top': '5',
        'sequence_length': '5',
        'providers': 'CPUExecutionProvider',
        'frames': '7',
        'camera_frame_is': 'body',
        'video_start': '-2.5',
    }
    _, called = launched(tmp_path, monkeypatch, 0, **given)
    words = {a.partition('=')[0] for a in called if a.startswith('--')}
    assert words == {'--live', *(f'--{name.replace("_", "-")}' for name in usual)}
    with pytest.raises(SystemExit) as ended:
        evaluate.main(called)
    assert ended.value.code == 1  # there is no such map; 2 were a bad argument


def test_what_is_left_as_it_is_or_empty_is_not_passed_on(tmp_path: Path, monkeypatch) -> None:
    given = {'rate': '', 'no_timing': 'false', 'player': 'auto', 'role': ''}
    _, called = launched(tmp_path, monkeypatch, 0, **given)
    assert called[5:] == []


def test_a_flag_that_is_neither_true_nor_false_ends_the_launch(tmp_path: Path, monkeypatch):
    with pytest.raises(FileNotFoundError):  # evaluate has not been called
        launched(tmp_path, monkeypatch, 0, no_timing='perhaps')
