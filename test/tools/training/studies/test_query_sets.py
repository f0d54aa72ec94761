# SPDX-License-Identifier: Apache-2.0
"""The queries of the ablation: each has a right place, none meets itself, all are told apart."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import training_packages  # noqa: F401  skips where one of them is missing
from conftest import line_of, write_tiny_model

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.traverses.image_folder import read_source
from tools.training.studies.query_sets import AskedPlaces, group_of, turns


@pytest.fixture(scope='module')
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return Embedder(write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.onnx', grid=(3, 4)))


def write_set(folder: Path, rows: list[tuple], columns: str = '') -> Path:
    """A set of plain pictures; a row: (colour, place, role, order, ...)."""
    folder.mkdir()
    lines = [f'file,place,role,order{columns}']
    for n, (colour, *cells) in enumerate(rows):
        cv2.imwrite(str(folder / f'{n}.png'), np.full((6, 8, 3), colour, np.uint8))
        lines.append(','.join([f'{n}.png', *map(str, cells)]))
    (folder / 'index.csv').write_text('\n'.join(lines) + '\n')
    return folder


BLUE, GREEN, RED = (250, 9, 9), (9, 250, 9), (9, 9, 250)


def test_right_and_wrong_are_told_of_each_query_by_both_methods(tmp_path: Path, embedder):
    rows = [(BLUE, 'a', 'database', ''), (GREEN, 'b', 'database', '')]
    rows += [(BLUE, 'a', 'query', ''), (GREEN, 'a', 'query', ''), (RED, 'none', 'query', '')]
    asked = AskedPlaces([write_set(tmp_path / 'plain', rows)]).ask(embedder)['plain']
    assert asked.right['descriptor'].tolist() == [True, False]  # the third has no right place
    assert set(asked.right) == {'descriptor', 'verified'}
    assert len(set(asked.spots)) == 1  # both are of one place


def test_with_poses_every_picture_is_a_query_and_is_not_in_its_own_map(tmp_path: Path, embedder):
    # Twelve places of two pictures, 10 m apart. A picture looks like the one two places on, in
    # another part of the town, and like itself: only itself would be a right answer.
    rows = []
    for n in range(12):
        colour = (10 + 20 * n, 250 - 20 * n, 100)
        rows.append((colour, n, 'database' if n % 2 else 'query', '', 300 * n, 0, 0))
        rows.append((RED, n, 'query', '', 300 * n, 10, 0))
    columns = ',east_m,north_m,heading_deg'
    folder = write_set(tmp_path / 'streets', rows, columns)
    frames = read_source(folder)
    parts = list(turns(frames))
    assert sorted(np.concatenate([asked for _, asked in parts])) == list(range(24))
    for mapped, asked in parts:
        labels = [{frames[i].label for i in rows} for rows in (mapped, asked)]
        assert not labels[0] & labels[1] and len(mapped) + len(asked) == 24
    with pytest.raises(VprError) as error:  # no place is near another one
        AskedPlaces([folder]).ask(embedder)
    assert 'streets: no query has a right place' in line_of(error)


def test_neighbours_of_another_place_are_found(tmp_path: Path, embedder):
    colours = [(10 + 60 * (n // 2), 240 - 60 * (n // 2), 100) for n in range(8)]
    rows = [
        (colour, n, 'query' if n % 2 else 'database', '', 300 * (n // 2) + 9 * (n % 2), 0, 0)
        for n, colour in enumerate(colours)
    ]
    folder = write_set(tmp_path / 'streets', rows, ',east_m,north_m,heading_deg')
    asked = AskedPlaces([folder]).ask(embedder)['streets']
    assert asked.right['descriptor'].all() and len(asked.spots) == 8
    assert len(set(asked.spots)) == 4  # the pairs lie in one cell of 10 m each


def test_other_pictures_in_the_map_are_another_test(tmp_path: Path, embedder):
    rows, digests = [(BLUE, 'a', 'query', ''), (BLUE, 'a', 'database', '')], []
    for name in ('one', 'two'):
        rows.append((GREEN, name, 'database', ''))
        folder = write_set(tmp_path / name, rows)
        digests.append(AskedPlaces([folder]).ask(embedder)[name].digest)
    assert digests[0] != digests[1]


def test_only_held_back_places_are_asked_about(tmp_path: Path, embedder):
    rows = [(c, p, role, '') for p, c in (('a', BLUE), ('b', GREEN)) for role in ('day', 'night')]
    rows += [(BLUE, 'c', 'day', ''), (RED, 'c', 'night', '')]
    folder = write_set(tmp_path / 'spots', rows)
    asked = AskedPlaces([], held_back={folder: {'a', 'b'}}).ask(embedder)['spots']
    assert asked.right['verified'].tolist() == [True, True]
    both = AskedPlaces([], held_back={folder: {'a', 'b', 'c'}}).ask(embedder)['spots']
    assert len(both.spots) == 3 and both.digest != asked.digest
    with pytest.raises(VprError) as error:
        AskedPlaces([], held_back={folder: {'nowhere'}}).ask(embedder)
    assert 'no held-back pictures of the roles database or day' in line_of(error)


def test_frames_in_a_row_are_one_spot(tmp_path: Path, embedder):
    rows = [(BLUE, n, role, n) for role in ('database', 'query') for n in range(9)]
    asked = AskedPlaces([write_set(tmp_path / 'walk', rows)]).ask(embedder)['walk']
    assert len(asked.spots) == 9 and len(set(asked.spots)) == 3


def test_frames_of_one_camera_are_one_spot(tmp_path: Path, embedder):
    rows = [(BLUE, f'cam{n % 2}', role, n) for role in ('database', 'query') for n in range(8)]
    asked = AskedPlaces([write_set(tmp_path / 'cams', rows)]).ask(embedder)['cams']
    assert len(asked.spots) == 8 and len(set(asked.spots)) == 2


def test_groups_are_by_what_differs():
    assert group_of('tour_walk') == group_of('pano_tours2') == 'tours'
    assert group_of('town11/again') == group_of('town21/night') == 'walks, light'
    assert group_of('town11/left3') == group_of('town11/forward4') == 'walks, moved'
    assert group_of('another') == 'another'
