# SPDX-License-Identifier: Apache-2.0
"""Paths with ~ and variables; environments in which ROS cannot start: named as what they are."""

from __future__ import annotations

import os
import pwd
import random
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import line_of

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.path_expansion import expand_path

ENVIRON = {'HOME': '/home/robot', 'MAPS': '/data/maps', 'SITE': 'campus', 'EMPTY': ''}
EXPANDED = {
    '': '',
    '/maps/x': '/maps/x',
    'maps/~/x': 'maps/~/x',
    '~': '/home/robot',
    '~/maps/campus': '/home/robot/maps/campus',
    '$HOME/maps': '/home/robot/maps',
    '${HOME}/maps': '/home/robot/maps',
    '$MAPS/$SITE': '/data/maps/campus',
    '${MAPS}/${SITE}_2/': '/data/maps/campus_2/',
    '~/$SITE': '/home/robot/campus',
    ' ~/maps ': '/home/robot/maps',
    '/a$': '/a$',
    '/a$5': '/a$5',
    '/maps/{camera}': '/maps/{camera}',
}
REFUSED = {
    '$NOWHERE/x': '$NOWHERE is not set',
    '/a/${EMPTY}/b': '$EMPTY is not set',
    '~nobody_of_this_name/x': 'there is no user nobody_of_this_name',
    '~/$NO\x1b[2J': '$NO is not set',
}


@pytest.mark.parametrize('text', EXPANDED)
def test_paths_are_expanded(text: str) -> None:
    assert expand_path(text, ENVIRON) == EXPANDED[text]


@pytest.mark.parametrize('text', REFUSED)
def test_what_stands_for_nothing_is_named(text: str) -> None:
    with pytest.raises(VprError) as error:
        expand_path(text, ENVIRON)
    assert REFUSED[text] in line_of(error) and line_of(error).isprintable()


def test_without_home_the_system_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    home = pwd.getpwuid(os.getuid()).pw_dir
    for environ in ({}, {'HOME': ''}):
        assert expand_path('~/x', environ) == f'{home}/x'
        assert expand_path('${HOME}/x', environ) == f'{home}/x'

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, 'getpwuid', unknown)
    for text in ('~/x', '$HOME/x'):
        with pytest.raises(VprError, match='HOME is not set'):
            expand_path(text, {})


def test_what_is_there_by_that_name_stays(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / '$NOWHERE').mkdir()
    (tmp_path / '~').mkdir()
    monkeypatch.chdir(tmp_path)
    for text in ('$NOWHERE', '~', str(tmp_path / '$NOWHERE')):
        assert expand_path(text, ENVIRON) == text


def test_random_paths_are_expanded_as_a_shell_would() -> None:
    rng, parts = random.Random(1), ['$SITE', '${MAPS}', 'a', '{camera}', 'b c', '.', '$HOME', 'ü']
    for _ in range(200):
        words = [rng.choice(parts) for _ in range(rng.randrange(1, 5))]
        text = rng.choice(('/', '~/', '$HOME/', 'x/')) + '/'.join(words)
        shell = text.replace('~/', ENVIRON['HOME'] + '/')
        for name, value in ENVIRON.items():
            shell = shell.replace(f'${{{name}}}', value).replace(f'${name}', value)
        assert expand_path(text, ENVIRON) == shell


rclpy = pytest.importorskip('rclpy', reason='rclpy cannot be imported')
STARTS = {  # environment → what is named
    'text': (
        {'ROS_DOMAIN_ID': 'abc'},
        'ROS_DOMAIN_ID is "abc"; it must be a whole number from 0 to 232',
    ),
    'high': ({'ROS_DOMAIN_ID': '233'}, 'ROS_DOMAIN_ID is "233"'),
    'huge': ({'ROS_DOMAIN_ID': '9' * 30}, 'whole number from 0 to 232'),
    'negative': ({'ROS_DOMAIN_ID': '-1'}, 'ROS_DOMAIN_ID is "-1"'),
    'fraction': ({'ROS_DOMAIN_ID': '1.5'}, 'ROS_DOMAIN_ID is "1.5"'),
    'control': ({'ROS_DOMAIN_ID': '\x1b[2J'}, 'ROS_DOMAIN_ID is "\\x1b[2J"'),
    'no home': ({'HOME': None, 'ROS_LOG_DIR': None, 'ROS_HOME': None}, 'HOME is not set'),
    'empty home': ({'HOME': '', 'ROS_LOG_DIR': None, 'ROS_HOME': None}, 'HOME is not set'),
    'home of logs': ({'HOME': None, 'ROS_LOG_DIR': '~/x'}, 'HOME is not set'),
    'log is a file': (
        {'ROS_LOG_DIR': '/dev/null/log'},
        '/dev/null/log: ROS cannot write its logs',
    ),
    'log on proc': ({'ROS_LOG_DIR': '/proc/log'}, '/proc/log: ROS cannot write its logs'),
    'ros home': ({'ROS_LOG_DIR': None, 'ROS_HOME': '/proc/x'}, '/proc/x/log: ROS cannot write'),
}


@pytest.mark.ros
@pytest.mark.parametrize('module', ['node.vpr_node', 'play.replay'])
def test_environments_that_ros_cannot_start_in(module: str, tmp_path: Path, town: Path) -> None:
    """All at once: each is a process."""
    rest = (
        [str(town / 'day')] if module == 'play.replay' else ['--ros-args', '-p', 'map_path:=/none']
    )
    command = [sys.executable, '-m', f'ashtkd_ros.ros.{module}', *rest]
    processes = {}
    for case, (changes, _) in STARTS.items():
        environ = {**os.environ, 'ROS_LOG_DIR': str(tmp_path / 'log')}
        for name, value in changes.items():
            environ.pop(name, None)
            if value is not None:
                environ[name] = value
        pipes = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.PIPE, 'text': True}
        processes[case] = subprocess.Popen(command, env=environ, cwd=tmp_path, **pipes)
    for case, process in processes.items():
        _, said = process.communicate(timeout=180)
        assert process.returncode == 1, (case, said)
        (line,) = said.splitlines()
        assert line.startswith('error: ') and STARTS[case][1] in line, (case, said)
        assert 'arguments' not in line and 'Traceback' not in said


@pytest.mark.ros
def test_paths_of_the_node_are_expanded(tmp_path: Path) -> None:
    """On the command line and in a parameters file, which is itself named with a variable."""
    home = tmp_path / 'home'
    home.mkdir()
    (home / 'vpr.yaml').write_text(
        '/**:\n  ros__parameters:\n    map_path: ~/maps/file\n    model_path: ${SITE}/x.onnx\n'
    )
    environ = {**os.environ, 'HOME': str(home), 'ROS_LOG_DIR': str(tmp_path), 'SITE': '/data'}

    def said(*arguments: str) -> str:
        command = [sys.executable, '-m', 'ashtkd_ros.ros.node.vpr_node', '--ros-args', *arguments]
        done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 1 and 'Traceback' not in done.stderr
        return done.stderr

    assert f'{home}/maps/line: no such map' in said('-p', 'map_path:=~/maps/line')
    assert f'{home}/maps/x: no such map' in said('-p', 'map_path:=$HOME/maps/x')
    assert 'parameter map_path: $NOWHERE/x: $NOWHERE is not set' in said(
        '-p', 'map_path:=$NOWHERE/x'
    )
    for name in ('~/vpr.yaml', '$HOME/vpr.yaml'):
        assert '/data/x.onnx: the model cannot be read' in said('--params-file', name)
    named = said('--params-file', '~/none.yaml')
    assert f'error: {home}/none.yaml: --params-file names a file that does not exist' in named
