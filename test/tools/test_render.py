# SPDX-License-Identifier: Apache-2.0
"""Rendered walks: deterministic, on the loop, dark by night; the shipped ones are whole."""

from __future__ import annotations

import csv
import ctypes
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from ashtkd_ros.errors import VprError

SHIPPED = Path(__file__).parents[1] / 'data' / 'town'
MAX_SHIPPED_BYTES = 3_000_000
walk = pytest.importorskip('tools.render.walk', reason='needs tools/requirements/render.txt')


def needs_panda3d() -> None:
    pytest.importorskip('panda3d', reason='panda3d is not installed: no walk can be rendered')
    try:
        ctypes.CDLL('libX11.so.6')
    except OSError:
        pytest.skip('panda3d needs libX11 to render (apt install libx11-6)')


def tiny(**changes) -> walk.Drive:
    settings = {'frames': 6, 'width': 160, 'height': 120, 'spacing': 9.0, 'seed': 3, **changes}
    return walk.Drive(**settings)


def read_poses(folder: Path) -> tuple[list[str], np.ndarray]:
    """File names and numbers (stamp, position, quaternion), float64 (n, 8), of a walk folder."""
    with open(folder / 'poses.csv', newline='', encoding='utf-8') as file:
        header, *rows = csv.reader(file)
    assert header == walk.HEADER
    return [row[0] for row in rows], np.array([row[1:] for row in rows], dtype=np.float64)


@pytest.fixture(scope='module')
def night_walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs_panda3d()
    out = tmp_path_factory.mktemp('walk') / 'first'
    assert walk.render_walk(5, tiny(condition='night', lateral_jitter=0.2), out) == 6
    return out


def test_same_settings_give_the_same_bytes(night_walk: Path, tmp_path: Path) -> None:
    walk.render_walk(5, tiny(condition='night', lateral_jitter=0.2), tmp_path / 'second')
    files = [p.relative_to(night_walk) for p in sorted(night_walk.rglob('*')) if p.is_file()]
    assert len(files) == 8
    for file in files:
        assert (night_walk / file).read_bytes() == (tmp_path / 'second' / file).read_bytes(), file


def test_poses_lie_on_the_loop(night_walk: Path) -> None:
    names, numbers = read_poses(night_walk)
    found = [p.relative_to(night_walk).as_posix() for p in sorted(night_walk.rglob('*.jpg'))]
    assert found == names
    distance = walk.town_loop(5).distance(numbers[:, 1:3])
    assert np.abs(distance - walk.LANE_M).max() < 0.2 * 2 + 0.05
    assert np.allclose(np.linalg.norm(numbers[:, 4:], axis=1), 1, atol=1e-5)
    assert np.allclose(np.diff(numbers[:, 0]), 9.0 / 5.0)


def test_night_is_darker_than_day(night_walk: Path) -> None:
    image = next(walk.iterate_walk(5, tiny(condition='day'))).image
    assert image.shape == (120, 160, 3) and image.dtype == np.uint8
    assert cv2.imread(str(night_walk / 'images/0000.jpg')).mean() < 0.7 * image.mean()


def test_depth_is_that_of_the_road_below_the_camera() -> None:
    needs_panda3d()
    drive = tiny(depth=True, frames=1)
    depth = next(walk.iterate_walk(5, drive)).depth
    assert depth.shape == (120, 160) and depth.dtype == np.float32
    focal = 80 / np.tan(np.radians(40))
    below = (np.arange(120) + 0.5 - 60)[-15:]
    np.testing.assert_allclose(depth[-15:, 80], walk.EYE_M * focal / below, rtol=0.01)
    assert (depth[0] == 0).any() and depth.max() > 15  # sky, and houses down the street


