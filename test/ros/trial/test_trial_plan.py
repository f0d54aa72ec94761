# SPDX-License-Identifier: Apache-2.0
"""What a trial starts and records, by its arguments; what makes no sense starts nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

pytest.importorskip('rclpy', reason='rclpy is not installed')

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.trial.trial_options import all_arguments
from ashtkd_ros.ros.trial.trial_plan import TrialPlan
from ashtkd_ros.trials.folder import TrialFolder


def plan(*ros_arguments: str, **given: str) -> TrialPlan:
    usual = {name: default for name, default, _ in all_arguments()}
    assert set(given) <= set(usual)
    return TrialPlan({**usual, 'trial': 'yard', **given}, ros_arguments)


def words_after(command: list[str], flag: str) -> list[str]:
    return [after for word, after in zip(command, command[1:], strict=False) if word == flag]


def test_a_trial_records_what_reports_need():
    recorded = plan(image_topic='/camera/image_raw', other_topics='/imu gps').recorded()
    assert recorded[:3] == ['/fix', '/odom', '/battery_state']
    assert set(recorded) == {
        *('/fix', '/odom', '/battery_state', '/camera/image_raw', '/imu', '/gps'),
        *('/vpr_node/place', '/vpr_node/place_name', '/vpr_node/pose', '/vpr_node/vision_info'),
        *('/diagnostics', '/tf', '/tf_static', '/trial/mark', '/trial/marked', '/trial/event'),
    }


def test_compressed_images_are_recorded_wherever_the_node_may_find_them(tmp_path: Path):
    compressed = {'image_transport': 'compressed', 'image_topic': '/x'}
    assert {'/x', '/x/compressed'} <= set(plan(**compressed).recorded())
    found = plan(**compressed, remappings='image/compressed:=/other/jpg').recorded()
    assert '/other/jpg' in found and not {'/x', '/x/compressed'} & set(found)
    found = plan(remappings='image:=/y ~/place:=/p', image_topic='/x').recorded()
    assert {'/y', '/p'} <= set(found) and not {'/x', '/vpr_node/place'} & set(found)
    file = tmp_path / 'params.yaml'
    file.write_text('/**:\n  ros__parameters:\n    image_transport: compressed\n')
    given = {'params_file': str(file), 'image_topic': '/x'}
    assert {'/x', '/x/compressed'} <= set(plan(**given).recorded())
    assert '/x/compressed' not in plan(**given, image_transport='raw').recorded()
    outer = ('-p', 'image_transport:=compressed')
    assert '/x/compressed' in plan(*outer, image_topic='/x').recorded()


def test_several_cameras_of_a_robot():
    several = plan(cameras='front,rear', namespace='robot1', image_topic='image_raw')
    expected = {'/robot1/front/image_raw', '/robot1/rear/vpr_node/place', '/robot1/odom', '/tf'}
    expected |= {f'/robot1/trial/{name}' for name in ('mark', 'marked', 'event')}
    assert expected <= set(several.recorded()) and '/trial/mark' not in several.recorded()
    topics = several.topics()
    assert topics['camera'] == ['/robot1/front/image_raw', '/robot1/rear/image_raw']
    assert topics['vision_info'][1] == '/robot1/rear/vpr_node/vision_info'
    assert [node.node for node in several.nodes] == [
        f'/robot1/{c}/vpr_node' for c in ('front', 'rear')
    ]


def test_the_command_of_a_node(tmp_path: Path):
    file = tmp_path / 'params.yaml'
    file.write_text('{}')
    given = {'map_path': '~/maps/{camera}', 'map_frame': '7', 'min_confidence': '1'}
    given |= {
        'top_k': '3',
        'autostart': 'false',
        'providers': 'auto, CPUExecutionProvider',
        'use_sim_time': 'true',
    }
    outer = ('-p', 'top_k:=4', '-r', 'image:=/outer')
    node = plan(*outer, cameras='front', params_file=str(file), log_level='warn', **given).nodes[0]
    command = node.command()
    assert words_after(command, '--params-file') == [str(file)]
    assert words_after(command, '-p')[0] == 'top_k:=4'  # of the outer launch, before our own
    assert set(words_after(command, '-p')[1:]) == {
        f'map_path:="{Path.home()}/maps/front"',
        *('map_frame:="7"', 'min_confidence:=1.0', 'top_k:=3', 'autostart:=false'),
        *('providers:=["auto", "CPUExecutionProvider"]', 'use_sim_time:=true'),
    }
    rules = ['__node:=vpr_node', '__ns:=/front', 'image:=/outer', 'image:=image']
    assert words_after(command, '-r') == [*rules, 'initialpose:=/initialpose']
    assert words_after(command, '--log-level') == ['warn']
    assert node.image_topics() == ['/outer']


@pytest.mark.parametrize(
    ('given', 'line'),
    [
        ({'trial': '../x'}, 'no name for a trial'),
        ({'remarks': 'x' * 2001}, '"remarks" is not a text of at most'),
        ({'check': 'perhaps'}, 'check is "perhaps"; it must be true or warn or false'),
        ({'record': 'maybe'}, 'record is "maybe"; it must be true or false'),
        ({'planned_minutes': '0'}, 'planned_minutes is 0'),
        ({'planned_minutes': 'long'}, 'planned_minutes is "long"; it must be a number'),
        *(({'split_s': text}, 'split_s is ') for text in ('0', '-5', '1.5', '', '\u0663')),
        ({'split_s': 5000 * '9'}, 'split_s is "9{40}"; it must be'),
        ({'cameras': 'a,b', 'image_topic': '/camera'}, 'the same for all cameras'),
        ({'min_confidence': 'high'}, 'min_confidence is "high"; it must be a number'),
        ({'params_file': '/nope.yaml'}, 'params_file is /nope.yaml: no such file'),
        ({'trials_folder': ''}, 'trials_folder is empty'),
        ({'odom_topic': 'bad name'}, '"/bad name" is not the name of a topic'),
        ({'other_topics': '/imu a-b'}, '"/a-b" is not the name of a topic'),
        ({'namespace': 'a b'}, 'namespace is "a b"; a name has only letters'),
        ({'cameras': 'a,a', 'image_topic': 'image'}, 'name each camera once'),
        ({'cameras': 'a,../b', 'image_topic': 'image'}, 'cameras has "../b"; a name has only'),
        ({'image_topic': '/camera/'}, 'image_topic is "/camera/"; a topic has a name'),
        ({'log_level': 'loud'}, 'log_level is "loud"; it must be debug or info or warn'),
        ({'min_confidence': '7'}, 'min_confidence is 7.0; it must be from -1.0 to 1.0'),
        ({'on_start_failure': 'x'}, 'on_start_failure is "x"; it must be exit or retry or stay'),
        ({'providers': 'Gpu'}, 'unknown execution provider "Gpu"'),
        ({'remappings': 'foo'}, 'remappings has "foo"'),
        ({'record': 'false', 'node': 'false'}, 'nothing to do'),
    ],
)
def test_arguments_that_make_no_sense(given: dict[str, str], line: str):
    with pytest.raises(VprError, match=line):
        plan(**given).check()


def test_the_folder_and_what_is_started(tmp_path: Path, saved: Path):
    here = plan(trials_folder=str(tmp_path), map_path=str(saved), condition='dusk')
    here.check()
    trial = here.create_folder()
    assert trial.sheet().condition == 'dusk' and trial.path.name.endswith('_yard')
    commands = here.commands(trial)
    assert list(commands) == ['trial_recorder', 'trial_watch', '/vpr_node']
    assert str(trial.path) in commands['trial_recorder'] and '/fix' in commands['trial_recorder']
    trial.write_configuration(here.configuration())
    written = TrialFolder.open(trial.path).configuration()
    assert written['map']['places'] == 6 and len(written['map']['sha256']) == 64
    assert (
        written['topics']['place'] == ['/vpr_node/place']
        and written['arguments']['trial'] == 'yard'
    )
    assert yaml.safe_load((trial.path / 'configuration.yaml').read_text()) == written


def test_without_a_node_or_a_recorder(tmp_path: Path):
    first = plan(trials_folder=str(tmp_path), node='false')
    trial = first.create_folder()
    assert list(first.commands(trial)) == ['trial_recorder', 'trial_watch']
    assert '/vpr_node/place' not in first.recorded() and 'map' not in first.configuration()
    assert list(plan(record='false').commands(trial)) == ['trial_watch', '/vpr_node']


def test_a_map_in_the_parameters_file_is_found_and_a_damaged_one_is_told(tmp_path: Path):
    file = tmp_path / 'params.yaml'
    file.write_text(f'/**:\n  ros__parameters:\n    map_path: {tmp_path}/none\n')
    told = plan(params_file=str(file)).configuration()['map']
    assert told['path'] == f'{tmp_path}/none' and 'no such map' in told['error']
    assert 'map_path is not set' in plan().configuration()['map']['error']


def test_the_camera_that_turned_out_to_have_images():
    both = plan(image_transport='compressed', image_topic='/x')
    assert both.topics()['camera'] == ['/x/compressed']
    assert both.topics(['/x'])['camera'] == ['/x']
