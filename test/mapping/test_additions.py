# SPDX-License-Identifier: Apache-2.0
"""Which recordings fit into a map: one frame, one origin on earth, no second odometry."""

from __future__ import annotations

from pathlib import Path

import pytest
from bag_helpers import fix, image, pose_stamped, write_bag
from conftest import line_of
from test_mapping import START, drive, map_options, opened, tinted

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.mapping.append import AppendOptions, append
from ashtkd_ros.mapping.build import build_map
from ashtkd_ros.mapping.keyframes import KeyframeOptions, options_of
from ashtkd_ros.mapping.merging import merge
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder

pytest_plugins = ['bag_fixtures']
KEYFRAMES = KeyframeOptions('all', max_blur=1.0)


def in_map(start: float, count: int = 3, frame: str = 'map') -> list:
    """Images with poses in `frame`."""
    records = [image(start + i / 2, tinted(i, 'g')) for i in range(count)]
    return records + [
        pose_stamped(start + i / 2, Pose(float(i), 0, 0), frame_id=frame) for i in range(count)
    ]


def by_satellite(start: float, lat: float = 48.0) -> list:
    records = [image(start + i / 2, tinted(i, 'b')) for i in range(9)]
    return records + [fix(start + i / 2, lat + 1e-5 * i, 11.0) for i in range(9)]


RECORDS = {
    'odometry': lambda start: drive('rgb', start),
    'map': in_map,
    'site': lambda start: in_map(start, frame='site'),
    'satellites': by_satellite,
    'none': lambda start: drive('gbr', start, poses=False),
}
# What becomes of a recording of the second kind in a map of the first.
FITS = {
    ('map', 'map'): '',
    ('map', 'none'): '',
    ('none', 'map'): '',
    ('none', 'odometry'): '',
    ('odometry', 'none'): '',
    ('satellites', 'satellites'): '',
    ('map', 'odometry'): 'in "odom", those of',
    ('map', 'site'): 'in "site", those of',
    ('odometry', 'map'): 'in "map", those of',
    ('odometry', 'odometry'): 'has poses of odometry in "odom", which begins anew',
    ('map', 'satellites'): 'of NavSatFix about',
    ('satellites', 'map'): 'of NavSatFix about',
}


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    from conftest import write_tiny_model

    return Embedder(write_tiny_model(tmp_path_factory.mktemp('m') / 'tiny.onnx'), (), 1)


def bag(tmp_path: Path, kind: str, name: str, start: float = START) -> Path:
    return write_bag(tmp_path / name, records=RECORDS[kind](start))


@pytest.mark.parametrize(('first', 'second'), FITS)
def test_what_fits_into_a_map(tmp_path: Path, tiny: Embedder, first: str, second: str):
    out, why = tmp_path / 'map', FITS[first, second]
    build_map(opened(bag(tmp_path, first, 'a')), tiny, out, map_options('all'))
    info = PlaceMap.load(out).info
    traverses = opened(bag(tmp_path, second, 'b', START + 99), origin=info.origin)
    if why:
        with pytest.raises(VprError) as error:
            append(out, traverses, tiny, AppendOptions(KEYFRAMES))
        assert why in line_of(error)
        assert not (tmp_path / '.map.building').exists()
        return
    notes: list[str] = []
    append(out, traverses, tiny, AppendOptions(KEYFRAMES), notify=lambda *x: notes.extend(x))
    place_map = PlaceMap.load(out, tiny)
    assert place_map.places.traverses.max() == 1
    assert bool(notes) == (first != second)
    if second != 'none':
        assert place_map.info.frame == opened(tmp_path / 'b')[0].frame_id
    assert place_map.info.origin == info.origin


def test_satellite_fixes_are_about_the_origin_of_the_map(tmp_path: Path, tiny: Embedder):
    out = tmp_path / 'map'
    build_map(opened(bag(tmp_path, 'satellites', 'a')), tiny, out, map_options('all'))
    records = by_satellite(START + 99, lat=48.0009)
    origin = PlaceMap.load(out).info.origin
    append(
        out,
        opened(write_bag(tmp_path / 'b', records=records), origin=origin),
        tiny,
        AppendOptions(KEYFRAMES),
    )
    ys = PlaceMap.load(out).places.positions[:, 1]
    assert ys.max() == pytest.approx(108.96, abs=0.5)


@pytest.mark.parametrize(
    ('first', 'second'), [pair for pair, why in FITS.items() if 'none' not in pair]
)
def test_what_fits_is_merged(tmp_path: Path, tiny: Embedder, first: str, second: str):
    for kind, name in ((first, 'a'), (second, 'b')):
        source = bag(tmp_path, kind, f'{name}.bag', START + 50 * (name == 'b'))
        build_map(opened(source), tiny, tmp_path / name, map_options('all'))
    maps = [PlaceMap.load(tmp_path / name) for name in 'ab']
    if not FITS[first, second] and first != 'satellites':
        assert len(merge(maps).revision.places) == 6
    elif first == second == 'satellites':  # one origin, since the first fixes are the same
        assert len(merge(maps).revision.places) == 18
    else:
        with pytest.raises(VprError) as error:
            merge(maps)
        assert FITS[first, second] in line_of(error)


def test_rules_of_keyframes_are_those_of_the_map():
    assert options_of({}) == KeyframeOptions()
    assert options_of({'keyframes': {'metres': 3}}).metres == 3
    for hostile in (7, [], {'metres': 'x'}, {'metres': -1}, {'rule': 'x'}, {'degrees': True}):
        with pytest.raises(VprError) as error:
            options_of({'keyframes': hostile})
        assert 'map.yaml is damaged' in line_of(error)
