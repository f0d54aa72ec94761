# SPDX-License-Identifier: Apache-2.0
"""Training settings: what is shipped reads, what is wrong is one line that names the key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from conftest import line_of
from small_student import torch  # noqa: F401  skips where it is missing

from ashtkd_ros.errors import VprError
from tools.config import as_plain, read_config

LEAST = {'out': 'runs/x', 'views_folder': 'runs/views', 'sources': []}


def test_shipped_configs_are_read_and_come_back_whole(root: Path, tmp_path: Path):
    files = sorted((root / 'config' / 'train').glob('*.yaml'))
    assert files
    for file in files:
        config = read_config(file)
        again = tmp_path / file.name
        again.write_text(yaml.safe_dump(as_plain(config)))
        assert read_config(again) == config


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ({**LEAST, 'lerning': 1}, 'lerning: '),
        ({**LEAST, 'schedule': {'stepps': 1}}, 'schedule.stepps: '),
        ({**LEAST, 'student': {'maps': 'many'}}, 'student.maps: '),
        ({**LEAST, 'student': {'mapps': 3}}, 'student.mapps: '),
        ({**LEAST, 'lesson': {'adaptive': 'guess'}}, 'lesson.adaptive: '),
        ({**LEAST, 'schedule': {'learning_rate': float('nan')}}, 'schedule.learning_rate: '),
        ({**LEAST, 'lesson': {'teachers': ['x']}}, 'no teacher is named x'),
        ({**LEAST, 'lesson': {'soft': 1.0}}, 'soft: a weight, but no teachers'),
        ({**LEAST, 'lesson': {'metric': 0.0}}, 'every loss has the weight 0'),
        ({'out': 'x'}, 'views_folder: '),
        ([1], 'settings: '),
    ],
)
def test_a_wrong_value_or_key_is_named(tmp_path: Path, values, expected: str):
    path = tmp_path / 'c.yaml'
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(VprError) as error:
        read_config(path)
    assert expected in line_of(error)


def test_a_file_adds_to_its_base_and_changes_it(tmp_path: Path):
    base = {**LEAST, 'lesson': {'tau': 2.0, 'metric': 3.0}, 'sources': [{'kind': 'sets'}]}
    (tmp_path / 'base.yaml').write_text(yaml.safe_dump(base))
    changes = {'base': 'base.yaml', 'lesson': {'metric': 4.0}, 'sources': [{'kind': 'walks'}]}
    (tmp_path / 'c.yaml').write_text(yaml.safe_dump(changes))
    config = read_config(tmp_path / 'c.yaml')
    assert (config.lesson.tau, config.lesson.metric) == (2.0, 4.0)
    assert config.sources == ({'kind': 'walks'},)
    (tmp_path / 'base.yaml').unlink()
    with pytest.raises(VprError) as error:
        read_config(tmp_path / 'c.yaml')
    assert 'base.yaml: cannot be read' in line_of(error)


def test_a_file_that_is_none_is_one_line(tmp_path: Path):
    (tmp_path / 'c.yaml').write_text('a: [')
    for path, expected in ((tmp_path / 'c.yaml', 'is no YAML'), (tmp_path / 'gone', 'be read')):
        with pytest.raises(VprError) as error:
            read_config(path)
        assert expected in line_of(error)
