# SPDX-License-Identifier: Apache-2.0
"""What is held back: whole scenes, from every place that shows them, and only those."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import training_packages  # noqa: F401  skips where one of them is missing
from conftest import line_of

from ashtkd_ros.errors import VprError
from tools.training.config import SetsSource
from tools.training.data.held_back import held_back_folders, without_held_back
from tools.training.data.sources import read_places


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Two sets: `tours` of six scenes with two places of two pictures, `spots` of three places."""
    tours = [f'scene{s}/p{p}' for s in range(6) for p in range(2)]
    for name, places in (('tours', tours), ('spots', ['a', 'b', '', 'c'])):
        (tmp_path / name).mkdir()
        rows = ['file,place,role,order']
        for place in places:
            for role in ('database', 'query'):
                file = f'{place.replace("/", "_")}_{role}.png'
                cv2.imwrite(str(tmp_path / name / file), np.zeros((4, 4, 3), np.uint8))
                rows.append(f'{file},{place},{role},')
        (tmp_path / name / 'index.csv').write_text('\n'.join(rows) + '\n')
    return tmp_path


def source(sets: Path, **settings: object) -> SetsSource:
    positives = {'tours': 'place', 'spots': 'place'}
    return SetsSource(kind='sets', path=sets, positives=positives, **settings)


def test_every_third_scene_goes_with_all_its_places_and_nothing_else(sets: Path):
    sources, every = [source(sets)], {'tours': 3}
    held = held_back_folders(sources, every)
    assert held == {sets / 'tours': {f'scene{s}/p{p}' for s in (2, 5) for p in range(2)}}
    rest = without_held_back(read_places(sources), sources, every)
    left = {rest.pictures[i].path.name for place in rest.places for i in place.pictures}
    assert len(left) == 24 - 8 + 8
    assert not any(name.startswith(('scene2', 'scene5')) for name in left)
    assert len(rest.places) == 8 + 3 + 2  # pictures without a place are places of their own


def test_nothing_is_held_back_without_being_asked_for(sets: Path):
    places = read_places([source(sets)])
    assert without_held_back(places, [source(sets)], {}) is places


@pytest.mark.parametrize(
    ('only', 'every', 'expected'),
    [
        (None, {'other': 2}, 'no set is named other; there are spots, tours'),
        (['tours'], {'spots': 2}, 'no set is named spots'),
        (None, {'spots': 5}, 'spots has 3 scenes'),
    ],
)
def test_what_cannot_be_held_back_is_one_line(sets: Path, only, every, expected: str):
    with pytest.raises(VprError) as error:
        held_back_folders([source(sets, only=only)], every)
    assert expected in line_of(error)
