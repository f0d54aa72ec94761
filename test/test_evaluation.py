# SPDX-License-Identifier: Apache-2.0
"""Recall, precision and ground truth, against examples worked by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from conftest import line_of, places_along_x

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation import Tolerance, evaluate, positives, precision_recall
from ashtkd_ros.place_map import Place
from ashtkd_ros.sources import Frame, Pose


def frame(x: float = 0, y: float = 0, yaw: float = 0, label: str = '', pose: bool = True):
    half = math.radians(yaw) / 2
    where = Pose(x, y, 0.0, qz=math.sin(half), qw=math.cos(half)) if pose else None
    return Frame(Path('q.jpg'), 0.0, 0, where, label)


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
    precision, recall = precision_recall(right, scores, total=4)
    # thresholds 0.9: 1/1; 0.7: 2/2; 0.5 (two queries): 3/4; 0.2: 3/5
    np.testing.assert_allclose(precision, [1, 1, 3 / 4, 3 / 5])
    np.testing.assert_allclose(recall, [1 / 4, 2 / 4, 3 / 4, 3 / 4])


def test_order_among_equal_scores_does_not_matter():
    right, scores = np.array([True, False, False, True]), np.full(4, 0.5)
    for order in ([0, 1, 2, 3], [1, 2, 0, 3], [3, 0, 2, 1]):
        precision, recall = precision_recall(right[order], scores, total=2)
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


def test_nothing_to_judge_by_is_refused():
    for queries in ([frame()], [frame(label='a', pose=False), frame(pose=False)]):
        with pytest.raises(VprError) as error:
            positives(queries, labelled('a', 'b'), Tolerance())
        assert 'nothing to judge by' in line_of(error)
