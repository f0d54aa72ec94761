# SPDX-License-Identifier: Apache-2.0
"""vpr.launch.py starts a node for each camera; outdoor_test.launch.py records beside it."""

from __future__ import annotations

import importlib.util
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT

pytest.importorskip('launch_ros', reason='launch_ros cannot be imported')

from launch import LaunchContext
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
)

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
    return subprocess.run(command(*given), capture_output=True, text=True, timeout=60)


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


def test_the_others_go_on_and_the_last_status_is_1(tmp_path: Path) -> None:
    file = tmp_path / 'params.yaml'
    file.write_text(
        '/a/vpr_node:\n  ros__parameters: {autostart: false}\n'
        '/b/vpr_node:\n  ros__parameters: {map_path: /nowhere}\n'
    )
    started = command('cameras:=a,b', f'params_file:={file}')
    options = {'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT, 'text': True}
    with subprocess.Popen(started, **options) as process:
        said = []
        for line in process.stdout:
            if 'not found' in line:
                pytest.skip('the package is not installed: no launch can find its node')
            said.append(line)
            if 'process has died' in line:
                time.sleep(0.5)
                assert process.poll() is None
                process.send_signal(signal.SIGINT)
        assert process.wait(30) == 1
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
        ({'params_file': '/nope.yaml'}, 'params_file is /nope.yaml: no such file'),
        ({'params_file': '/tmp'}, 'params_file is /tmp: no such file'),
    ],
)
def test_arguments_that_make_no_sense(given: dict[str, str], line: str) -> None:
    with pytest.raises((RuntimeError, VprError), match=line):
        nodes(**given)


def test_no_parameters_file_at_all() -> None:
    (node,) = nodes(params_file='')
    assert node['files'] == []


