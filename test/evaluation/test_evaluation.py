# SPDX-License-Identifier: Apache-2.0
"""Recall, precision and ground truth, against examples worked by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from conftest import line_of, places_along_x

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.metrics import (
    Answer,
    Correspondences,
    Tolerance,
    calibration,
    evaluate,
    judge,
    localisation_error,
    metrics_of,
    positives,
    positives_by,
    precision_recall,
    thinned_similarity,
    unknown_share,
)
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.place_map import Place
from ashtkd_ros.sampling import thin
from ashtkd_ros.traverses.image_folder import file_frame


def frame(x: float = 0, y: float = 0, yaw: float = 0, label: str = '', pose: bool = True):
    half = math.radians(yaw) / 2
    where = Pose(x, y, 0.0, qz=math.sin(half), qw=math.cos(half)) if pose else None
    return file_frame(Path('q.jpg'), 0.0, 0, where, label)


def labelled(*names: str) -> list[Place]:
    return [Place(i, 0.0, i, None, 'p.jpg', name) for i, name in enumerate(names)]


def plain_average_precision(right, scores, total: int) -> float:
    """Reference: over the thresholds, the gain in recall times the precision there."""
    area, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        accepted = [r for r, s in zip(right, scores, strict=True) if s >= threshold]
        recall = sum(accepted) / total
        area += (recall - before) * sum(accepted) / len(accepted)
        before = recall
    return area


def test_queries_without_a_positive_stay_in_the_denominator_and_are_counted():
    truth = np.zeros((4, 6), bool)
    truth[0, 2] = truth[1, 3] = True  # queries 2 and 3 have no positive
    ranking = np.array([[2, 0, 1, 3, 4], [0, 3, 1, 2, 4], [0, 1, 2, 3, 4], [5, 4, 3, 2, 1]])
    metrics = evaluate(ranking, np.array([0.9, 0.8, 0.7, 0.6]), truth)
    assert metrics.recall == {1: 0.25, 5: 0.5}
    assert (metrics.queries, metrics.without_positive) == (4, 2)
    assert '4 queries, 2 without a positive' in metrics.line()


def test_recall_is_given_at_the_depths_that_were_ranked():
    truth = np.eye(30, dtype=bool)
    ranking = np.argsort(-truth.astype(int), axis=1, kind='stable')[:, :20]
    metrics = evaluate(ranking, np.ones(30), truth)
    assert metrics.recall == {1: 1.0, 5: 1.0, 10: 1.0, 20: 1.0}
    assert list(evaluate(ranking[:, :7], np.ones(30), truth).recall) == [1, 5]
    assert metrics.line().startswith('R@1 100.0 %  R@5 100.0 %  R@10 100.0 %  R@20 100.0 %  AP 1')


def test_precision_and_recall_by_hand_with_equal_scores_together():
    right = np.array([True, False, True, True, False])
    scores = np.array([0.9, 0.5, 0.5, 0.7, 0.2])
    precision, recall, thresholds = precision_recall(right, scores, total=4)
    # thresholds 0.9: 1/1; 0.7: 2/2; 0.5 (two queries): 3/4; 0.2: 3/5
    np.testing.assert_allclose(precision, [1, 1, 3 / 4, 3 / 5])
    np.testing.assert_allclose(recall, [1 / 4, 2 / 4, 3 / 4, 3 / 4])
    assert thresholds.tolist() == [0.9, 0.7, 0.5, 0.2]


def test_order_among_equal_scores_does_not_matter():
    right, scores = np.array([True, False, False, True]), np.full(4, 0.5)
    for order in ([0, 1, 2, 3], [1, 2, 0, 3], [3, 0, 2, 1]):
        precision, recall, _ = precision_recall(right[order], scores, total=2)
        assert (precision.tolist(), recall.tolist()) == ([0.5], [1.0])


@pytest.mark.parametrize('seed', range(5))
def test_average_precision_equals_the_plain_reference(seed: int):
    rng = np.random.default_rng(seed)
    truth = rng.random((40, 15)) < 0.1
    ranking = np.argsort(rng.random((40, 15)), axis=1)[:, :5]
    scores = rng.integers(0, 12, 40) / 10  # with ties
    metrics = evaluate(ranking, scores, truth)
    right = truth[np.arange(40), ranking[:, 0]]
    total = int(truth.any(axis=1).sum())
    expected = plain_average_precision(right, scores, total)
    assert metrics.average_precision == pytest.approx(expected)
    assert metrics.recall[1] == pytest.approx(right.mean())


def test_recall_at_full_precision_stops_before_the_first_error():
    truth = np.eye(5, dtype=bool)
    ranking = np.array([[0], [1], [3], [3], [4]])  # query 2 is wrong
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    assert evaluate(ranking, scores, truth).recall_at_full_precision == pytest.approx(2 / 5)
    tied = np.array([0.9, 0.7, 0.7, 0.6, 0.5])
    assert evaluate(ranking, tied, truth).recall_at_full_precision == pytest.approx(1 / 5)
    first_wrong = np.array([0.5, 0.5, 0.9, 0.5, 0.5])
    assert evaluate(ranking, first_wrong, truth).recall_at_full_precision == 0.0


def test_recall_of_the_curve_is_over_queries_with_a_positive():
    truth = np.array([[True, False], [False, False]])
    metrics = evaluate(np.array([[0, 1], [1, 0]]), np.array([0.9, 0.1]), truth)
    assert metrics.found.tolist() == [1.0, 1.0] and metrics.precision.tolist() == [1.0, 0.5]
    assert metrics.recall_at_full_precision == 1.0


def test_candidates_that_were_not_given_are_never_right():
    truth = np.ones((3, 4), bool)
    metrics = evaluate(np.full((3, 5), -1), np.zeros(3), truth)
    assert metrics.recall == {1: 0.0, 5: 0.0}
    assert metrics.average_precision == 0.0 and metrics.recall_at_full_precision == 0.0
    some = np.array([[-1, 0], [2, -1], [-1, -1]])
    assert evaluate(some, np.zeros(3), truth).recall[1] == pytest.approx(1 / 3)


def test_no_positive_anywhere_gives_zeros():
    metrics = evaluate(np.zeros((2, 5), int), np.ones(2), np.zeros((2, 3), bool))
    assert metrics.recall == {1: 0.0, 5: 0.0} and metrics.without_positive == 2
    assert metrics.average_precision == 0.0


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


def test_nothing_to_judge_by_is_refused():
    for queries in ([frame()], [frame(label='a', pose=False), frame(pose=False)]):
        with pytest.raises(VprError) as error:
            positives(queries, labelled('a', 'b'), Tolerance())
        assert 'nothing to judge by' in line_of(error)
        assert '--correspondences' in line_of(error)


def test_highest_f1_by_hand():
    right = np.array([True, False, True, True, False])
    scores = np.array([0.9, 0.5, 0.5, 0.7, 0.2])
    has_positive = np.array([True, True, True, True, False])
    metrics = metrics_of(right[:, None], scores, has_positive)
    # precision and recall (1, 1/4), (1, 2/4), (3/4, 3/4), (3/5, 3/4) → F1 0.4, 0.67, 0.75, 0.67
    assert metrics.f1_max == pytest.approx(0.75) and metrics.f1_threshold == 0.5
    assert metrics.thresholds.tolist() == [0.9, 0.7, 0.5, 0.2]


def test_of_equal_f1_the_highest_threshold_is_named_and_of_none_right_none():
    # (1, 1/2), (1/2, 1/2), (2/3, 1) with F1 2/3, 1/2, 4/5; then without the last right answer
    hits = np.array([[True], [False], [True]])
    assert metrics_of(hits, np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1]) > 0).f1_threshold == 0.7
    tied = metrics_of(hits, np.array([0.9, 0.9, 0.7]), np.array([1, 1, 1]) > 0)
    # (1/2, 1/3), (2/3, 2/3)
    assert tied.f1_max == pytest.approx(2 / 3) and tied.f1_threshold == 0.7
    same = metrics_of(np.array([[True], [False]]), np.array([0.9, 0.8]), np.array([True, True]))
    assert same.f1_max == pytest.approx(2 / 3) and same.f1_threshold == 0.9
    wrong = metrics_of(np.zeros((2, 1), bool), np.array([0.9, 0.8]), np.array([True, True]))
    assert wrong.f1_max == 0.0 and math.isnan(wrong.f1_threshold)


def test_no_query_is_one_line():
    with pytest.raises(VprError) as error:
        metrics_of(np.zeros((0, 5), bool), np.zeros(0), np.zeros(0, bool))
    assert 'no query' in line_of(error)


@pytest.mark.parametrize('chunk', [1, 7, 512])
def test_judged_in_parts_is_judged_as_a_whole(chunk: int):
    rng = np.random.default_rng(0)
    places = places_along_x(range(30))
    queries = [frame(x, yaw=x) for x in rng.uniform(-9, 40, 50)]
    ranking = rng.integers(-1, 30, (50, 5))
    tolerance = Tolerance(metres=2.0, degrees=25)
    hits, has_positive = judge(
        ranking, queries, places, positives_by(queries, places, tolerance), chunk
    )
    truth = positives(queries, places, tolerance)
    assert has_positive.any() and not has_positive.all() and hits.any()
    np.testing.assert_array_equal(has_positive, truth.any(axis=1))
    for row, found, given in zip(truth, hits, ranking, strict=True):
        assert found.tolist() == [i >= 0 and bool(row[i]) for i in given]


def test_one_query_without_a_pose_changes_how_all_parts_are_judged():
    places = [Place(i, 0, i, Pose(100.0 * i, 0, 0), 'p', str(i)) for i in range(3)]
    queries = [frame(0, label='2'), frame(label='2', pose=False)]
    judged_by = positives_by(queries, places, Tolerance(frames=0))
    hits, _ = judge(np.array([[0], [2]]), queries, places, judged_by, chunk=1)
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
    hits, has_positive = judge(np.array([[3], [0], [0]]), queries, places, near)
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


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('query,map\n3,9\n', 'column map is a frame of this map'),
        ('query,map,traverse\n3,7,1\n', 'column map is a frame of this map'),
        ('query,map\n4,7\n', 'column query is a frame replayed'),
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
        ('query,place\n1,2\n', 'column map is missing'),
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
    assert 'gone.csv' in line_of(error)


def test_calibration_by_hand():
    confidences = np.array([0.92] * 4 + [0.35] * 4 + [0.25])
    right = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0], bool)
    found = calibration(confidences, right)
    assert found.count.tolist() == [0, 0, 1, 4, 0, 0, 0, 0, 0, 4]
    np.testing.assert_allclose(found.confidence[[2, 3, 9]], [0.25, 0.35, 0.92])
    np.testing.assert_allclose(found.right[[2, 3, 9]], [0.0, 0.25, 0.75])
    assert np.isnan(found.right[0]) and np.isnan(found.confidence[0])
    # gaps 0.25 (1 answer), 0.10 (4), 0.17 (4)
    assert found.error == pytest.approx((0.25 + 4 * 0.10 + 4 * 0.17) / 9)


def test_confidences_at_the_ends_fall_in_the_outer_bins_and_a_perfect_one_has_no_error():
    found = calibration(np.array([0.0, 1.0, 1.0]), np.array([False, True, True]))
    assert found.count.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 2] and found.error == 0.0


def answer(x: float, at: float | None, accepted: bool = True) -> Answer:
    place = Place(0, 0.0, 0, None if at is None else Pose(at, 3.0, 9.0), 'p')
    return Answer(frame(x, 3.0), place, 0.7, right=False, accepted=accepted)


def test_localisation_error_is_over_accepted_answers_with_poses():
    answers = [answer(0, 1), answer(0, -3), answer(0, 100, accepted=False), answer(0, None)]
    found = localisation_error(answers)
    assert (found.median, found.n) == (pytest.approx(2.0), 2)
    assert found.p95 == pytest.approx(1 + 0.95 * 2)
    assert localisation_error(answers[2:]) is None and localisation_error([]) is None
    assert unknown_share(answers) == 0.25


def test_thin_keeps_the_ends_and_spreads_the_rest():
    assert thin(11, 3).tolist() == [0, 5, 10] and thin(2, 5).tolist() == [0, 1]
    assert thin(1, 5).tolist() == [0] and thin(0, 5).size == 0
    assert len(thin(100_000, 500)) == 500


def test_thinned_similarity_is_of_the_rows_that_are_kept():
    queries, places = np.eye(6, dtype=np.float32)[:5], np.eye(6, dtype=np.float32)
    thinned = thinned_similarity(queries, places, most=3)
    assert thinned.dtype == np.float32
    np.testing.assert_array_equal(thinned, (queries @ places.T)[[0, 2, 4]][:, thin(6, 3)])
