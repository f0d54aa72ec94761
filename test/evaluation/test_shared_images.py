# SPDX-License-Identifier: Apache-2.0
"""A set with roles is not evaluated against itself unseen, and no map against its own images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from evaluation_helpers import run

from ashtkd_ros.commands.build_map import main as build_map
from ashtkd_ros.commands.evaluate import main as evaluate
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.traverses.bag_writer import BagOptions, make_bag
from ashtkd_ros.traverses.image_folder import read_source, roles_for

FEW = 8
pytest_plugins = ['evaluation_fixtures']


@pytest.fixture
def photos(tmp_path: Path, town: Path) -> Path:
    """An index set: walks by day and at dusk, the latter in other files."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    rows = ['file,place,role,order']
    for role, walk in (('database', 'day'), ('query', 'dusk')):
        for i, frame in enumerate(read_source(town / walk)[:FEW]):
            shutil.copy(frame.file, folder / f'{role}{i}.jpg')
            rows.append(f'{role}{i}.jpg,{i},{role},{i}')
    (folder / 'index.csv').write_text('\n'.join(rows))
    return folder


def notes_of(report: Path) -> list[str]:
    return json.loads(report.with_suffix('.json').read_text())['notes']


@pytest.mark.parametrize(
    ('roles', 'map_takes', 'query_takes'),
    [
        (['database', 'query'], ['database'], ['query']),
        (['Query', 'Map', ''], ['Map'], ['Query']),
        (['reference', 'night', 'fog'], ['reference'], ['night', 'fog']),
        (['query', 'day'], ['day'], ['query']),
        (['day', 'night'], ['day', 'night'], ['day', 'night']),
        (['query'], ['query'], ['query']),
        ([''], [''], ['']),
    ],
)
def test_roles_that_are_meant(roles, map_takes, query_takes) -> None:
    assert roles_for('map', roles) == map_takes
    assert roles_for('query', roles) == query_takes
    assert roles_for('', roles) == roles


def test_roles_are_the_default_and_said(photos: Path, tmp_path: Path, capfd) -> None:
    assert run(build_map, photos, '-o', tmp_path / 'map') == 0
    said = (
        f'index.csv has roles: {FEW} of {2 * FEW} rows are taken, "database"; choose with --role'
    )
    assert said in capfd.readouterr().err
    sources = [place.source for place in PlaceMap.load(tmp_path / 'map').places]
    assert sources == [f'database{i}.jpg' for i in range(FEW)]
    report = tmp_path / 'r.html'
    assert run(evaluate, tmp_path / 'map', photos, '-o', report, '--no-baselines') == 0
    told = capfd.readouterr()
    assert f'{FEW} of {2 * FEW} rows are taken, "query"' in told.err
    assert 'images of the map itself' not in told.err
    assert f'{FEW} queries' in told.out or str(FEW) in told.out


@pytest.mark.parametrize('case', ['same', 'copies', 'bag', 'bag again', 'pq', 'some'])
def test_images_of_the_map_are_said(photos: Path, town: Path, tmp_path: Path, case, capfd) -> None:
    source, query, options = photos, photos, ['--role', 'database']
    shared = FEW
    if case == 'copies':
        shutil.copytree(photos, query := tmp_path / 'elsewhere')
    elif case == 'some':
        query = tmp_path / 'elsewhere'
        shutil.copytree(photos, query)
        for i in range(3):
            (query / f'database{i}.jpg').write_bytes((photos / f'query{i}.jpg').read_bytes())
        shared = FEW - 3
    elif case in ('bag', 'bag again', 'pq'):
        source = query = tmp_path / 'bag'
        make_bag(read_source(town / 'day')[:FEW], source, BagOptions(jpeg=True))
        options = ['--keyframes', 'all', *(['--index', 'pq'] if case == 'pq' else [])]
    assert run(build_map, source, '-o', tmp_path / 'map', *options) == 0
    if case in ('bag again', 'pq'):  # other times, raw
        make_bag(read_source(town / 'day')[:FEW], query := tmp_path / 'raw', BagOptions(hz=3.0))
    role = options if case in ('same', 'copies', 'some') else []
    report = tmp_path / 'r.html'
    assert run(evaluate, tmp_path / 'map', query, '-o', report, '--no-baselines', *role) == 0
    said = f'{shared} of {FEW} images replayed are images of the map itself'
    assert said in capfd.readouterr().err
    assert notes_of(report)[0].startswith(said)
    assert said in report.read_text()


def test_another_walk_shares_nothing(town: Path, tmp_path: Path, capfd) -> None:
    for name in ('day', 'dusk'):
        make_bag(read_source(town / name)[:FEW], tmp_path / name, BagOptions(jpeg=True))
    assert run(build_map, tmp_path / 'day', '-o', tmp_path / 'map') == 0
    assert run(evaluate, tmp_path / 'map', tmp_path / 'dusk', '--no-baselines') == 0
    assert 'of the map itself' not in capfd.readouterr().err
