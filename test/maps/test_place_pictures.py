# SPDX-License-Identifier: Apache-2.0
"""The pictures of a map's places are found again in folders, bags and thumbnails."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_helpers import image, split_bag, storage_files, write_bag
from conftest import line_of, places_along_x, unit_rows, write_tiny_model
from test_mapping import START, drive, map_options, opened, tinted

from ashtkd_ros.errors import VprError
from ashtkd_ros.mapping.build import build_map
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.place_pictures import PlacePictures
from ashtkd_ros.network.embedder import Embedder


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return Embedder(write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.onnx'), (), 1)


def walk(folder: Path) -> Path:
    """Three images, the middle one grey."""
    folder.mkdir()
    rows = ['file,stamp,x,y']
    for i in range(3):
        picture = tinted(i, 'b')
        cv2.imwrite(str(folder / f'{i}.png'), picture[..., 0] if i == 1 else picture[..., ::-1])
        rows.append(f'{i}.png,{i},{i},0')
    (folder / 'poses.csv').write_text('\n'.join(rows))
    return folder


def mapped(out: Path, tiny: Embedder, *paths: Path, thumbnails: bool = False) -> PlacePictures:
    options = map_options('all', thumbnails=thumbnails)
    build_map(opened(*paths, pose_topic=''), tiny, out, options)
    return PlacePictures(PlaceMap.load(out))


def expected(name: str, number: int) -> np.ndarray:
    if name == 'walk' and number == 1:
        return np.repeat(tinted(1, 'b')[..., :1], 3, axis=2)
    return tinted(number, 'b' if name == 'walk' else 'r')


def test_pictures_come_from_every_source_as_they_were_embedded(tmp_path: Path, tiny: Embedder):
    records = [image(START + i, tinted(i, 'r'), received=START) for i in range(2)]
    records += [image(START + 2, tinted(2, 'r'))]
    bag = write_bag(tmp_path / 'bag', records=records, storage='mcap')
    parts = split_bag(
        tmp_path / 'parts',
        [[image(START + i, tinted(i, 'r'))] for i in range(3)],
    )
    ros1 = write_bag(tmp_path / 'b.bag', records=drive('rrr', poses=False))
    paths = (bag, walk(tmp_path / 'walk'), parts, ros1)
    pictures = mapped(tmp_path / 'map', tiny, *paths)
    assert [p.traverse for p in pictures.map.places] == [i for i in range(4) for _ in range(3)]
    for place in pictures.map.places:
        shown = expected(paths[place.traverse].name, place.id % 3)
        assert (pictures(place) == shown).all() and (pictures.original(place) == shown).all()
    everything = list(pictures.all())
    assert [place for place, _ in everything] == pictures.map.places
    assert all((picture == pictures(place)).all() for place, picture in everything)


@pytest.mark.parametrize('thumbnails', [False, True])
def test_the_thumbnail_stands_in_for_a_picture_that_is_gone(
    tmp_path: Path, tiny: Embedder, thumbnails: bool
):
    bag = write_bag(tmp_path / 'bag', records=drive('rr', poses=False))
    paths = (bag, walk(tmp_path / 'walk'))
    mapped(tmp_path / 'map', tiny, *paths, thumbnails=thumbnails)
    for path in paths:
        shutil.rmtree(path)
    pictures = PlacePictures(PlaceMap.load(tmp_path / 'map'))
    for place, path in ((pictures.map.places[0], bag), (pictures.map.places[3], paths[1])):
        if thumbnails:
            seen, shown = pictures(place).mean(axis=(0, 1)), expected(path.name, place.id % 2)
            assert pictures(place).shape == (120, 160, 3)
            np.testing.assert_allclose(seen, shown.mean(axis=(0, 1)), atol=4.0)
        for ask in (pictures.original, *([] if thumbnails else [pictures])):
            with pytest.raises(VprError) as error:
                ask(place)
            assert str(path) in line_of(error)
    with pytest.raises(VprError):
        list(pictures.all())


def test_a_bag_that_lost_images_is_said(tmp_path: Path, tiny: Embedder):
    parts = [[image(START + i, tinted(i, 'r'))] for i in range(2)]
    pictures = mapped(tmp_path / 'map', tiny, split_bag(tmp_path / 'bag', parts))
    shutil.rmtree(tmp_path / 'bag')
    write_bag(tmp_path / 'bag', records=parts[0])
    assert storage_files(tmp_path / 'bag')
    with pytest.raises(VprError) as error:
        list(pictures.all())
    assert 'does not hold all images of the map' in line_of(error)
    with pytest.raises(VprError) as error:
        pictures(pictures.map.places[1])
    assert 'no message on /camera/image_raw' in line_of(error)


def test_a_map_of_another_maker_has_no_pictures(fake_network, tmp_path: Path):
    place_map = PlaceMap.build(unit_rows(2, 4), places_along_x(range(2)), fake_network)
    with pytest.raises(VprError) as error:
        PlacePictures(place_map)(place_map.places[0])
    assert 'does not tell where the images of traverse 0 are' in line_of(error)
