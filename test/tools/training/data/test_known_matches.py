# SPDX-License-Identifier: Apache-2.0
"""Known matches: which positions of two views show the same, and which pictures are pairs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import training_packages  # noqa: F401  skips where one of them is missing
from conftest import line_of
from small_places import index_set

from ashtkd_ros.errors import VprError
from tools.training.data import known_matches
from tools.training.data.known_matches import matched_views, partners_of, picture_pairs

WHOLE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)


def test_a_view_and_itself_match_position_by_position():
    for quad in (WHOLE, 0.2 + 0.5 * WHOLE):
        assert partners_of(quad, quad, 14).tolist() == list(range(196))


def test_a_view_shifted_by_cells_matches_the_cells_beside():
    # The second view looks one cell further right and two further down.
    half, step = 0.5 * WHOLE, np.array([0.125, 0.25])
    partners = partners_of(half, half + step, 4).reshape(4, 4)
    expected = [[-1] * 4, [-1] * 4, [-1, 0, 1, 2], [-1, 4, 5, 6]]
    assert partners.tolist() == expected


def test_a_view_of_half_the_size_sees_the_middle_only():
    known = partners_of(WHOLE, 0.25 + 0.5 * WHOLE, 4).reshape(4, 4) >= 0
    assert known[1:3, 1:3].all() and known.sum() == 4
    rows = partners_of(0.25 + 0.5 * WHOLE, WHOLE, 4).reshape(4, 4).tolist()
    assert rows == [[5, 5, 6, 6]] * 2 + [[9, 9, 10, 10]] * 2


def test_what_is_outside_the_picture_has_no_partner():
    left = WHOLE - (0.5, 0.0)
    partners = partners_of(left, left, 4).reshape(4, 4)
    assert (partners[:, :2] == -1).all() and (partners[:, 2:] >= 0).all()


def test_a_view_turned_over_matches_the_other_way_round():
    assert partners_of(WHOLE, WHOLE[[2, 3, 0, 1]], 3).tolist() == list(range(8, -1, -1))
    assert partners_of(WHOLE, WHOLE[[1, 0, 3, 2]], 3).tolist() == [2, 1, 0, 5, 4, 3, 8, 7, 6]


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A picture whose red tells how far right, and green how far down: 0 to 250."""
    x, y = np.meshgrid(np.linspace(0, 250, 320), np.linspace(0, 250, 240))
    cv2.imwrite(str(tmp_path / 'chart.png'), np.dstack([np.zeros_like(x), y, x]).astype(np.uint8))
    return tmp_path / 'chart.png'


def test_views_show_the_same_at_partners(chart: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(known_matches, 'degrade', lambda image, _: image)
    known = 0
    for seed in range(20):
        views = matched_views((chart, chart), 112, 14, np.random.default_rng(seed))
        assert views.first.shape == views.second.shape == (112, 112, 3)
        first, second = (v[4::8, 4::8, :2].reshape(196, 2).astype(float) for v in views[:2])
        here = np.flatnonzero(views.partners >= 0)
        error = np.abs(first[here] - second[views.partners[here]]).max(axis=1)
        known += len(here)
        # Two centres are up to half a cell of the larger view apart.
        assert np.median(error) < 10 and error.max() < 30
        others = np.abs(first[here] - second[views.partners[here[::-1]]]).max(axis=1)
        assert np.median(others) > 30
    assert known > 20 * 40


def test_a_view_of_the_whole_picture_is_the_picture(chart: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(known_matches, '_corners', lambda rng, strong: WHOLE)
    monkeypatch.setattr(known_matches, 'degrade', lambda image, _: image)
    views = matched_views((chart, chart), 64, 4, np.random.default_rng(0))
    whole = cv2.resize(cv2.imread(str(chart)), (64, 64))[..., ::-1]
    assert np.abs(views.first.astype(int) - whole).max() <= 4
    assert views.partners.tolist() == list(range(16))


def test_views_are_the_same_for_the_same_seed(chart: Path):
    once, again, other = (
        matched_views((chart, chart), 64, 4, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    for a, b, c in zip(once, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()


def test_both_views_are_degraded_at_times(chart: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(known_matches, 'degrade', lambda image, _: np.zeros_like(image))
    views = [matched_views((chart, chart), 64, 4, np.random.default_rng(s)) for s in range(40)]
    assert not any(v.second.any() for v in views)
    assert 0.1 < np.mean([not v.first.any() for v in views]) < 0.6


def test_a_picture_that_cannot_be_read_is_one_line(chart: Path, tmp_path: Path):
    with pytest.raises(VprError) as error:
        matched_views((chart, tmp_path / 'gone.jpg'), 64, 4, np.random.default_rng(0))
    assert 'gone.jpg' in line_of(error)


def test_pictures_are_paired_with_themselves_and_those_of_webcams_with_others(tmp_path: Path):
    index_set(tmp_path / 'walk', [(f'{i}.jpg', '') for i in range(6)])
    cams = [(f'{cam}{i}.jpg', cam) for cam in 'ab' for i in range(5)]
    index_set(tmp_path / 'cams', cams)
    (tmp_path / 'no_set').mkdir()
    pairs = picture_pairs(tmp_path, ['cams', 'gone'], 4, np.random.default_rng(0))
    own = Counter(a for a, b in pairs if a == b and a.parent.name == 'walk')
    assert len(own) == 4 and set(own.values()) == {2}
    assert all(a == b for a, b in pairs if a.parent.name == 'walk')
    others = [(a, b) for a, b in pairs if a != b]
    assert len(others) > 8 and all(a.parent.name == b.parent.name == 'cams' for a, b in others)
    assert all(a.name[0] == b.name[0] for a, b in others)
    again = picture_pairs(tmp_path, ['cams', 'gone'], 4, np.random.default_rng(0))
    assert again == pairs != picture_pairs(tmp_path, ['cams'], 4, np.random.default_rng(1))
    few = picture_pairs(tmp_path, [], 4, np.random.default_rng(0))
    assert len(few) == 16 and all(a == b for a, b in few)
