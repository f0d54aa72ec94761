# SPDX-License-Identifier: Apache-2.0
"""The walks of the tables: they step as they say, run into nothing, and are rendered once."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from test_render import needs_panda3d, tiny

from ashtkd_ros.errors import VprError
from tools.render import __main__ as main
from tools.render import walks
from tools.render.conditions import CONDITIONS
from tools.render.town import build_town
from tools.render.walk import EYE_M, Drive, drive_poses, is_rendered, town_loop

EYE_BAND_M = 0.25  # of what stands that much above or below the eye
CLEAR_M = 0.5
LEFT = tiny(frames=2, lateral=1.0)


def poses(drive: Drive) -> np.ndarray:
    """x, y in metres and yaw in radians of a walk of town 11, float64 (n, 3)."""
    return np.array([(p.x, p.y, p.yaw) for p in drive_poses(town_loop(11), drive)])


def steps(name: str) -> np.ndarray:
    """Steps forward and to the left in metres, and turns in degrees, from `again`: (n, 3)."""
    a, b = poses(walks.query_walks()['again']), poses(walks.query_walks()[name])
    (x, y, turn), c, s = (b - a).T, np.cos(a[:, 2]), np.sin(a[:, 2])
    turn = np.degrees(np.angle(np.exp(1j * turn)))
    return np.stack([c * x + s * y, c * y - s * x, turn], axis=1)


@pytest.mark.parametrize('metres', [1, 2, 3])
def test_walks_to_the_left_step_so_many_metres(metres: int) -> None:
    np.testing.assert_allclose(steps(f'left{metres}'), [[0, metres, 0]] * 58, atol=1e-6)


@pytest.mark.parametrize('degrees', [10, 20, 30])
def test_turned_walks_stand_where_they_stood(degrees: int) -> None:
    np.testing.assert_allclose(steps(f'turned{degrees}'), [[0, 0, degrees]] * 58, atol=1e-6)


@pytest.mark.parametrize('metres', [2, 4])
def test_walks_forward_step_along_the_road(metres: int) -> None:
    taken = steps(f'forward{metres}')
    assert np.median(taken[:, 0]) == pytest.approx(metres, abs=0.1)
    # On the right-hand side a left bend is longer than the centre line, by which is measured.
    length = np.hypot(taken[:, 0], taken[:, 1])
    assert (0.75 * metres < length).all() and (length < 1.5 * metres).all()


def test_the_walk_again_stands_at_every_second_place_of_the_day() -> None:
    day, again = poses(walks.DAY), poses(walks.query_walks()['again'])
    np.testing.assert_allclose(again, day[::2][: len(again)], atol=1e-6)


def clearance(points: np.ndarray, at: np.ndarray) -> float:
    """Metres from positions (n, 2) to the nearest of the faces (f, 4, 3) at the eye's height."""
    low, high = points[..., 2].min(axis=1), points[..., 2].max(axis=1)
    tall = points[(low < EYE_M + EYE_BAND_M) & (high > EYE_M - EYE_BAND_M)]
    start = tall[..., :2].reshape(-1, 2)
    edge = np.roll(tall, -1, axis=1)[..., :2].reshape(-1, 2) - start
    square = np.maximum((edge**2).sum(axis=1), 1e-9)
    nearest = np.inf
    for position in at:
        along = np.clip(((position - start) * edge).sum(axis=1) / square, 0, 1)
        nearest = min(nearest, np.hypot(*(start + along[:, None] * edge - position).T).min())
    return float(nearest)


@pytest.mark.parametrize('town_seed', [11, 21])
def test_no_camera_runs_into_anything(town_seed: int) -> None:
    by_seed: dict[int, list[Drive]] = {}
    for drive in (walks.DAY, *walks.query_walks().values()):
        by_seed.setdefault(drive.seed, []).append(drive)
    for seed, drives in by_seed.items():
        town = build_town(town_seed, seed, texture_px=32)
        at = [(p.x, p.y) for drive in drives for p in drive_poses(town.loop, drive)]
        assert clearance(town.faces.points, np.unique(at, axis=0)) > CLEAR_M


def test_no_camera_runs_into_anything_in_training() -> None:
    drives = walks.training_walks()
    assert len({drive.seed for drive in drives.values()}) == len(drives)  # other cars each time
    for name in ('day', 'fog', 'narrow'):  # the walks that come nearest to the sides
        town = build_town(walks.TRAINING_TOWNS[0], drives[name].seed, texture_px=32)
        at = np.array([(p.x, p.y) for p in drive_poses(town.loop, drives[name])])
        assert clearance(town.faces.points, at) > CLEAR_M - 0.2, name


def test_training_walks_are_far_enough_apart_to_teach_viewpoint_and_light() -> None:
    drives = walks.training_walks().values()
    lateral, yaw = ([getattr(d, name) for d in drives] for name in ('lateral', 'yaw'))
    assert max(lateral) - min(lateral) >= 2 and max(yaw) >= 30 and min(yaw) <= -20
    assert {d.condition for d in drives} == set(CONDITIONS) and all(d.depth for d in drives)
    assert len({d.phase for d in drives}) > 1 and len({d.hfov for d in drives}) > 1


def test_no_town_of_the_tables_is_trained_on() -> None:
    assert not {walks.SHIPPED_TOWN, *walks.EVALUATION_TOWNS} & set(walks.TRAINING_TOWNS)
    files = list((ROOT / 'config/train').glob('*.yaml'))
    found = {town for f in files for town in re.findall(r'\btown(\d+)', f.read_text('utf-8'))}
    assert found == set(map(str, walks.TRAINING_TOWNS))


def test_the_command_renders_the_walks_to_train_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    asked: list[tuple] = []
    monkeypatch.setattr(main, 'render_towns', lambda *a, **named: asked.append((a, named)))
    assert main.main(['--training', '-o', str(tmp_path)]) == 0
    assert asked == [((walks.TRAINING_TOWNS, tmp_path), {'walks': walks.training_walks()})]
    assert capsys.readouterr().out == f'5 towns in {tmp_path}\n'


@pytest.fixture(scope='module')
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Town 5 with a day and one walk of queries, of two small pictures each."""
    needs_panda3d()
    folder = tmp_path_factory.mktemp('towns')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walks, 'DAY', tiny(frames=2))
        patch.setattr(walks, 'query_walks', lambda: {'left1': LEFT})
        walks.render_towns([5], folder, workers=2)
        yield folder


def test_what_is_rendered_is_not_rendered_again(rendered: Path) -> None:
    town = walks.town_folder(rendered, 5)
    assert sorted(f.name for f in town.iterdir()) == ['day', 'left1']
    assert is_rendered(5, LEFT, town / 'left1') and is_rendered(5, walks.DAY, town / 'day')
    before = {f: f.stat().st_mtime_ns for f in town.rglob('*')}
    walks.render_towns([5], rendered)
    assert before == {f: f.stat().st_mtime_ns for f in town.rglob('*')}


@pytest.mark.parametrize('text', ['lateral: 2.0', '{', ''])
def test_a_walk_with_other_settings_is_neither_taken_nor_replaced(
    text: str, rendered: Path, tmp_path: Path
) -> None:
    shutil.copytree(rendered, tmp_path, dirs_exist_ok=True)
    left = walks.town_folder(tmp_path, 5) / 'left1'
    assert not is_rendered(6, LEFT, left) and not is_rendered(5, replace(LEFT, yaw=1.0), left)
    (left / 'walk.yaml').write_text(text)
    with pytest.raises(VprError, match='left1 is not an empty folder'):
        walks.render_towns([5], tmp_path)
    assert (left / 'walk.yaml').read_text() == text
