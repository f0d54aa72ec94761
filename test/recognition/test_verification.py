# SPDX-License-Identifier: Apache-2.0
"""Verification: what matches one candidate alone decides; what matches everywhere does not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from conftest import unit_rows

from ashtkd_ros.recognition.verification import Verified, verify

GRID = (6, 8)
P, L = 48, 32


@pytest.fixture(autouse=True)
def no_warnings():
    """A division by nothing, or a NaN, is an error."""
    with warnings.catch_warnings(), np.errstate(all='raise', under='ignore'):
        warnings.simplefilter('error')
        yield


def features(seed: int, count: int = 1, positions: int = P) -> np.ndarray:
    """Random local features, int8 (count, positions, L), of length 1."""
    rows = np.rint(127 * unit_rows(count * positions, L, seed)).astype(np.int8)
    return rows.reshape(count, positions, L)


def shifted(local: np.ndarray, down: int, right: int) -> np.ndarray:
    """Features (P, L) whose picture stands lower and further right; what is new is random."""
    grid, rows, columns = local.reshape(*GRID, L), np.arange(GRID[0]), np.arange(GRID[1])
    moved = features(99)[0].reshape(*GRID, L).copy()
    rows, columns = (
        at[(at + by >= 0) & (at + by < n)]
        for at, by, n in zip((rows, columns), (down, right), GRID, strict=True)
    )
    moved[np.ix_(rows + down, columns + right)] = grid[np.ix_(rows, columns)]
    return moved.reshape(P, L)


def check(query: np.ndarray, candidates: np.ndarray, similarities=0.5) -> Verified:
    alike = np.broadcast_to(np.float32(similarities), len(candidates))
    return verify(query, candidates, alike, GRID)


@pytest.mark.parametrize('move', [(0, 0), (2, 0), (0, -3), (-1, 2), (3, 4)])
def test_a_shifted_copy_wins_with_its_displacement(move: tuple[int, int]):
    query, candidates = features(1)[0], features(2, 10)
    candidates[7] = shifted(query, *move)
    found = check(query, candidates)
    assert found.scores.argmax() == 7
    assert found.displacement[7].tolist() == list(move)
    overlap = (GRID[0] - abs(move[0])) * (GRID[1] - abs(move[1]))
    assert overlap / P <= found.agreement[7] <= overlap / P + 0.1  # new parts may match by chance
    assert np.delete(found.agreement, 7).max() < 0.35


def test_matches_are_the_positions_that_show_the_same():
    query, candidates = features(1)[0], features(2, 3)
    candidates[1] = shifted(query, 1, 2)
    matches = check(query, candidates).matches(1)
    rows, columns = np.divmod(matches, GRID[1])
    right = (np.diff(rows, axis=1) == 1) & (np.diff(columns, axis=1) == 2)
    assert right.sum() == 5 * 6 and len(matches) <= 5 * 6 + 3
    assert len(set(matches[:, 0])) == len(set(matches[:, 1])) == len(matches)


def test_what_matches_everywhere_decides_nothing():
    # Five sixths are the same wall everywhere; the rest is seen in candidate 2 alone.
    query, candidates = features(1)[0], features(2, 6)
    candidates[:, 8:] = query[8:]
    candidates[2, :8] = query[:8]
    alone = check(query, candidates, [0.5, 0.6, 0.5, 0.6, 0.6, 0.6])
    assert alone.scores.argmax() == 2
    # Without that, what the descriptor says decides.
    candidates[2, :8] = features(3)[0, :8]
    assert check(query, candidates, [0.5, 0.6, 0.5, 0.9, 0.6, 0.6]).scores.argmax() == 3


def test_identical_candidates_are_told_apart_by_the_descriptor_alone():
    query, similarities = features(1)[0], np.float32([0.1, 0.5, 0.3, 0.2, 0.4])
    for place in (query, features(2)[0], np.zeros((P, L), np.int8)):
        found = check(query, np.stack([place] * 5), similarities)
        assert np.isfinite(found.scores).all()
        np.testing.assert_allclose(np.diff(found.scores), np.diff(similarities), atol=1e-4)


def test_one_candidate_has_a_score_an_agreement_and_a_displacement():
    query = features(1)[0]
    same, other = (check(query, x[None]) for x in (shifted(query, -1, 1), features(2)[0]))
    assert np.isfinite([same.scores, other.scores]).all()
    assert same.displacement.tolist() == [[-1, 1]]
    assert same.agreement[0] > 0.7 > 0.3 > other.agreement[0]


def test_of_two_candidates_the_one_that_matches_wins():
    query = features(1)[0]
    for right in (0, 1):
        candidates = features(2, 2)
        candidates[right] = shifted(query, 0, 1)
        assert check(query, candidates).scores.argmax() == right


@pytest.mark.parametrize('zero', ['query', 'one', 'all', 'both'])
def test_features_of_zeros_give_finite_scores(zero: str):
    query, candidates = features(1)[0].copy(), features(2, 4)
    if zero in ('query', 'both'):
        query[:] = 0
    if zero in ('all', 'both'):
        candidates[:] = 0
    if zero == 'one':
        candidates[1], candidates[2] = 0, query
    found = check(query, candidates)
    assert np.isfinite(found.scores).all() and np.isfinite(found.agreement).all()
    assert ((found.agreement >= 0) & (found.agreement <= 1)).all()
    if zero == 'one':
        assert found.scores.argmax() == 2


def slow_scores(
    query: np.ndarray, candidates: np.ndarray, similarities: np.ndarray
) -> list[float]:
    """The score as the documentation has it, position by position."""
    q, c = query / 127.0, candidates / 127.0
    best = np.array([[max(float(a @ b) for b in place) for place in c] for a in q])
    matches: list[list[tuple[float, int, int]]] = []  # weight, rows, columns
    for k, place in enumerate(c):
        matches.append([])
        for i, a in enumerate(q):
            j = int(np.argmax([a @ b for b in place]))
            if max(float(other @ place[j]) for other in q) > a @ place[j]:
                continue  # another position is more like j
            weight = max((best[i, k] - best[i].mean()) / best[i].std(), 0.0) ** 1.5
            matches[k].append((weight, j // GRID[1] - i // GRID[1], j % GRID[1] - i % GRID[1]))

    def near(k: int, rows: int, columns: int) -> float:
        apart = [(w, (y - rows) ** 2 + (x - columns) ** 2) for w, y, x in matches[k]]
        return sum(w * np.exp(-squared / (2 * 2.0**2)) for w, squared in apart)

    shifts = [(y, x) for y in range(1 - GRID[0], GRID[0]) for x in range(1 - GRID[1], GRID[1])]
    shift = max(
        shifts,
        key=lambda s: (
            sum(near(k, *s) for k in range(len(c)))
            * np.exp(-((s[0] / 1.0) ** 2 + (s[1] / 4.0) ** 2) / 2)
        ),
    )
    total = [sum(w for w, _, _ in found) for found in matches]
    return [
        np.log(total[k]) + 0.2 * np.log(near(k, *shift)) + similarities[k] for k in range(len(c))
    ]


def test_scores_are_those_of_a_slow_reference():
    query, candidates = features(1)[0], features(2, 5)
    candidates[3] = shifted(query, 1, -2)
    similarities = np.linspace(0.2, 0.8, 5, dtype=np.float32)
    expected = slow_scores(query, candidates, similarities)
    found = verify(query, candidates, similarities, GRID)
    assert found.scores.dtype == np.float32
    np.testing.assert_allclose(found.scores, expected, rtol=1e-4)


def test_of_a_turned_camera_that_counts_which_is_shifted_as_all_is():
    """Half of the view is 4 columns further right; of another place a quarter is where it was."""
    query, places = features(1)[0].reshape(*GRID, L), features(2, 8).reshape(8, *GRID, L)
    places[0, :, 4:] = query[:, :-4]
    places[1, :4, 4:7] = query[:4, 4:7]
    similarities = np.float32([0.0, 0.5, 0, 0, 0, 0, 0, 0])
    query, places = query.reshape(P, L), places.reshape(8, P, L)
    found = verify(query, places, similarities, GRID)
    assert found.displacement[:2].tolist() == [[0, 4], [0, 0]]
    assert found.scores[0] > found.scores[1] + 0.2
    # What is not shifted together leaves the camera where it was.
    places[0] = features(3)[0]
    assert verify(query, places, similarities, GRID).scores.argmax() == 1


def test_int8_scores_as_numbers_that_were_not_rounded():
    # Features that are rounded keep their best partners, and the scores change by little.
    exact, places = unit_rows(P, L, 1), unit_rows(6 * P, L, 2).reshape(6, P, L)
    places[4] = exact + 0.3 * unit_rows(P, L, 3)
    places /= np.linalg.norm(places, axis=2, keepdims=True)
    similarities = np.full(6, 0.5, np.float32)
    whole = verify(127 * exact, 127 * places, similarities, GRID)
    rounded = (np.rint(127 * x).astype(np.int8) for x in (exact, places))
    found = verify(*rounded, similarities, GRID)
    assert abs(found.scores[4] - whole.scores[4]) < 0.01
    assert np.abs(found.scores - whole.scores).max() < 0.3
    assert (found.partners == whole.partners).mean() > 0.97


def test_the_order_of_candidates_does_not_matter():
    query, candidates = features(1)[0], features(2, 20)
    candidates[4], candidates[11] = shifted(query, 0, 2), shifted(query, 2, 0)
    similarities = np.linspace(0.4, 0.6, 20, dtype=np.float32)
    straight = verify(query, candidates, similarities, GRID)
    order = np.random.default_rng(0).permutation(20)
    mixed = verify(query, candidates[order], similarities[order], GRID)
    np.testing.assert_allclose(mixed.scores, straight.scores[order], atol=1e-5)
    np.testing.assert_array_equal(mixed.agreement, straight.agreement[order])
    np.testing.assert_array_equal(mixed.displacement, straight.displacement[order])
    np.testing.assert_array_equal(mixed.partners, straight.partners[:, order])


def test_what_is_given_is_not_changed():
    given = features(1)[0], features(2, 4), np.full(4, 0.5, np.float32)
    before = [x.copy() for x in given]
    for array in given:
        array.flags.writeable = False
    verify(*given, GRID)
    for array, kept in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize('size', [1, 4, 25])
def test_candidates_that_come_a_few_at_a_time_give_the_same(size: int):
    query, candidates = features(1)[0], features(2, 25)
    candidates[7] = shifted(query, 1, 2)
    similarities = np.linspace(0.2, 0.6, 25, dtype=np.float32)
    whole = verify(query, candidates, similarities, GRID)
    parts = (candidates[at : at + size] for at in range(0, 25, size))
    for name, value in vars(verify(query, parts, similarities, GRID)).items():
        np.testing.assert_array_equal(value, getattr(whole, name))
    assert whole.scores.argmax() == 7


def test_a_higher_similarity_of_the_descriptors_raises_the_score():
    query, candidates = features(1)[0], features(2, 4)
    low, high = (check(query, candidates, [0.2, x, 0.2, 0.2]) for x in (0.2, 0.6))
    assert high.scores[1] - low.scores[1] == pytest.approx(0.4, abs=1e-4)
    np.testing.assert_array_equal(high.scores[[0, 2, 3]], low.scores[[0, 2, 3]])


def test_a_scene_that_has_not_moved_is_preferred_to_one_that_has():
    query, candidates = features(1)[0], features(2, 4)
    candidates[1], candidates[2] = np.roll(query.reshape(*GRID, L), 4, 1).reshape(P, L), query
    assert check(query, candidates).scores.argmax() == 2
