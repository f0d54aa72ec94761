# SPDX-License-Identifier: Apache-2.0
"""Partners of rendered pictures: by depth and pose, but not of what is hidden or gone."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import training_packages  # noqa: F401  skips where one of them is missing
import yaml
from conftest import line_of

from ashtkd_ros.errors import VprError
from tools.training.data.correspondence import UNIT, Correspondence, SeenView
from tools.training.data.rendered_walks import RenderedWalks

SIZE, FOCAL = 140, 70.0  # pixels: a field of view of 90 degrees; a cell of 14 x 14 has 10
WALL_M, SIDE = 10.0, 14
HEADER = 'file,stamp,x,y,z,qx,qy,qz,qw\n'


def wall() -> np.ndarray:
    return np.full((SIZE, SIZE), WALL_M)


def write_walk(folder: Path, depths: list[np.ndarray], poses: list[tuple], town: int = 1):
    """A walk of pictures with these depths in metres, at poses x, y in metres, yaw in degrees."""
    rows = []
    for kind in ('images', 'depth'):
        (folder / kind).mkdir(parents=True)
    for k, (depth, (x, y, yaw)) in enumerate(zip(depths, poses, strict=True)):
        cv2.imwrite(str(folder / f'images/{k:04d}.jpg'), np.zeros((SIZE, SIZE, 3), np.uint8))
        cv2.imwrite(str(folder / f'depth/{k:04d}.png'), np.rint(depth * 1000).astype(np.uint16))
        half = math.radians(yaw) / 2
        rows.append(f'images/{k:04d}.jpg,{k},{x},{y},1.5,0,0,{math.sin(half)},{math.cos(half)}\n')
    (folder / 'poses.csv').write_text(HEADER + ''.join(rows))
    settings = {'town_seed': town, 'width': SIZE, 'height': SIZE, 'focal_px': FOCAL}
    settings |= {'depth_unit_m': 0.001}
    (folder / 'walk.yaml').write_text(yaml.safe_dump(settings))


def partners(folder: Path, *views: tuple[int, np.ndarray]) -> np.ndarray:
    """int64 (14, 14) of two views (number of the picture, corners) of a walk."""
    seen = [SeenView(str(folder / f'images/{k:04d}.jpg'), corners) for k, corners in views]
    known = RenderedWalks.of([view.picture for view in seen])
    found = Correspondence([known]).partners_between(*seen, SIDE, SIDE)
    return found.reshape(SIDE, SIDE)


def pair(tmp_path: Path, pose: tuple, depths=None) -> np.ndarray:
    """Partners in a picture from elsewhere of one from the origin, both of a wall in x = 10."""
    write_walk(tmp_path / 'w', depths or [wall(), wall()], [(0, 0, 0), pose])
    return partners(tmp_path / 'w', (0, UNIT), (1, UNIT))


GRID = np.arange(SIDE**2).reshape(SIDE, SIDE)


def test_a_step_to_the_left_moves_a_wall_to_the_right(tmp_path: Path):
    # 10 / 7 m at 10 m are 10 pixels of focal length 70: one cell.
    found = pair(tmp_path, (0, WALL_M / 7, 0))
    assert (found[:, :-1] == GRID[:, 1:]).all() and (found[:, -1] == -1).all()


def test_a_step_forward_moves_a_wall_apart(tmp_path: Path):
    found = pair(tmp_path, (5, 0, 0), [wall(), wall() / 2])
    known = found >= 0
    assert known[4:10, 4:10].all() and not known[[0, 1, 2, -3, -2, -1]].any()
    # Twice as near, twice as far from the middle.
    row, column = np.divmod(found[known], SIDE)
    at_row, at_column = np.nonzero(known)
    assert np.abs((column - 6.5) - 2 * (at_column - 6.5)).max() <= 0.5
    assert np.abs((row - 6.5) - 2 * (at_row - 6.5)).max() <= 0.5


def test_a_turn_to_the_left_moves_things_to_the_right(tmp_path: Path):
    angle = math.radians(30)
    u = (np.arange(SIZE) + 0.5 - SIZE / 2) / FOCAL  # to the right; the wall's x is cos t - u sin t
    depth = WALL_M / (math.cos(angle) + u * math.sin(angle))
    found = pair(tmp_path, (0, 0, 30), [wall(), np.tile(depth, (SIZE, 1))])
    middle = found[6]
    # Straight ahead, between columns 6 and 7, is now 30 degrees to the right: 0.577 of the half.
    assert middle[7] % SIDE == math.floor(
        7 + 7 * math.tan(math.radians(30 + math.degrees(1 / 14)))
    )
    assert (middle[:1] >= 0).all() and (middle[-2:] == -1).all()
    assert (np.diff(middle[middle >= 0]) >= 0).all()


def test_what_stands_in_one_picture_only_has_no_partner(tmp_path: Path):
    car = wall()
    car[60:100, 40:80] = WALL_M - 3
    step = (0, WALL_M / 7, 0)
    gone = pair(tmp_path / 'gone', step, [car, wall()])
    assert (gone[6:10, 4:8] == -1).all() and (gone[:6, :-1] == GRID[:6, 1:]).all()
    new = pair(tmp_path / 'new', step, [wall(), car])  # it hides the wall behind it
    assert (new[6:10, 3:7] == -1).all() and (new[:6, :-1] == GRID[:6, 1:]).all()


def test_the_sky_has_no_partner(tmp_path: Path):
    sky = wall()
    sky[:70] = 0
    found = pair(tmp_path, (0, 0, 0), [sky, sky])
    assert (found[:7] == -1).all() and (found[7:] == GRID[7:]).all()
    # Not even in the middle of a picture from behind, where something stands at the camera.
    near = np.ones((SIZE, SIZE))
    assert (pair(tmp_path / 'behind', (-1, 0, 0), [0 * near, near]) == -1).all()


def test_views_of_rendered_pictures_are_parts_of_them(tmp_path: Path):
    write_walk(tmp_path, [wall(), wall()], [(0, 0, 0), (0, WALL_M / 7, 0)])
    right = UNIT * (0.5, 1) + (0.48, 0)
    found = partners(tmp_path, (0, UNIT), (1, right))
    # Columns 6 to 12 are seen one cell further right, and that half is twice as large.
    assert (found[:, 6:13] % SIDE == [1, 3, 5, 7, 9, 11, 13]).all()
    assert (found[:, :6] == -1).all()


def test_pictures_far_apart_or_of_other_towns_are_not_known(tmp_path: Path):
    poses = [(0, 0, 0), (0, 3, 0), (0, 40, 0), (0, 0, 100)]
    for town in (1, 2):
        write_walk(tmp_path / str(town), [wall()] * 4, poses, town)
    paths = [str(p) for p in sorted(tmp_path.glob('*/images/*.jpg'))]
    known = RenderedWalks.of(paths)
    assert [known.knows(paths[0], other) for other in paths[1:]] == [True] + [False] * 6


def test_walks_without_depth_and_other_pictures_are_left_out(tmp_path: Path):
    write_walk(tmp_path / 'w', [wall()], [(0, 0, 0)])
    paths = [str(tmp_path / 'w/images/0000.jpg'), str(tmp_path / 'photo.jpg')]
    assert list(RenderedWalks.of(paths).frames) == paths[:1]
    shutil.rmtree(tmp_path / 'w/depth')
    assert not RenderedWalks.of(paths).frames


@pytest.mark.parametrize('text', ['{', 'town_seed: 1', 'town_seed: [1]', '', '- 1'])
def test_a_damaged_walk_is_named_in_one_line(text: str, tmp_path: Path):
    write_walk(tmp_path, [wall()], [(0, 0, 0)])
    (tmp_path / 'walk.yaml').write_text(text)
    with pytest.raises(VprError) as error:
        RenderedWalks.of([str(tmp_path / 'images/0000.jpg')])
    assert 'walk.yaml' in line_of(error) and 'render the walk again' in line_of(error)


@pytest.mark.parametrize('key', ['width', 'height', 'focal_px', 'depth_unit_m'])
@pytest.mark.parametrize('value', [float('nan'), float('inf'), 0, -1.0, 'far', None, [1]])
def test_numbers_of_a_walk_out_of_range_are_refused(key: str, value: object, tmp_path: Path):
    """Before any picture is drawn, or as soon as its depth is read."""
    write_walk(tmp_path, [wall(), wall()], [(0, 0, 0), (0, 1, 0)])
    settings = yaml.safe_load((tmp_path / 'walk.yaml').read_text())
    (tmp_path / 'walk.yaml').write_text(yaml.safe_dump(settings | {key: value}))
    with pytest.raises(VprError) as error:
        partners(tmp_path, (0, UNIT), (1, UNIT))
    assert 'render the walk again' in line_of(error)


@pytest.mark.parametrize(
    'depth', [np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint16), None], ids=str
)
def test_a_damaged_depth_image_is_named_in_one_line(depth: np.ndarray | None, tmp_path: Path):
    write_walk(tmp_path, [wall(), wall()], [(0, 0, 0), (0, 1, 0)])
    (tmp_path / 'depth/0001.png').unlink()
    if depth is not None:
        cv2.imwrite(str(tmp_path / 'depth/0001.png'), depth)
    with pytest.raises(VprError) as error:
        partners(tmp_path, (0, UNIT), (1, UNIT))
    assert 'depth/0001.png' in line_of(error)


@pytest.fixture(scope='module')
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Town 5 from one standing point: `here`, `again` with other cars, `left` and turned."""
    walk = pytest.importorskip('tools.render.walk', reason='needs tools/requirements/render.txt')
    base = walk.Drive(seed=3, frames=4, spacing=25.0, width=160, height=120, depth=True)
    moved = {'here': {}, 'again': {'seed': 4}, 'left': {'seed': 4, 'lateral': 3.0, 'yaw': 20.0}}
    folder = tmp_path_factory.mktemp('town')
    try:
        for name, changes in moved.items():
            walk.render_walk(5, replace(base, **changes), folder / name)
    except VprError as error:
        pytest.skip(str(error))
    return folder


