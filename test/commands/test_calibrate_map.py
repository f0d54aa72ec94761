# SPDX-License-Identifier: Apache-2.0
"""The command calibrate: a map's confidence, fitted to another traverse."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import checksums
from evaluation_helpers import judged, run

from ashtkd_ros.commands.build_map import main as build_map
from ashtkd_ros.commands.calibrate import main as calibrate
from ashtkd_ros.maps.place_map import PlaceMap

pytest_plugins = ['evaluation_fixtures']
WITH_POSES = ('--pose-topic', '/odom', '--metres', 4)


@pytest.fixture
def a_map(bags: Path, tmp_path: Path) -> Path:
    out = tmp_path / 'map'
    assert run(build_map, bags / 'day', '-o', out, '--pose-topic', '/odom', '--metres', 1) == 0
    return out


def test_it_changes_the_confidence_and_nothing_else(a_map: Path, bags: Path, capsys):
    (a_map / 'notes.txt').write_text('mine')
    before, files = PlaceMap.load(a_map), checksums_of(a_map)
    answers = judged(a_map, bags / 'dusk', '--no-baselines', *WITH_POSES)
    assert run(calibrate, a_map, bags / 'dusk', *WITH_POSES) == 0
    after = PlaceMap.load(a_map, pictures=True)
    assert after.info.calibration != before.info.calibration
    assert [row['precision'] for row in after.info.built['trust']]
    assert after.places == before.places and after.info.model == before.info.model
    kept = checksums_of(a_map)
    assert {name for name in files if files[name] != kept.get(name)} == {'map.yaml'}
    assert set(kept) == set(files)
    again = judged(a_map, bags / 'dusk', '--no-baselines', *WITH_POSES)
    assert again['single images']['1'] == answers['single images']['1']
    assert 'calibrated to' in capsys.readouterr().out


def checksums_of(folder: Path) -> dict[str, str]:
    inner = {f'thumbnails/{name}': s for name, s in checksums(folder / 'thumbnails').items()}
    flat = folder.parent / 'flat'
    shutil.rmtree(flat, ignore_errors=True)
    shutil.copytree(folder, flat, ignore=shutil.ignore_patterns('thumbnails'))
    return inner | checksums(flat)


def test_a_traverse_of_another_route_is_one_line(a_map: Path, bags: Path, capsys):
    before = (a_map / 'map.yaml').read_bytes()
    assert run(calibrate, a_map, bags / 'dusk', '--pose-topic', '/odom', '--metres', 0) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert 'none of its' in error and 'larger tolerance' in error
    assert (a_map / 'map.yaml').read_bytes() == before


def test_too_few_images_are_one_line(a_map: Path, bags: Path, capsys):
    options = ('--pose-topic', '/odom', '--metres', 0.3)
    code = run(calibrate, a_map, bags / 'dusk', *options)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 1 and ('are needed' in error or 'none of its' in error)


def test_without_poses_or_names_it_cannot_be_judged(a_map: Path, bags: Path, capsys):
    assert run(calibrate, a_map, bags / 'dusk', '--pose-topic', 'none') == 1
    assert len(capsys.readouterr().err.strip().splitlines()) <= 2


def test_images_of_the_map_itself_teach_nothing(a_map: Path, bags: Path, tmp_path: Path, capsys):
    copied = shutil.copytree(bags / 'day', tmp_path / 'copy')
    before = (a_map / 'map.yaml').read_bytes()
    for source in (bags / 'day', copied):
        assert run(calibrate, a_map, source, *WITH_POSES) == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert 'are images of the map itself' in error and 'give another traverse' in error
    assert (a_map / 'map.yaml').read_bytes() == before


def test_the_other_role_of_a_set_is_another_traverse(shared: Path, tmp_path: Path, capsys):
    folder = shared / 'data' / 'val' / 'corridor'
    assert run(build_map, folder, '--role', 'database', '-o', tmp_path / 'map') == 0
    assert run(calibrate, tmp_path / 'map', folder, '--role', 'query') == 0
    assert '90 % right: from confidence' in capsys.readouterr().out
