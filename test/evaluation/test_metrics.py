# SPDX-License-Identifier: Apache-2.0
"""Recall, precision, calibration and localisation error, against examples worked by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from conftest import line_of

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.ground_truth import JudgedQuery
from ashtkd_ros.evaluation.metrics import (
    calibration,
    localisation_error,
    metrics_of,
    precision_recall,
    retrieval_metrics,
    unknown_share,
)
from ashtkd_ros.evaluation.similarity_matrix import similarity_matrix
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.place_map import Place
from ashtkd_ros.sampling import thin
from ashtkd_ros.traverses.image_folder import file_frame


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
    metrics = retrieval_metrics(ranking, np.array([0.9, 0.8, 0.7, 0.6]), truth)
    assert metrics.recall == {1: 0.25, 5: 0.5}
    assert (metrics.queries, metrics.without_positive) == (4, 2)
    assert '4 queries, 2 without a positive' in metrics.line()


def test_recall_is_given_at_the_depths_that_were_ranked():
    truth = np.eye(30, dtype=bool)
    ranking = np.argsort(-truth.astype(int), axis=1, kind='stable')[:, :20]
    metrics = retrieval_metrics(ranking, np.ones(30), truth)
    assert metrics.recall == {1: 1.0, 5: 1.0, 10: 1.0, 20: 1.0}
    assert list(retrieval_metrics(ranking[:, :7], np.ones(30), truth).recall) == [1, 5]
    assert metrics.line().startswith('R@1 100.0 %  R@5 100.0 %  R@10 100.0 %  R@20 100.0 %  AP 1')
    hits, sure = np.array([[True, True], [False, True]]), np.array([0.9, 0.8])
    found = metrics_of(hits, sure, np.ones(2, bool), np.array([True, True]))
    assert found.line().startswith('R@1 50.0 % (100.0 % within twice the tolerance)  AP ')


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
    metrics = retrieval_metrics(ranking, scores, truth)
    right = truth[np.arange(40), ranking[:, 0]]
    total = int(truth.any(axis=1).sum())
    expected = plain_average_precision(right, scores, total)
    assert metrics.average_precision == pytest.approx(expected)
    assert metrics.recall[1] == pytest.approx(right.mean())


def test_recall_at_full_precision_stops_before_the_first_error():
    def recall(scores: list[float]) -> float:
        ranking = np.array([[0], [1], [3], [3], [4]])  # query 2 is wrong
        truth = np.eye(5, dtype=bool)
        return retrieval_metrics(ranking, np.array(scores), truth).recall_at_full_precision

    assert recall([0.9, 0.8, 0.7, 0.6, 0.5]) == pytest.approx(2 / 5)
    assert recall([0.9, 0.7, 0.7, 0.6, 0.5]) == pytest.approx(1 / 5)  # tied with the wrong one
    assert recall([0.5, 0.5, 0.9, 0.5, 0.5]) == 0.0  # the wrong one is first


def test_recall_of_the_curve_is_over_queries_with_a_positive():
    truth = np.array([[True, False], [False, False]])
    metrics = retrieval_metrics(np.array([[0, 1], [1, 0]]), np.array([0.9, 0.1]), truth)
    assert metrics.recall_curve.tolist() == [1.0, 1.0] and metrics.precision_curve.tolist() == [
        1.0,
        0.5,
    ]
    assert metrics.recall_at_full_precision == 1.0


def test_candidates_that_were_not_given_are_never_right():
    truth = np.ones((3, 4), bool)
    metrics = retrieval_metrics(np.full((3, 5), -1), np.zeros(3), truth)
    assert metrics.recall == {1: 0.0, 5: 0.0}
    assert metrics.average_precision == 0.0 and metrics.recall_at_full_precision == 0.0
    some = np.array([[-1, 0], [2, -1], [-1, -1]])
    assert retrieval_metrics(some, np.zeros(3), truth).recall[1] == pytest.approx(1 / 3)


def test_no_positive_anywhere_gives_zeros():
    metrics = retrieval_metrics(np.zeros((2, 5), int), np.ones(2), np.zeros((2, 3), bool))
    assert metrics.recall == {1: 0.0, 5: 0.0} and metrics.without_positive == 2
    assert metrics.average_precision == 0.0


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
    # 1 right of 4 accepted and 2 of 10, of 2 in all: F1 is 1/3 twice, but rounding favours the 2nd
    late = np.isin(np.arange(10), (3, 9))
    scores = np.linspace(1.0, 0.1, 10)
    assert metrics_of(late[:, None], scores, late).f1_threshold == scores[3]
    wrong = metrics_of(np.zeros((2, 1), bool), np.array([0.9, 0.8]), np.array([True, True]))
    assert wrong.f1_max == 0.0 and math.isnan(wrong.f1_threshold)


def test_no_query_is_one_line():
    with pytest.raises(VprError) as error:
        metrics_of(np.zeros((0, 5), bool), np.zeros(0), np.zeros(0, bool))
    assert 'no query' in line_of(error)


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


def judged(x: float, at: float | None, accepted: bool = True) -> JudgedQuery:
    place = Place(0, 0.0, 0, None if at is None else Pose(at, 3.0, 9.0), 'p')
    query = file_frame(Path('q.jpg'), 0.0, 0, Pose(x, 3.0, 0.0))
    return JudgedQuery(query, place, 0.7, right=False, accepted=accepted)


def test_localisation_error_is_over_accepted_answers_with_poses():
    answers = [judged(0, 1), judged(0, -3), judged(0, 100, accepted=False), judged(0, None)]
    found = localisation_error(answers)
    assert (found.median, found.n) == (pytest.approx(2.0), 2)
    assert found.p95 == pytest.approx(1 + 0.95 * 2)
    assert localisation_error(answers[2:]) is None and localisation_error([]) is None
    assert unknown_share(answers) == 0.25


def test_thin_keeps_the_ends_and_spreads_the_rest():
    assert thin(11, 3).tolist() == [0, 5, 10] and thin(2, 5).tolist() == [0, 1]
    assert thin(1, 5).tolist() == [0] and thin(0, 5).size == 0
    assert thin(5, 1).tolist() == [0] and thin(5, 2).tolist() == [0, 4] and thin(5, 0).size == 0
    assert len(thin(100_000, 500)) == 500


def test_similarity_matrix_is_of_the_rows_that_are_kept():
    queries, places = np.eye(6, dtype=np.float32)[:5], np.eye(6, dtype=np.float32)
    thinned = similarity_matrix(queries, places, most=3)
    assert thinned.dtype == np.float32
    np.testing.assert_array_equal(thinned, (queries @ places.T)[[0, 2, 4]][:, thin(6, 3)])
