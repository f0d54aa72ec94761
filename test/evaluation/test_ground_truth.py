# SPDX-License-Identifier: Apache-2.0
"""Which places are right: by poses, by names and numbers, by listed frames."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from conftest import line_of, places_along_x

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.ground_truth import (
    Correspondences,
    GroundTruth,
    Tolerance,
    positives,
    positives_by,
)
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.place_map import Place
from ashtkd_ros.traverses.image_folder import file_frame


def frame(x: float = 0, y: float = 0, yaw: float = 0, label: str = '', pose: bool = True):
    half = math.radians(yaw) / 2
    where = Pose(x, y, 0.0, qz=math.sin(half), qw=math.cos(half)) if pose else None
    return file_frame(Path('q.jpg'), 0.0, 0, where, label)


def labelled(*names: str) -> list[Place]:
    return [Place(i, 0.0, i, None, 'p.jpg', name) for i, name in enumerate(names)]


def test_positives_by_metres_and_degrees():
    places = places_along_x([0, 3, 6])
    queries = [frame(1), frame(0, 3.01), frame(6, 0, yaw=44), frame(6, 0, yaw=-46)]
    truth = positives(queries, places, Tolerance(metres=3.0, degrees=45.0))
    expected = [[1, 1, 0], [0, 0, 0], [0, 1, 1], [0, 0, 0]]
    np.testing.assert_array_equal(truth, np.array(expected, bool))


def test_headings_are_compared_around_the_circle():
    place = Place(0, 0, 0, frame(0, 0, yaw=179).pose, 'p')
    truth = positives([frame(yaw=-179), frame(yaw=0)], [place], Tolerance(degrees=5))
    assert truth[:, 0].tolist() == [True, False]


def test_positives_by_frames_where_places_are_numbers():
    queries = [frame(label=n, pose=False) for n in ('10', '13', '99')]
    truth = positives(queries, labelled('8', '10', '12', '15'), Tolerance(frames=2))
    expected = [[1, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0]]
    np.testing.assert_array_equal(truth, np.array(expected, bool))


def test_positives_by_names():
    queries = [frame(label=n, pose=False) for n in ('hall', 'attic', '7')]
    truth = positives(queries, labelled('hall', 'yard', 'hall', '7'), Tolerance())
    expected = [[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(truth, np.array(expected, bool))


def test_digits_that_are_no_number_are_names():
    truth = positives([frame(label='\u00b2', pose=False)], labelled('\u00b2', '2'), Tolerance())
    assert truth.tolist() == [[True, False]]


def test_names_serve_where_only_one_traverse_has_poses():
    truth = positives([frame(1, label='a')], labelled('a', 'b'), Tolerance())
    assert truth.tolist() == [[True, False]]


def test_places_without_a_pose_are_never_right_where_others_have_one():
    places = [Place(0, 0.0, 0, None, 'p', 'a'), *places_along_x([0.0])]
    truth = positives([frame(0, label='a')], places, Tolerance())
    assert truth.tolist() == [[False, True]]


def test_no_ground_truth_is_refused():
    for queries in ([frame()], [frame(label='a', pose=False), frame(pose=False)]):
        with pytest.raises(VprError) as error:
            positives(queries, labelled('a', 'b'), Tolerance())
        assert 'there is no ground truth' in line_of(error)
        assert '--correspondences' in line_of(error)


@pytest.mark.parametrize('chunk', [1, 7, 512])
def test_judged_in_parts_is_judged_as_a_whole(chunk: int):
    rng = np.random.default_rng(0)
    places = places_along_x(range(30))
    queries = [frame(x, yaw=x) for x in rng.uniform(-9, 40, 50)]
    ranking = rng.integers(-1, 30, (50, 5))
    tolerance = Tolerance(metres=2.0, degrees=25)
    rule = positives_by(queries, places, tolerance)
    hits, has_positive = GroundTruth(queries, places, rule).judge(ranking, chunk)
    truth = positives(queries, places, tolerance)
    assert has_positive.any() and not has_positive.all() and hits.any()
    np.testing.assert_array_equal(has_positive, truth.any(axis=1))
    for row, found, given in zip(truth, hits, ranking, strict=True):
        assert found.tolist() == [i >= 0 and bool(row[i]) for i in given]


@pytest.mark.parametrize('chunk', [1, 512])
def test_what_is_within_twice_the_tolerance(tmp_path: Path, chunk: int):
    places, tolerance = places_along_x(range(0, 100, 10)), Tolerance(6.0, 50.0, 2)
    queries = [frame(6), frame(12), frame(13), frame(12, yaw=99), frame(12, yaw=101), frame(6)]
    rules = (positives_by(queries, places, t) for t in (tolerance, tolerance.twice()))
    truth = GroundTruth(queries, places, *rules)
    best = np.array([0, 0, 0, 0, 0, -1])
    assert truth.judge(best[:, None], chunk)[0][:, 0].tolist() == [True] + [False] * 5
    assert truth.within_twice(best, chunk).tolist() == [True, True, False, True, False, False]
    assert Tolerance(0.0, 170.0, 0).twice() == Tolerance(0.0, 180.0, 0)
    wider = correspondences(tmp_path, 'query,map\n3,10\n', frames=2).twice()
    orders = [Place(i, 0.0, order, None, 'p') for i, order in enumerate((5, 6, 10, 14, 15))]
    listed = GroundTruth([file_frame(Path('q'), 0.0, 3)] * 5, orders, wider)
    assert listed.within_twice(np.arange(5)).tolist() == [False, True, True, True, False]


def test_one_query_without_a_pose_changes_how_all_parts_are_judged():
    places = [Place(i, 0, i, Pose(100.0 * i, 0, 0), 'p', str(i)) for i in range(3)]
    queries = [frame(0, label='2'), frame(label='2', pose=False)]
    rule = positives_by(queries, places, Tolerance(frames=0))
    hits, _ = GroundTruth(queries, places, rule).judge(np.array([[0], [2]]), chunk=1)
    assert hits[:, 0].tolist() == [False, True]  # by number, though the first has a pose


def correspondences(tmp_path: Path, text: str, frames: int = 0) -> Correspondences:
    (tmp_path / 'pairs.csv').write_text(text)
    return Correspondences.read(tmp_path / 'pairs.csv', frames)


def test_correspondences_name_the_right_frames_of_the_map(tmp_path: Path):
    text = 'query,map\n3,10\n3,14\n5,11\n'
    queries = [file_frame(Path('q'), 0.0, order) for order in (3, 4, 5)]
    places = [Place(i, 0.0, order, None, 'p') for i, order in enumerate((9, 10, 12, 15))]
    exact = correspondences(tmp_path, text)(queries, places)
    assert exact.astype(int).tolist() == [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    near = correspondences(tmp_path, text, frames=1)
    assert near(queries, places).astype(int).tolist() == [[1, 1, 0, 1], [0] * 4, [0, 1, 1, 0]]
    hits, has_positive = GroundTruth(queries, places, near).judge(np.array([[3], [0], [0]]))
    assert hits[:, 0].tolist() == [True, False, False]
    assert has_positive.tolist() == [True, False, True]


def test_frames_of_several_traverses_are_told_apart(tmp_path: Path):
    places = [Place(i, 0.0, 7, None, 'p', traverse=i) for i in range(2)]
    listed = correspondences(tmp_path, 'query,map,traverse\n3,7,1\n')
    queries = [file_frame(Path('q'), 0.0, 3)]
    listed.check(queries, places)
    assert listed(queries, places).tolist() == [[False, True]]
    plain = correspondences(tmp_path, 'query,map\n3,7\n')
    plain.check(queries, places[:1])
    with pytest.raises(VprError) as error:
        plain.check(queries, places)
    assert 'add a column traverse' in line_of(error)


def test_a_place_is_right_whichever_of_its_pictures_is_listed(tmp_path: Path):
    looks = [Place(i, 0.0, 7, None, 'p', traverse=t) for i, t in ((4, 0), (6, 0), (4, 1))]
    listed = correspondences(tmp_path, 'query,map,traverse\n3,7,1\n')
    assert listed([file_frame(Path('q'), 0.0, 3)], looks).tolist() == [[True, False, True]]


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('query,map\n3,9\n', 'column map is a frame of this map'),
        ('query,map,traverse\n3,7,1\n', 'column map is a frame of this map'),
        ('query,map\n4,7\n', 'column query is a frame of this traverse'),
    ],
)
def test_correspondences_of_other_frames_are_refused(tmp_path: Path, text: str, said: str):
    listed = correspondences(tmp_path, text, frames=1)
    with pytest.raises(VprError) as error:
        listed.check([file_frame(Path('q'), 0.0, 3)], [Place(0, 0.0, 7, None, 'p')])
    assert said in line_of(error)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('query,map,traverse\n1,2,\n', 'pairs.csv:2: traverse is ""'),
        ('query,place\n1,2\n', 'the column map is missing'),
        ('query,map\n1,2\n2,x\n', 'pairs.csv:3: map is "x"'),
        ('query,map\n-1,2\n', 'pairs.csv:2: query is "-1"'),
        ('query,map\n1,2.5\n', 'pairs.csv:2: map is "2.5"'),
        ('query,map\n1,\n', 'pairs.csv:2: map is ""'),
        ('query,map\n1\n', 'pairs.csv:2: the row has too few columns'),
        ('query,map\n', 'lists no correspondence'),
    ],
)
def test_bad_correspondences_are_one_line(tmp_path: Path, text: str, message: str):
    with pytest.raises(VprError) as error:
        correspondences(tmp_path, text)
    assert message in line_of(error)


def test_correspondences_that_are_not_there_are_one_line(tmp_path: Path):
    with pytest.raises(VprError) as error:
        Correspondences.read(tmp_path / 'gone.csv')
    assert line_of(error) == f'{tmp_path / "gone.csv"}: no such file; check its name'
