# SPDX-License-Identifier: Apache-2.0
"""vpr.launch.py starts a node for each camera."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import fields
from functools import partial
from pathlib import Path

import pytest
from conftest import ROOT

pytest.importorskip('launch_ros', reason='launch_ros cannot be imported')

from launch import LaunchContext
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
)
from ros_helpers import PATIENCE_S, until

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.node.parameters import Parameters

pytestmark = pytest.mark.ros


def load(name: str):
    """A launch file as a module."""
    path = ROOT / 'launch' / f'{name}.launch.py'
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments(module) -> dict[str, DeclareLaunchArgument]:
    """Name → what a launch file declares itself."""
    entities = module.generate_launch_description().entities
    return {e.name: e for e in entities if isinstance(e, DeclareLaunchArgument)}


def context_of(given: dict[str, str], *modules) -> LaunchContext:
    """A launch's context after the declarations of launch files, with arguments given."""
    context = LaunchContext()
    context.launch_configurations.update(given)
    for module in modules:
        for argument in arguments(module).values():
            if argument.name != 'params_file':  # its default asks for the installed package
                argument.visit(context)
    context.launch_configurations.setdefault('params_file', str(ROOT / 'config' / 'vpr.yaml'))
    return context


def nodes(**given: str) -> list[dict]:
    """What vpr.launch.py hands to each LifecycleNode; the parameters as text and plain values."""
    module = load('vpr')
    module.LifecycleNode = lambda **options: options
    context = context_of(given, module)
    (start,) = (
        e for e in module.generate_launch_description().entities if isinstance(e, OpaqueFunction)
    )
    started = start.visit(context)
    for node in started:
        *node['files'], parameters = node['parameters']
        node['parameters'] = {
            name: value.evaluate(context) if hasattr(value, 'evaluate') else value
            for name, value in parameters.items()
        }
    return started


def test_every_parameter_is_an_argument_that_says_what_it_is() -> None:
    declared = arguments(load('vpr'))
    assert {f.name for f in fields(Parameters)} | {'use_sim_time'} <= set(declared)
    assert all(argument.description for argument in declared.values())


def test_what_is_not_given_is_left_to_the_parameters_file() -> None:
    (node,) = nodes()
    assert (node['package'], node['executable']) == ('ashtkd_ros', 'vpr_node')
    assert node['parameters'] == {}
    assert node['respawn'] is False
    assert node['remappings'] == [('image', 'image')]


def test_what_is_given_has_the_parameter_s_type() -> None:
    (node,) = nodes(
        map_path='~/maps/7',
        map_frame='7',
        min_confidence='1',
        top_k='3',
        autostart='false',
        providers='CUDAExecutionProvider, CPUExecutionProvider',
        use_sim_time='true',
    )
    assert node['parameters'] == {
        'map_path': str(Path.home() / 'maps/7'),
        'map_frame': '7',
        'min_confidence': 1.0,
        'top_k': 3,
        'autostart': False,
        'providers': ['CUDAExecutionProvider', 'CPUExecutionProvider'],
        'use_sim_time': True,
    }
    kinds = {name: type(value) for name, value in node['parameters'].items()}
    assert (kinds['min_confidence'], kinds['map_frame']) == (float, str)


