# SPDX-License-Identifier: Apache-2.0
"""The file of answers: what it holds, and where nothing can be recorded."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

import bag_helpers
from bag_helpers import playback, write_bag
from ros_helpers import MAP_PLACES

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.writing import check_output
from ashtkd_ros.ros.play import recording

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros


@pytest.mark.parametrize(
    ('stamps', 'said'),
    [
        ((1.0, 0.0, 2.0), '1 of 3 images have stamp zero'),
        ((1.0, 2.0, 1.0), '2 of 3 images have the same stamp'),
    ],
)
def test_stamps_that_tell_no_image_from_another(stamps, said: str, tmp_path: Path) -> None:
    grey = np.zeros((2, 2), np.uint8)
    records = [bag_helpers.image(t, grey, received=1.0 + i) for i, t in enumerate(stamps)]
    with pytest.raises(VprError, match=said):
        recording.check_stamps(playback(write_bag(tmp_path / 'bag', records=records)))


def test_the_progress_of_a_long_replay_is_printed(capsys, monkeypatch) -> None:
    monkeypatch.setattr(recording, '_PROGRESS_S', 0.0)
    checks: list = []
    observer = SimpleNamespace(answers=[1, 2], check=lambda: checks.append(1))
    recording._printing_progress(observer, 7)()
    assert capsys.readouterr().out == '2 of 7 images answered\n'
    assert checks


def test_a_node_is_given_what_was_asked_for_zero_too(tmp_path: Path, monkeypatch) -> None:
    given = {}
    monkeypatch.setattr(recording, 'observed_node', lambda _, parameters: given.update(parameters))
    recording.map_node(tmp_path, False, verify_top=0, model_path=None, providers=())
    assert given['verify_top'] == 0 and given['map_path'] == tmp_path
    assert not {'model_path', 'providers'} & given.keys()


def test_a_node_with_another_map_is_refused(town_map: Path) -> None:
    recording.check_served('/vpr_node', {'places in map': str(MAP_PLACES)}, town_map)
    with pytest.raises(VprError, match='serves /maps/b of 99 places'):
        recording.check_served('/vpr_node', {'map': '/maps/b', 'places in map': '99'}, town_map)


def test_the_folder_of_the_answers_is_made(tmp_path: Path) -> None:
    out = tmp_path / 'new' / 'folder' / 'answers.json'
    check_output(out)
    recording.write_answers(out, {})
    assert [p.name for p in out.parent.iterdir()] == ['answers.json']


def test_an_answers_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / 'answers.json').mkdir()
    with pytest.raises(VprError, match='cannot be written'):
        recording.write_answers(tmp_path / 'answers.json', {})
    assert [p.name for p in tmp_path.iterdir()] == ['answers.json']
