# SPDX-License-Identifier: Apache-2.0
"""Maps that older versions of the program wrote are read, and what is written now is the same.

`test/data/maps`: the same three places, written by the first version of the project, by the last
one of format 1, and by the last one before the package was laid out in folders.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, checksums, line_of

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.folder import check_target
from ashtkd_ros.maps.map_files import load_description
from ashtkd_ros.maps.map_summary import summarise
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.network.embedder import Preprocessing

MAPS = ROOT / 'test' / 'data' / 'maps'
OLD = {'first_version': (1, []), 'format_1': (1, ['/walks/day']), 'format_2': (2, ['/walks/day'])}
PLACES = [
    Place(i, 0.5 * i, i, Pose(float(i), 0.0, 0.0), f'images/{i}.jpg', 'hall' if i else '')
    for i in range(3)
]
NETWORK = SimpleNamespace(
    dimensions=4,
    name='student',
    hash='ab' * 32,
    confidence={'similarity': 3.1, 'margin': 9.1, 'offset': -2.3},
    preprocessing=Preprocessing((6, 8), (0.0,) * 3, (1.0,) * 3, 'RGB'),
)


@pytest.mark.parametrize('name', OLD)
def test_an_old_map_is_read_whole(name: str):
    version, sources = OLD[name]
    loaded = PlaceMap.load(MAPS / name, NETWORK, pictures=True)
    assert loaded.places == PLACES and loaded.info.frame == 'map'
    assert [t['source'] for t in loaded.traverses] == sources
    assert loaded.info.calibration == NETWORK.confidence
    assert loaded.index.reconstruct_n(0, 3).tolist() == np.eye(3, 4).tolist()
    assert loaded.picture(loaded.places[0]) is None
    assert summarise(loaded)['places'] == '3, 3 with a pose in frame "map"'
    told = ['an older version made the map' in line for line in loaded.warnings]
    assert told == ([True] if version == 1 else [])
    assert load_description(MAPS / name).covered == (version == 2)


@pytest.mark.parametrize('name', OLD)
def test_an_old_map_saved_again_is_of_the_new_format(name: str, tmp_path: Path):
    out = tmp_path / 'map'
    shutil.copytree(MAPS / name, out)
    check_target(out)
    PlaceMap.load(out).save(out)
    again = PlaceMap.load(out)
    assert again.places == PLACES and not again.warnings
    assert checksums(out)['index.faiss'] == checksums(MAPS / 'format_2')['index.faiss']
    assert checksums(out)['places.csv'] == checksums(MAPS / 'format_2')['places.csv']


def test_the_same_map_has_the_same_bytes_as_before(tmp_path: Path):
    built = {'traverses': [{'source': '/walks/day'}], 'keyframes': {'rule': 'all'}}
    PlaceMap.build(np.eye(3, 4), PLACES, NETWORK, 'map', **built).save(tmp_path / 'map')
    assert checksums(tmp_path / 'map') == checksums(MAPS / 'format_2')


@pytest.mark.parametrize('version', [0, 3, 99])
def test_a_map_of_a_format_to_come_is_refused_in_one_line(tmp_path: Path, version: int):
    shutil.copytree(MAPS / 'first_version', tmp_path / 'map')
    text = (tmp_path / 'map' / 'map.yaml').read_text()
    text = text.replace('format_version: 1', f'format_version: {version}')
    (tmp_path / 'map' / 'map.yaml').write_text(text)
    with pytest.raises(VprError) as error:
        PlaceMap.load(tmp_path / 'map')
    assert f'has map format {version}, this program reads 1 and 2' in line_of(error)
