# SPDX-License-Identifier: Apache-2.0
"""Settings as a user writes them in YAML: nothing is taken for what it is not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import training_packages  # noqa: F401  skips where one of them is missing
from conftest import line_of

from ashtkd_ros.errors import VprError
from tools.training.config import TrainConfig, read_config

LEAST = 'out: x\nviews_folder: y\nsources: []\n'


def settings(folder: Path, text: str) -> TrainConfig:
    """The settings of a file whose fourth line and those after it are `text`."""
    path = folder / 'c.yaml'
    path.write_text(LEAST + text)
    return read_config(path)


def refused(folder: Path, text: str) -> str:
    """What is said of that file."""
    with pytest.raises(VprError) as error:
        settings(folder, text)
    line = line_of(error)
    assert line.startswith(f'{folder}/c.yaml: ')
    return line.removeprefix(f'{folder}/c.yaml: ')


@pytest.mark.parametrize(
    'value',
    ['"1"', '1_000', '12:30:45', '017', '0x1F', '0b11', '3.0', '1e3', 'true', 'yes', '2020-01-01']
    + [str(2**31), str(2**70), '1' * 5000],
)
def test_only_a_decimal_number_within_32_bits_is_a_whole_number(tmp_path: Path, value: str):
    assert refused(tmp_path, f'schedule: {{steps: {value}}}').startswith('schedule.steps: must be')


@pytest.mark.parametrize('value', ['"0.1"', '1:30.5', '1_0.5', 'true', '.', '1' * 400, '1e999'])
def test_only_a_decimal_number_is_a_number(tmp_path: Path, value: str):
    line = refused(tmp_path, f'schedule: {{learning_rate: {value}}}')
    assert line.startswith('schedule.learning_rate: must be a')


@pytest.mark.parametrize(
    ('value', 'number'), [('1', 1.0), ('1e-3', 0.001), ('.5', 0.5), ('+2.', 2)]
)
def test_a_number_may_be_written_in_several_ways(tmp_path: Path, value: str, number: float):
    text = f'schedule: {{learning_rate: {value}}}'
    assert settings(tmp_path, text).schedule.learning_rate == number


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('out: z', 'line 4: out is given twice'),
        ('schedule: {steps: 1,\n  steps: 2}', 'line 5: steps is given twice'),
        ('schedule: {<<: {steps: 1}, <<: {views: 2}}', 'line 4: << is given twice'),
        ('schedule: {<<: 3}', 'line 4: << needs a mapping'),
        ('schedule: {<<: [{}, 3]}', 'line 4: << needs a mapping'),
        ('3: 4', 'line 4: the key 3 is not a text'),
        ('schedule: {true: 4}', 'line 4: the key true is not a text'),
        ('schedule: {[1]: 4}', 'line 4: a key is a list or mapping'),
        ('schedule: {steps: !!binary MQ==}', 'line 4: !!binary has no place in settings'),
        ('start: !!python/object:os.x 3', 'line 4: !!python/object:os.x has no place'),
        ('a: b: c', 'is not YAML (line 4: mapping values are not allowed here)'),
        ('a:\n\tb: 3', 'is not YAML (line 5: '),
        ('out: *x', "is not YAML (line 4: found undefined alias 'x')"),
        ('a: \0', 'is not YAML (unacceptable character #x0000'),
    ],
)
def test_what_is_wrong_with_the_yaml_is_said_with_its_line(
    tmp_path: Path, text: str, expected: str
):
    assert refused(tmp_path, text).startswith(expected)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('schedule: {warm_up: 2}', 'schedule.warm_up: must be at most 1; it is 2'),
        ('schedule: {average: 1}', 'schedule.average: must be below 1; it is 1'),
        ('schedule: {views: 1}', 'schedule.views: must be at least 2; it is 1'),
        ('schedule: {steps: 0}', 'schedule.steps: must be above 0; it is 0'),
        (f'schedule: {{seed: {2**63}}}', f'schedule.seed: must be below {2**63}; it is {2**63}'),
        ('lesson: {teachers: [a, b, a]}', 'lesson.teachers: a is given twice; remove one'),
        ('schedule: {domains: [a, a]}', 'schedule.domains: a is given twice; remove one'),
        (
            'teachers: [{name: a, trunk: t, apformer: {widths: [32, 32, 32]}}]',
            'teachers.0.apformer.widths: must have 2 values; it is [32, 32, 32]',
        ),
    ],
)
def test_a_wrong_value_is_said_in_plain_words(tmp_path: Path, text: str, expected: str):
    assert refused(tmp_path, text) == expected


def test_aliases_and_merged_mappings_are_taken(tmp_path: Path):
    text = 'lesson: &a {metric: 0.5}\nteachers: [{name: a, trunk: t, lesson: {<<: *a, tau: 2}}]'
    lesson = settings(tmp_path, text).teachers[0].lesson
    assert (lesson.metric, lesson.tau) == (0.5, 2.0)


def test_a_file_that_is_not_utf_8_is_one_line(tmp_path: Path):
    (tmp_path / 'c.yaml').write_bytes(b'\xff\x80')
    with pytest.raises(VprError) as error:
        read_config(tmp_path / 'c.yaml')
    assert 'c.yaml: is not UTF-8' in line_of(error)


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    'make', [os.mkfifo, make_loop, Path.mkdir], ids=['pipe', 'loop', 'folder']
)
@pytest.mark.parametrize('asked', ['c.yaml', 'above.yaml'])
def test_what_is_no_file_is_one_line_at_once(tmp_path: Path, make: Callable, asked: str):
    make(tmp_path / 'c.yaml')
    (tmp_path / 'above.yaml').write_text('base: c.yaml')
    with pytest.raises(VprError) as error:
        read_config(tmp_path / asked)
    assert f'{tmp_path}/c.yaml: cannot be read' in line_of(error)


def test_a_file_too_long_for_settings_is_not_read(tmp_path: Path):
    assert 'holds more than' in refused(tmp_path, f'start: {"x" * 2**20}')


def test_mappings_that_are_merged_over_and_over_are_refused_at_once(tmp_path: Path):
    lines = [f'a{i + 1}: &a{i + 1} {{<<: [*a{i}, *a{i}], k{i}: 1}}' for i in range(40)]
    text = '\n'.join(['a0: &a0 {x: 1}', *lines])
    assert '<< gives a mapping more than 1000 keys; write them out' in refused(tmp_path, text)