def rendered_pairs(town: Path, other: str) -> Iterator[tuple[list[Path], np.ndarray]]:
    """Pictures of `here` and of another walk, with partners on grids of 28 x 28."""
    for here in sorted((town / 'here/images').iterdir()):
        pictures = [here, town / other / 'images' / here.name]
        seen = [SeenView(str(picture)) for picture in pictures]
        known = Correspondence([RenderedWalks.of([v.picture for v in seen])])
        yield pictures, known.partners_between(*seen, 28, 28)


def depth_of(picture: Path) -> np.ndarray:
    """Metres at the centres of 28 x 28 cells."""
    file = picture.parent.parent / 'depth' / f'{picture.stem}.png'
    image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED) / 1000
    at = (np.arange(28) + 0.5) / 28
    return image[np.ix_((at * 120).astype(int), (at * 160).astype(int))].ravel()


def test_parked_cars_of_one_walk_only_have_no_partners(town: Path):
    moved_cells: list[bool] = []
    for pictures, partners_ in rendered_pairs(town, 'again'):
        here, again = (depth_of(picture) for picture in pictures)
        gap = np.abs(here - again)
        same, moved = gap < 0.01, gap > np.maximum(1.2, 0.1 * here)
        seen = same & (here > 0)
        assert (partners_[seen] == np.flatnonzero(seen)).all()
        moved_cells += (partners_[moved] == -1).tolist()
    assert len(moved_cells) > 20 and np.mean(moved_cells) > 0.95


def test_a_street_has_the_same_colours_at_partners(town: Path):
    gaps, others, known = [], [], 0
    for pictures, partners_ in rendered_pairs(town, 'left'):
        first, second = (
            cv2.resize(cv2.imread(str(p)), (28, 28), interpolation=cv2.INTER_AREA).reshape(-1, 3)
            for p in pictures
        )
        at = np.flatnonzero(partners_ >= 0)
        known += len(at)
        gap = np.abs(first[at].astype(float)[:, None] - second[partners_[at]]).mean(axis=2)
        gaps += np.diag(gap).tolist()
        others += gap[~np.eye(len(at), dtype=bool)].tolist()
    assert known > 4 * 100
    assert np.median(gaps) < 0.5 * np.median(others)