def test_paths_are_expanded_and_other_arguments_are_not(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv('SITE', 'campus')
    monkeypatch.setenv('FOLDER', str(tmp_path))
    (tmp_path / 'vpr.yaml').touch()
    (node,) = nodes(
        map_path='$HOME/maps/$SITE',
        model_path='~/x.onnx',
        params_file='${FOLDER}/vpr.yaml',
        image_topic='~/image',
        map_frame='$SITE',
    )
    home = str(Path.home())
    assert node['files'] == [f'{tmp_path}/vpr.yaml']
    assert node['parameters'] == {
        'map_path': f'{home}/maps/campus',
        'model_path': f'{home}/x.onnx',
        'map_frame': '$SITE',
    }
    assert node['remappings'] == [('image', '~/image')]
    with pytest.raises(VprError, match=r'map_path is .NOWHERE/x: .NOWHERE is not set'):
        nodes(map_path='$NOWHERE/x')


def launch(*given: str) -> subprocess.CompletedProcess:
    """vpr.launch.py as `ros2 launch` runs it, in a process of its own."""
    return subprocess.run(command(*given), capture_output=True, text=True, timeout=180)


def command(*given: str) -> list[str]:
    text = (
        'import sys\n'
        'from launch import LaunchDescription, LaunchService\n'
        'from launch.actions import IncludeLaunchDescription as Include\n'
        'from launch.launch_description_sources import PythonLaunchDescriptionSource as Source\n'
        'arguments = [tuple(word.split(":=", 1)) for word in sys.argv[2:]]\n'
        'included = Include(Source(sys.argv[1]), launch_arguments=arguments)\n'
        'service = LaunchService(argv=sys.argv[2:])\n'
        'service.include_launch_description(LaunchDescription([included]))\n'
        'sys.exit(service.run())\n'
    )
    file = str(ROOT / 'launch' / 'vpr.launch.py')
    params_file = f'params_file:={ROOT / "config" / "vpr.yaml"}'
    return [sys.executable, '-c', text, file, params_file, *given]


def test_a_launch_whose_node_cannot_start_fails_and_names_the_cause() -> None:
    done = launch('map_path:=/nowhere')
    if 'not found' in done.stderr:
        pytest.skip('the package is not installed: no launch can find its node')
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert said.count('/nowhere: no such map') == 1
    assert 'has ended with exit code 1, see above' in said
    assert 'Traceback' not in said


def both_heed_signals(log: Path, launch_pid: int) -> bool:
    """Whether ROS has made the files of two nodes, as it does then; the launch has its own."""
    return sum(f'_{launch_pid}_' not in path.name for path in log.glob('python_*.log')) == 2


def test_the_others_go_on_and_the_last_status_is_1(tmp_path: Path) -> None:
    file = tmp_path / 'params.yaml'
    file.write_text(
        '/a/vpr_node:\n  ros__parameters: {autostart: false}\n'
        '/b/vpr_node:\n  ros__parameters: {map_path: /nowhere}\n'
    )
    started = command('cameras:=a,b', f'params_file:={file}')
    options = {'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT, 'text': True}
    options['env'] = {**os.environ, 'ROS_LOG_DIR': str(tmp_path / 'log')}
    with subprocess.Popen(started, **options) as process, ExitStack() as at_the_end:
        at_the_end.callback(process.send_signal, signal.SIGINT)  # nothing where it has ended
        said = []
        for line in process.stdout:
            if 'not found' in line:
                pytest.skip('the package is not installed: no launch can find its node')
            said.append(line)
            if 'process has died' in line:
                heed = partial(both_heed_signals, tmp_path / 'log', process.pid)
                until(heed, 'two nodes', partial(time.sleep, 0.1))
                time.sleep(0.5)
                assert process.poll() is None
                process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 1
    text = ''.join(said)
    assert text.count('has ended with exit code 1, see above') == 1 and 'Traceback' not in text
    assert 'vpr_node-1]: process has finished cleanly' in text


def test_a_node_for_each_camera() -> None:
    front, rear = nodes(
        cameras='front, rear',
        namespace='robot1',
        map_path='/maps/{camera}',
        image_topic='image_raw',
        remappings='~/place:=place',
        respawn='true',
    )
    assert (front['namespace'], rear['namespace']) == ('robot1/front', 'robot1/rear')
    assert rear['parameters'] == {'map_path': '/maps/rear'}
    assert rear['remappings'] == [
        ('~/place', 'place'),
        ('image', 'image_raw'),
        ('initialpose', '/robot1/initialpose'),
    ]
    assert rear['respawn'] is True
    assert nodes(cameras='a,b', image_topic='/x/{camera}')[1]['remappings'][0][1] == '/x/b'


@pytest.mark.parametrize(
    'given, line',
    [
        (
            {'cameras': 'front,rear', 'image_topic': '/camera'},
            'image_topic is /camera, which is the same',
        ),
        ({'min_confidence': 'high'}, 'min_confidence is "high"; it must be a number'),
        ({'autostart': 'perhaps'}, 'autostart is "perhaps"; it must be true or false'),
        ({'respawn': 'maybe'}, 'respawn is "maybe"; it must be true or false'),
        ({'remappings': 'a:=b foo'}, 'remappings has "foo"; write each rule as FROM:=TO'),
        ({'remappings': '__ns:=/x'}, 'remappings has "__ns:=/x"; set namespace or cameras'),
        ({'remappings': 'image:=/cäm'}, 'remappings has "image:=/cäm"; a topic has a name such'),
        ({'image_topic': '/cam era'}, 'image_topic is "/cam era"; a topic has a name such as'),
        ({'cameras': 'a,a'}, 'cameras is a,a; name each camera once'),
        ({'cameras': 'front,re ar'}, 'cameras has "re ar"; a name has only letters'),
        ({'namespace': 'a b'}, 'namespace is "a b"; a name has only letters'),
        ({'log_level': 'loud'}, 'log_level is "loud"; it must be debug or info or warn'),
        ({'min_confidence': '7'}, 'min_confidence is 7.0; it must be from -1.0 to 1.0'),
        ({'image_transport': 'theora'}, 'image_transport is "theora"; it must be raw or'),
        ({'providers': 'Gpu'}, 'unknown execution provider "Gpu"; use one of auto'),
        ({'params_file': '/nope.yaml'}, 'params_file is /nope.yaml: no such file'),
        ({'params_file': '/tmp'}, 'params_file is /tmp: no such file'),
    ],
)
def test_arguments_that_make_no_sense(given: dict[str, str], line: str) -> None:
    with pytest.raises((RuntimeError, VprError), match=line):
        nodes(**given)


def test_a_misspelt_argument_is_told_of() -> None:
    done = launch('min_confidnce:=0.7', 'autostart:=perhaps', 'rate:=2')
    said = done.stdout + done.stderr
    assert 'argument "min_confidnce" has no effect; did you mean min_confidence?' in said
    assert said.count('did you mean') == 1 and 'autostart is "perhaps"' in said


def test_names_with_a_slash_at_their_end() -> None:
    (node,) = nodes(cameras='front', namespace='robot1/')
    assert node['namespace'] == 'robot1/front'
    assert [node['namespace'] for node in (*nodes(), *nodes(namespace='/'))] == ['', '/']


def test_no_parameters_file_at_all() -> None:
    (node,) = nodes(params_file='')
    assert node['files'] == []


def test_the_user_s_remappings_come_first_and_name_the_camera() -> None:
    _, rear = nodes(cameras='front,rear', remappings='image:=/{camera}/jpg initialpose:=set_pose')
    assert rear['remappings'][:2] == [('image', '/rear/jpg'), ('initialpose', 'set_pose')]


def test_deployments_name_arguments_there_are() -> None:
    known = set(arguments(load('vpr')))
    for file in ('ashtkd_vpr.service', 'Dockerfile'):
        text = (ROOT / 'tools' / 'deploy' / file).read_text()
        named = set(re.findall(r'\b(\w+):=', text))
        assert named and named <= known