def test_a_walk_with_depth_is_the_same_walk_and_says_what_its_depth_means(
    night_walk: Path, tmp_path: Path
) -> None:
    drive = tiny(condition='night', lateral_jitter=0.2, depth=True)
    walk.render_walk(5, drive, tmp_path / 'deep')
    for name in ('poses.csv', 'images/0003.jpg'):
        assert (night_walk / name).read_bytes() == (tmp_path / 'deep' / name).read_bytes()
    settings = yaml.safe_load((tmp_path / 'deep/walk.yaml').read_text())
    assert settings['focal_px'] == pytest.approx(80 / np.tan(np.radians(40)))
    image = cv2.imread(str(tmp_path / 'deep/depth/0003.png'), cv2.IMREAD_UNCHANGED)
    views = list(walk.iterate_walk(5, drive))
    metres = np.where(views[3].depth < 65.535, views[3].depth, 0)
    assert image.dtype == np.uint16
    assert np.abs(image * settings['depth_unit_m'] - metres).max() < 0.001
    assert 'depth' not in yaml.safe_load((night_walk / 'walk.yaml').read_text())
    assert walk.is_rendered(5, drive, tmp_path / 'deep')
    assert not walk.is_rendered(5, drive, night_walk)


def test_other_way_round_looks_backwards() -> None:
    loop = walk.town_loop(5)
    there = walk.drive_poses(loop, tiny())[0]
    back = walk.drive_poses(loop, tiny(reverse=True))[0]
    assert abs(np.cos(there.yaw - back.yaw) + 1) < 1e-6
    # Each drives on its own right-hand side: two lanes apart.
    assert np.hypot(there.x - back.x, there.y - back.y) == pytest.approx(2 * walk.LANE_M, abs=0.01)


@pytest.mark.parametrize(
    'changes, words',
    [
        ({'condition': 'snow'}, 'unknown condition'),
        ({'spacing': 0.0}, 'spacing'),
        ({'spacing': float('nan')}, 'finite'),
        ({'width': 0}, 'width'),
        ({'height': 0}, 'height'),
        ({'seed': -1}, 'seed'),
    ],
)
def test_bad_settings_are_named(changes: dict, words: str, tmp_path: Path) -> None:
    with pytest.raises(VprError, match=words):
        walk.render_walk(5, replace(tiny(), **changes), tmp_path / 'walk')
    assert not (tmp_path / 'walk').exists()


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / 'mine.txt').write_text('keep')
    with pytest.raises(VprError, match='not an empty folder'):
        walk.render_walk(5, tiny(), tmp_path)
    needs_panda3d()
    with pytest.raises(VprError, match='cannot write'):
        walk.render_walk(5, tiny(), tmp_path / 'mine.txt' / 'walk')
    assert [p.name for p in tmp_path.iterdir()] == ['mine.txt']


def test_command_line_reports_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from tools.render.__main__ import main

    assert main(['-o', str(tmp_path / 'walk'), '--condition', 'snow']) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: unknown condition') and error.count('\n') == 1
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2


@pytest.mark.parametrize('name', ['day', 'dusk'])
def test_shipped_walks_are_whole(name: str) -> None:
    names, numbers = read_poses(SHIPPED / name)
    assert len(names) >= 100 and np.isfinite(numbers).all()
    assert (np.diff(numbers[:, 0]) > 0).all()
    assert np.allclose(np.linalg.norm(numbers[:, 4:], axis=1), 1, atol=1e-5)
    found = sorted(f'images/{p.name}' for p in (SHIPPED / name / 'images').iterdir())
    assert found == sorted(names)
    for file in names:
        assert cv2.imread(str(SHIPPED / name / file)).shape == (240, 320, 3)


def test_shipped_walks_are_small_and_overlap() -> None:
    assert sum(p.stat().st_size for p in SHIPPED.rglob('*') if p.is_file()) <= MAX_SHIPPED_BYTES
    day, dusk = (read_poses(SHIPPED / name)[1][:, 1:3] for name in ('day', 'dusk'))
    gap = np.linalg.norm(dusk[:, None] - day[None], axis=2)
    assert gap.min() > 0.3  # no picture is taken from the same point twice
    assert ((gap <= 3).sum(axis=1) >= 2).all()
