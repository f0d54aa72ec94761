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


def test_help_has_every_parameter_with_its_meaning_and_default() -> None:
    text = ' '.join(help_text().split())
    for spec in fields(Parameters):
        assert f' {spec.name} (' in text and ' '.join(describe(spec).split()) in text
        assert f'Default: {spec.default}.'.lower() in describe(spec).lower() or spec.default in (
            '',
            ('CPUExecutionProvider',),
        )
    assert 'map_path:=MAP' in text
    assert max(map(len, help_text().splitlines())) < 100


def test_every_meaning_is_a_whole_sentence() -> None:
    for spec in fields(Parameters):
        meaning = spec.metadata['meaning']
        assert meaning[0].isupper() or meaning.startswith('ONNX')
        assert meaning.endswith('.') and '|' not in meaning and '\n' not in meaning