def test_the_user_s_remappings_come_first_and_name_the_camera() -> None:
    _, rear = nodes(cameras='front,rear', remappings='image:=/{camera}/jpg initialpose:=set_pose')
    assert rear['remappings'][:2] == [('image', '/rear/jpg'), ('initialpose', 'set_pose')]


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What outdoor_test.launch.py does beside the node, with arguments given."""

    def actions(there: bool, **given: str) -> list:
        module = load('outdoor_test')
        found = (lambda name: name) if there else (lambda name: None)
        monkeypatch.setattr(module.shutil, 'which', found)
        monkeypatch.setattr(module, 'find_spec', found)
        given.setdefault('record_to', str(tmp_path / 'bags'))
        context = context_of(given, load('vpr'), module)
        return module._check(context) + module._record(context)

    return actions


def words(action: ExecuteProcess) -> list[str]:
    """The command of a process that has not been started."""
    return [''.join(part.text for part in word) for word in action.cmd]


def test_a_bag_of_what_evaluate_needs(record, tmp_path: Path) -> None:
    line, process = record(True, image_topic='/camera/image_raw', other_topics='/imu')
    command = words(process)
    bag = Path(command[command.index('-o') + 1])
    assert command[:3] == ['ros2', 'bag', 'record']
    assert bag.parent == tmp_path / 'bags' and bag.parent.is_dir() and not bag.exists()
    recorded = {word for word in command if word.startswith('/')} - {str(bag)}
    assert recorded == {
        *('/camera/image_raw', '/vpr_node/place', '/vpr_node/pose', '/vpr_node/vision_info'),
        *('/odom', '/fix', '/diagnostics', '/tf', '/tf_static', '/imu'),
    }
    said = ''.join(part.text for part in line.msg)
    assert str(bag) in said and '--pose-topic /fix' in said


def test_a_bag_of_compressed_images(record) -> None:
    for given in ('/camera/image_raw', '/camera/image_raw/compressed'):
        recorded = words(record(True, image_topic=given, image_transport='compressed')[-1])
        assert '/camera/image_raw/compressed' in recorded
        assert not any(word.endswith('/compressed/compressed') for word in recorded)


def recorded(actions: list) -> set[str]:
    """Topics that are recorded."""
    return {word for word in words(actions[-1])[7:] if word.startswith('/')}


def test_the_bag_has_every_topic_that_the_node_may_take_images_from(record, tmp_path) -> None:
    compressed = {'image_transport': 'compressed', 'image_topic': '/x'}
    *_, line, _, _ = actions = record(True, **compressed)
    assert {'/x', '/x/compressed'} <= recorded(actions)
    assert 'recording /x/compressed and /x' in ''.join(part.text for part in line.msg)
    found = recorded(record(True, **compressed, remappings='image/compressed:=/other/jpg'))
    assert '/other/jpg' in found and not {'/x', '/x/compressed'} & found
    found = recorded(record(True, remappings='image:=/y ~/place:=/p', image_topic='/x'))
    assert {'/y', '/p'} <= found and not {'/x', '/vpr_node/place'} & found
    file = tmp_path / 'params.yaml'
    file.write_text('/**:\n  ros__parameters:\n    image_transport: compressed\n')
    given = {'params_file': str(file), 'image_topic': '/x'}
    assert {'/x', '/x/compressed'} <= recorded(record(True, **given))
    assert '/x/compressed' not in recorded(record(True, **given, image_transport='raw'))


@pytest.mark.parametrize('cameras', ['', 'front,rear'])
def test_a_launch_of_which_no_node_is_left_ends_though_it_records(cameras: str) -> None:
    module = load('outdoor_test')
    context = context_of({'cameras': cameras}, load('vpr'), module)
    module.OnProcessExit, module.RegisterEventHandler = lambda on_exit: on_exit, lambda it: it
    (ended,) = module._watch(context)
    event = SimpleNamespace(
        action=SimpleNamespace(node_executable='vpr_node'), returncode=1, process_name='vpr_node-1'
    )
    recorder = SimpleNamespace(action=SimpleNamespace(), returncode=1, process_name='ros2-2')
    context = SimpleNamespace(is_shutdown=False)
    for _ in range(5):
        assert ended(recorder, context) is None
    if cameras:
        assert ended(event, context) is None
    with pytest.raises(RuntimeError, match='no vpr_node is left'):
        ended(event, context)
    respawning = context_of({'respawn': 'true'}, load('vpr'), module)
    assert module._watch(respawning) == []


def test_a_bag_of_several_cameras(record) -> None:
    _, process = record(True, cameras='front,rear', namespace='robot1', image_topic='image_raw')
    expected = {'/robot1/front/image_raw', '/robot1/rear/vpr_node/place', '/robot1/odom', '/tf'}
    assert expected <= set(words(process))


def test_without_ros2_bag_nothing_starts(record, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match='ros2 bag is not installed.*record:=false'):
        record(False)
    assert not (tmp_path / 'bags').exists()
    order = [type(e) for e in load('outdoor_test').generate_launch_description().entities]
    assert order.index(OpaqueFunction) < order.index(IncludeLaunchDescription)


def test_without_a_recording_where_that_is_wanted(record, tmp_path: Path) -> None:
    (line,) = record(False, record='false')
    assert isinstance(line, LogInfo)
    assert not (tmp_path / 'bags').exists()


@pytest.mark.parametrize('split_s', ['0', '-5', 'soon', '1.5', '', '\u0663'])
def test_files_of_no_length_are_refused(record, split_s: str) -> None:
    with pytest.raises(RuntimeError, match=f'split_s is "{split_s}"'):
        record(True, split_s=split_s)


def test_a_folder_that_cannot_be_is_refused(record, tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(RuntimeError, match='cannot be made.*record_to'):
        record(True, record_to=str(tmp_path / 'file' / 'bags'))


@pytest.mark.parametrize('shutdown', [True, False])
def test_a_recording_that_ends_by_itself_ends_the_launch(shutdown: bool) -> None:
    ended = load('outdoor_test')._recording_ended
    event, context = SimpleNamespace(returncode=2), SimpleNamespace(is_shutdown=shutdown)
    if shutdown:
        assert ended(event, context) is None
    else:
        with pytest.raises(RuntimeError, match='ended by itself'):
            ended(event, context)


def test_deployments_name_arguments_there_are() -> None:
    known = set(arguments(load('vpr')))
    for file in ('ashtkd_vpr.service', 'Dockerfile'):
        text = (ROOT / 'tools' / 'deploy' / file).read_text()
        named = set(re.findall(r'\b(\w+):=', text))
        assert named and named <= known
