# SPDX-License-Identifier: Apache-2.0
"""vpr_node's help, and arguments that are not for ROS."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from ros_helpers import NodeProcess, Process

from ashtkd_ros.ros.node.command_line import help_text
from ashtkd_ros.ros.node.parameters import Parameters, describe

pytestmark = pytest.mark.ros
HELP = {
    'long': ['--help'],
    'short': ['-h'],
    'for ROS': ['--ros-args', '--help'],
    'short for ROS': ['--ros-args', '-h'],
    'as well': ['--ros-args', '-p', 'map_path:=x', '-r', '__ns:=/a', '--', '-h'],
    'with another': ['-h', '--nonsense'],
}
REFUSED = {
    'word': (['map'], 'map'),
    'option': (['--map', 'x'], '--map'),
    'parameter without --ros-args': (['-p', 'map_path:=x'], '-p'),
    'old remapping': (['__node:=x'], '__node:=x'),
    'after the end': (['--ros-args', '-p', 'top_k:=3', '--', 'map_path:=x'], 'map_path:=x'),
    'before': (['x', '--ros-args', '-p', 'map_path:=/none'], 'x'),
    'control': (['\x1b[2J'], '\\x1b[2J'),
    'empty': ([''], ''),
}


NOT_TAKEN = {
    'unknown': (['--bogus'], 'ROS does not take --bogus; remove it'),
    'several': (['--bogus', 'a b'], 'ROS does not take --bogus, a b; remove it'),
    'parameter': (['-p', 'x'], 'ROS does not take -p x; write -p NAME:=VALUE'),
    'remapping': (['--remap', 'a:='], 'ROS does not take --remap a:=; write -r FROM:=TO'),
    'quote': (['-p', "a'b"], "ROS does not take -p a'b; write"),
    'list': (['-p', 'top_k:=[1,x'], 'top_k:=[1,x (Sequence should be of same type'),
    'level': (['--log-level', 'loud'], 'write --log-level LEVEL, which is DEBUG, INFO'),
    'nothing': (['-p', 'top_k:=3', '-p'], 'nothing follows -p; write -p NAME:=VALUE'),
    'no file': (['--params-file'], 'nothing follows --params-file; write --params-file FILE'),
}


@pytest.mark.parametrize('case', HELP)
def test_help_is_printed_and_no_node_is_started(tmp_path: Path, case: str) -> None:
    node = Process(tmp_path, NodeProcess.module, *HELP[case])
    assert node.wait() == 0
    assert node.stdout == help_text() + '\n' and node.stderr == ''


@pytest.mark.parametrize('case', REFUSED)
def test_arguments_that_are_not_for_ros_are_refused_in_one_line(tmp_path: Path, case: str) -> None:
    arguments, named = REFUSED[case]
    node = Process(tmp_path, NodeProcess.module, *arguments)
    assert node.wait() == 2
    (line,) = node.stderr.splitlines()
    assert line.startswith(f'error: unknown argument "{named}"; ') and 'vpr_node --help' in line
    assert node.stdout == ''


@pytest.mark.parametrize('case', NOT_TAKEN)
def test_what_ros_does_not_take_is_named_in_one_line(tmp_path: Path, case: str) -> None:
    arguments, expected = NOT_TAKEN[case]
    node = Process(tmp_path, NodeProcess.module, '--ros-args', *arguments)
    assert node.wait() == 2
    # rcl itself writes a line before it returns with the error.
    (line,) = [text for text in node.stderr.splitlines() if '[rcl]' not in text]
    assert line.startswith('error: ') and expected in line and "['" not in line
    assert node.stdout == ''


@pytest.mark.parametrize('module', ['replay', 'live'])
def test_the_commands_that_play_name_what_ros_does_not_take(tmp_path: Path, module: str) -> None:
    command = Process(tmp_path, f'ashtkd_ros.ros.play.{module}', 'x', '--ros-args', '--bogus')
    assert command.wait() == 2
    assert command.stderr.startswith('error: ROS does not take --bogus; remove it')
    assert len(command.stderr.splitlines()) == 1


def test_help_has_every_parameter_with_its_meaning_and_default() -> None:
    text = ' '.join(help_text().split())
    for spec in fields(Parameters):
        assert f' {spec.name} (' in text and ' '.join(describe(spec).split()) in text
        assert f'Default: {spec.default}.'.lower() in describe(spec).lower() or spec.default in (
            '',
            ('auto',),
        )
    assert 'map_path:=MAP' in text
    assert max(map(len, help_text().splitlines())) < 100


def test_every_meaning_is_a_whole_sentence() -> None:
    for spec in fields(Parameters):
        meaning = spec.metadata['meaning']
        assert meaning[0].isupper() or meaning.startswith('ONNX')
        assert meaning.endswith('.') and '|' not in meaning and '\n' not in meaning
