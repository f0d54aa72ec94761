# SPDX-License-Identifier: Apache-2.0
"""Checked pairs of photographs: right points, none where nothing matches, computed once."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import training_packages  # noqa: F401  skips where one of them is missing
from conftest import line_of

from ashtkd_ros.errors import VprError
from tools.training.data import checked_pairs as module
from tools.training.data.checked_pairs import LEAST, checked_pairs, matching_points
from tools.training.data.correspondence import UNIT, Correspondence, SeenView
from tools.training.data.scenes import known_scenes

MOVED = np.float32(
    [[0.1, 0.05], [0.9, 0.1], [1.0, 0.95], [0.05, 1.0]]
)  # corners of the other view


def scenery(seed: int) -> np.ndarray:
    """Boxes and discs of many sizes, uint8 (192, 256, 3)."""
    rng = np.random.default_rng(seed)
    image = np.full((192, 256, 3), 128, np.uint8)
    for _ in range(150):
        x, y = (int(v) for v in rng.integers(0, (256, 192)))
        size, colour = int(rng.integers(3, 25)), [int(c) for c in rng.integers(0, 256, 3)]
        if rng.random() < 0.5:
            cv2.circle(image, (x, y), size, colour, -1)
        else:
            cv2.rectangle(image, (x, y), (x + size, y + size // 2), colour, -1)
    return image


def homography(sides=(1.0, 1.0)) -> np.ndarray:
    return cv2.getPerspectiveTransform(MOVED * np.float32(sides), UNIT * np.float32(sides))


def elsewhere(image: np.ndarray) -> np.ndarray:
    sides = image.shape[1], image.shape[0]
    return cv2.warpPerspective(image, homography(sides), sides)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """here.png and there.png show one scene, other.png another one, torn.png is no picture."""
    here = scenery(0)
    for name, image in (('here', here), ('there', elsewhere(here)), ('other', scenery(1))):
        cv2.imwrite(str(tmp_path / f'{name}.png'), image[..., ::-1])
    (tmp_path / 'torn.png').write_bytes(b'no picture')
    return tmp_path


def test_points_lie_where_the_other_view_shows_them():
    image = scenery(0)
    found = matching_points(image, elsewhere(image))
    assert len(found) >= 40 and found.dtype == np.float32
    expected = cv2.perspectiveTransform(found[:, None, :2], homography())[:, 0]
    error = np.linalg.norm(found[:, 2:] - expected, axis=1)
    assert np.median(error) < 0.01 and error.max() < 0.06
    # A spread of points, not one corner of the picture.
    assert (found[:, :2].std(axis=0) > 0.15).all()


def test_other_pictures_share_no_points():
    for seed in range(1, 6):
        assert matching_points(scenery(0), scenery(seed)).shape == (0, 4)


@pytest.mark.parametrize('grey', [0, 128])
def test_a_blank_picture_shares_no_points(grey: int):
    blank = np.full((192, 256, 3), grey, np.uint8)
    assert len(matching_points(blank, scenery(0))) == len(matching_points(blank, blank)) == 0


def test_where_opencv_finds_no_geometry_there_are_no_points(monkeypatch: pytest.MonkeyPatch):
    for answer in (lambda *_: (None, None), lambda *_: cv2.findHomography(0, 0)):  # an error
        monkeypatch.setattr(cv2, 'findFundamentalMat', answer)
        assert matching_points(scenery(0), elsewhere(scenery(0))).shape == (0, 4)


def test_a_match_that_strays_from_its_neighbours_is_left_out():
    p = np.float32([(x, y) for x in range(0, 300, 30) for y in range(0, 200, 40)])
    q = p + np.float32([50, 10])
    q[7] += np.float32([120, 0])
    kept = module._with_neighbours(p, q)
    assert not kept[7] and kept.sum() == len(p) - 1


def test_pairs_are_found_in_either_order_and_once(folder: Path, monkeypatch: pytest.MonkeyPatch):
    names = ('here', 'there', 'other', 'torn')
    here, there, other, torn = (str(folder / f'{name}.png') for name in names)
    cache, wanted = folder / 'pairs.npz', [(there, here), (here, there), (here, here)]
    wanted += [(here, other), (torn, here)]
    found = checked_pairs(wanted, cache)
    assert list(found) == [(here, there)] and len(found[here, there]) >= LEAST
    monkeypatch.setattr(module, '_points_of', lambda pair: pytest.fail(f'{pair} again'))
    again = checked_pairs(wanted[::-1], cache)
    assert list(again) == [(here, there)]
    np.testing.assert_array_equal(again[here, there], found[here, there])
    assert checked_pairs([], cache) == {}


@pytest.mark.parametrize('content', [b'', b'PK', b'no archive'])
def test_a_damaged_cache_is_named_in_one_line(content: bytes, folder: Path):
    (folder / 'pairs.npz').write_bytes(content)
    with pytest.raises(VprError) as error:
        checked_pairs([], folder / 'pairs.npz')
    assert 'pairs.npz: is damaged' in line_of(error)


@pytest.mark.parametrize(
    'change',
    [
        {'points': np.full((12, 4), np.nan)},
        {'points': np.full((12, 4), 1.5)},
        {'points': np.zeros((11, 4))},
        {'points': np.zeros((12, 3))},
        {'lengths': np.array([13])},
        {'lengths': np.array([-12])},
        {'lengths': np.array([6, 6])},
        {'second': np.array([], str)},
        {'points': np.full((12, 4), 'x')},
    ],
    ids=lambda change: f'{[*change][0]}-{[*change.values()][0].shape}',
)
def test_points_that_cannot_be_are_named_in_one_line(change: dict, folder: Path):
    sound = {'first': ['a'], 'second': ['b'], 'lengths': [12], 'points': np.zeros((12, 4))}
    np.savez(folder / 'pairs.npz', **sound)
    assert checked_pairs([], folder / 'pairs.npz') == {}
    np.savez(folder / 'pairs.npz', **sound | change)
    with pytest.raises(VprError) as error:
        checked_pairs([], folder / 'pairs.npz')
    assert 'pairs.npz: is damaged' in line_of(error)


def test_an_archive_of_something_else_is_named_in_one_line(folder: Path):
    np.savez(folder / 'pairs.npz', points=np.zeros(3))
    with pytest.raises(VprError) as error:
        checked_pairs([], folder / 'pairs.npz')
    assert 'pairs.npz: is damaged' in line_of(error)


def test_scenes_know_photographs_of_a_place_and_pictures_of_a_fixed_camera(folder: Path):
    here, there, other = (str(folder / f'{name}.png') for name in ('here', 'there', 'other'))
    scenes = known_scenes([[here, there, other]], [[other, 'night.jpg']], folder)
    assert isinstance(scenes, Correspondence)
    assert scenes.knows(there, here) and scenes.knows(other, 'night.jpg')
    assert not scenes.knows(here, other)
    partners = scenes.partners_between(SeenView(here), SeenView(there), 7, 7)
    known = np.flatnonzero(partners >= 0)
    assert len(known) >= 15
    centres = np.stack([known % 7, known // 7], axis=1) / 7 + 0.5 / 7
    at = cv2.perspectiveTransform(centres[:, None], homography())[:, 0] * 7 - 0.5
    error = np.abs(np.stack([partners[known] % 7, partners[known] // 7], axis=1) - at).max(axis=1)
    assert np.median(error) < 0.6 and error.max() < 1.5


def test_of_a_place_of_many_each_picture_is_compared_with_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = []
    monkeypatch.setattr(
        'tools.training.data.scenes.checked_pairs', lambda pairs, _: asked.extend(pairs) or {}
    )
    few, many = [f'few{k}' for k in range(5)], [f'many{k}' for k in range(60)]
    known_scenes([few, many], [], tmp_path)
    assert len(set(asked)) == len(asked) and len([p for p in asked if 'few' in p[0]]) == 10
    partners = [sum(path in pair for pair in asked) for path in many]
    assert min(partners) >= 6 and sum(partners) / len(many) <= 12
