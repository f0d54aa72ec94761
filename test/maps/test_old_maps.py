# SPDX-License-Identifier: Apache-2.0
"""Maps that older versions of the program wrote are read, and what is written now is the same.

`test/data/maps`: the same three places, written by the first version of the project, by the last
one of format 1, by the last one of format 2, and with local features by those of formats 3 and 4.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, checksums, line_of

from ashtkd_ros.commands.map_tools import main as map_tools
from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.folder import check_target
from ashtkd_ros.maps.map_files import load_description
from ashtkd_ros.maps.map_summary import summarise
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.maps.thumbnails import make_thumbnail, read_thumbnail, write_thumbnail
from ashtkd_ros.network.embedder import Preprocessing
from ashtkd_ros.network.local_features import LocalShape

MAPS = ROOT / 'test' / 'data' / 'maps'
OLD = {
    'first_version': (1, []),
    **{f'format_{version}': (version, ['/walks/day']) for version in (1, 2, 3, 4)},
}
FILES = ['index.faiss', 'places.csv', 'places.npz']
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
    local=LocalShape((1, 2), 4),
)
LOCAL = 127 * np.eye(6, dtype=np.int8).reshape(3, 2, 6)[..., :4]
LOCAL[2, 0, 1] = LOCAL[2, 1, 2] = 127


@pytest.mark.parametrize('name', OLD)
def test_an_old_map_is_read_whole(name: str):
    version, sources = OLD[name]
    loaded = PlaceMap.load(MAPS / name, NETWORK, pictures=True)
    assert loaded.places == PLACES and loaded.info.frame == 'map'
    assert [t['source'] for t in loaded.traverses] == sources
    assert loaded.info.calibration == NETWORK.confidence
    assert loaded.index.rows(range(3)).tolist() == np.eye(3, 4).tolist()
    assert loaded.picture(loaded.places[0]) is None
    assert summarise(loaded)['places'] == '3, 3 with a pose in frame "map"'
    told = ['an older version made the map' in line for line in loaded.warnings]
    assert told == ([True] if version == 1 else [])
    assert load_description(MAPS / name).covered == (version > 1)
    if version < 3:
        assert loaded.local is None and summarise(loaded)['local'] == loaded.unverified
    else:
        assert loaded.local.rows([0, 1, 2]).tolist() == LOCAL.tolist() and not loaded.unverified
        assert summarise(loaded)['local'] == '1 x 2 x 4 x int8, answers can be verified'


@pytest.mark.parametrize('name', OLD)
def test_an_old_map_saved_again_is_of_the_new_format(name: str, tmp_path: Path):
    out = tmp_path / 'map'
    shutil.copytree(MAPS / name, out)
    check_target(out)
    PlaceMap.load(out).save(out)
    again, now, written = PlaceMap.load(out), checksums(MAPS / 'format_4'), checksums(out)
    assert again.places == PLACES and not again.warnings
    assert 'format_version: 4\n' in (out / 'map.yaml').read_text()
    assert [written[n] for n in FILES] == [now[n] for n in FILES]
    assert written.get('local.npy') == (now['local.npy'] if OLD[name][0] >= 3 else None)


def test_pictures_of_the_first_versions_get_checksums_and_stay(tmp_path: Path):
    old, jpeg = tmp_path / 'map', make_thumbnail(np.full((8, 8, 3), 99, np.uint8), 'RGB')
    shutil.copytree(MAPS / 'format_1', old)
    for row in (0, 2):
        write_thumbnail(old, row, jpeg)
    for arguments in (['drop', old, '--ids', 0], ['relabel', old, '2=door']):
        with pytest.raises(SystemExit) as end:
            map_tools([*map(str, arguments), '-o', str(tmp_path / arguments[0])])
        assert end.value.code == 0
    for name, there in (('drop', [False, True]), ('relabel', [True, False, True])):
        places = PlaceMap.load(tmp_path / name, pictures=True).places
        assert [bool(place.thumbnail) for place in places] == there
        for place in (place for place in places if place.thumbnail):
            assert read_thumbnail(tmp_path / name, place) == jpeg


def test_the_same_map_has_the_same_bytes_as_before(tmp_path: Path):
    built = {'traverses': [{'source': '/walks/day'}], 'keyframes': {'rule': 'all'}}
    made = PlaceMap.build(np.eye(3, 4), PLACES, NETWORK, 'map', LOCAL, **built)
    made.save(tmp_path / 'map')
    assert checksums(tmp_path / 'map') == checksums(MAPS / 'format_4')


@pytest.mark.parametrize('version', [0, 5, 99])
def test_a_map_of_a_format_to_come_is_refused_in_one_line(tmp_path: Path, version: int):
    shutil.copytree(MAPS / 'first_version', tmp_path / 'map')
    text = (tmp_path / 'map' / 'map.yaml').read_text()
    text = text.replace('format_version: 1', f'format_version: {version}')
    (tmp_path / 'map' / 'map.yaml').write_text(text)
    with pytest.raises(VprError) as error:
        PlaceMap.load(tmp_path / 'map')
    assert f'has map format {version}, this program reads 1 to 4' in line_of(error)
    assert ('take a newer version' in line_of(error)) == (version > 4)
