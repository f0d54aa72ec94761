# SPDX-License-Identifier: Apache-2.0
"""The small pictures of places: how they are made, found, checked and removed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import places_along_x, unit_rows

from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.thumbnails import (
    is_thumbnail,
    make_thumbnail,
    read_thumbnail,
    remove_thumbnails,
    thumbnail_name,
    write_thumbnail,
)

COLOUR = (200, 90, 20)  # of red, green and blue
IMAGE = np.full((240, 320, 3), COLOUR, np.uint8)


def pixels_of(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_the_order_of_colours_does_not_change_a_thumbnail():
    as_rgb = make_thumbnail(IMAGE, 'RGB')
    assert make_thumbnail(np.ascontiguousarray(IMAGE[..., ::-1]), 'BGR') == as_rgb
    assert np.abs(pixels_of(as_rgb).astype(int) - COLOUR).max() < 6
    grey = pixels_of(make_thumbnail(IMAGE[..., 0], 'GREY'))
    assert grey.shape == (120, 160, 3) and np.abs(grey.astype(int) - COLOUR[0]).max() < 6


@pytest.mark.parametrize(
    ('size', 'expected'),
    [
        ((480, 640), (120, 160)),
        ((60, 80), (120, 160)),
        ((100, 4000), (16, 640)),
        ((1, 9), (71, 640)),
    ],
)
def test_a_thumbnail_has_the_shape_of_its_image(size: tuple[int, int], expected: tuple[int, int]):
    assert pixels_of(make_thumbnail(np.zeros((*size, 3), np.uint8), 'RGB')).shape[:2] == expected


@pytest.mark.parametrize('number', [0, 7, 999_999, 1_000_000, 12_345_678])
def test_names_of_thumbnails_are_known_again(number: int):
    folder, name = thumbnail_name(number).split('/')
    assert folder == 'thumbnails' and is_thumbnail(name)


@pytest.mark.parametrize(
    'name', ['12.jpg', '000001.png', '000001.jpg.bak', 'a000001.jpg', '0١0000.jpg']
)
def test_other_names_are_not(name: str):
    assert not is_thumbnail(name)


def test_a_map_knows_its_pictures_wherever_it_comes_from(fake_network, tmp_path: Path):
    picture = make_thumbnail(IMAGE, 'RGB')
    places = [replace(p, thumbnail=sha256_of(picture)) for p in places_along_x([0, 1])]
    made = PlaceMap.build(unit_rows(2, 4), places, fake_network)
    assert made.folder is None and made.picture(made.places[0]) is None  # in memory alone
    write_thumbnail(tmp_path, 0, picture)
    made.save(tmp_path / 'map', thumbnails=tmp_path / 'thumbnails')
    for place_map in (made, PlaceMap.load(tmp_path / 'map')):
        shown = place_map.picture(place_map.places[0])
        assert shown.shape == (120, 160, 3) and np.abs(shown.astype(int) - COLOUR).max() < 6
        assert place_map.picture(place_map.places[1]) is None  # which has none


def test_a_damaged_thumbnail_is_not_read(tmp_path: Path):
    place = replace(places_along_x([0])[0], thumbnail=sha256_of(b'right'))
    write_thumbnail(tmp_path, 0, b'right')
    assert read_thumbnail(tmp_path, place) == b'right'
    write_thumbnail(tmp_path, 0, b'wrong')
    with pytest.raises(OSError, match='its checksum differs'):
        read_thumbnail(tmp_path, place)
    handle = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match='its checksum differs'):
        read_thumbnail(tmp_path, place, handle)
    os.close(handle)


def test_removing_leaves_the_files_of_the_user(tmp_path: Path):
    remove_thumbnails(tmp_path)  # there are none
    write_thumbnail(tmp_path, 3, b'3')
    (tmp_path / 'thumbnails' / 'mine.jpg').touch()
    (tmp_path / 'thumbnails' / '000009.jpg').mkdir()
    remove_thumbnails(tmp_path)
    left = sorted(p.name for p in (tmp_path / 'thumbnails').iterdir())
    assert left == ['000009.jpg', 'mine.jpg']


def test_removing_does_not_follow_a_link(tmp_path: Path):
    write_thumbnail(tmp_path, 3, b'3')
    (tmp_path / 'map').mkdir()
    (tmp_path / 'map' / 'thumbnails').symlink_to(tmp_path / 'thumbnails')
    remove_thumbnails(tmp_path / 'map')
    assert (tmp_path / 'thumbnails' / '000003.jpg').read_bytes() == b'3'
