# SPDX-License-Identifier: Apache-2.0
"""What of a traverse a map does not know: nothing of one it knows, a new look, places off it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import line_of, places_along_x, unit_rows

from ashtkd_ros.errors import VprError
from ashtkd_ros.images import synthetic_change as change
from ashtkd_ros.mapping.build import build_map
from ashtkd_ros.mapping.looks import looks_of
from ashtkd_ros.mapping.suggestions import (
    KNOWN,
    NEW_LOOK,
    OFF_THE_MAP,
    Suggestions,
    SuggestOptions,
    places_of,
    suggest,
)
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.recognition.matcher import Matcher
from ashtkd_ros.traverses.opening import open_traverse

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@pytest.fixture(scope='module')
def embedder() -> Embedder:
    return Embedder(shipped_model(), num_threads=1)


def part_of(walk: Path, out: Path, rows: slice, changed: Change | None = None) -> Path:
    """Some images of a walk as a walk of its own, perhaps changed (RGB)."""
    head, *lines = (walk / 'poses.csv').read_text().splitlines()
    out.mkdir()
    (out / 'images').mkdir()
    (out / 'poses.csv').write_text('\n'.join([head, *lines[rows]]) + '\n')
    rng = np.random.default_rng(1)
    for line in lines[rows]:
        name = line.partition(',')[0]
        shutil.copyfile(walk / name, out / name)
        if changed is not None:
            image = cv2.imread(str(out / name))[..., ::-1].copy()
            cv2.imwrite(str(out / name), changed(image, rng)[..., ::-1])
    return out


def storm(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A night with rain."""
    return change._noise(change._rain(change._night(image, rng), rng), rng)


@pytest.fixture(scope='module')
def day(town: Path, embedder: Embedder, tmp_path_factory) -> PlaceMap:
    """Map of every second image of the first 80 of the day."""
    folder = tmp_path_factory.mktemp('day')
    walk = part_of(town / 'day', folder / 'walk', slice(0, 80, 2))
    build_map([open_traverse(walk)], embedder, folder / 'map')
    return PlaceMap.load(folder / 'map', embedder)


def found_in(
    day: PlaceMap, embedder: Embedder, walk: Path, options: SuggestOptions | None = None
) -> Suggestions:
    return suggest(day, embedder, open_traverse(walk), options)


def test_nothing_is_suggested_for_what_the_map_knows(day, embedder, town, tmp_path):
    own = found_in(day, embedder, part_of(town / 'day', tmp_path / 'own', slice(0, 80, 2)))
    assert not own.stretches and own.counts[KNOWN] >= 38
    between = found_in(day, embedder, part_of(town / 'day', tmp_path / 'other', slice(1, 80, 2)))
    assert not between.stretches and between.counts[KNOWN] >= 36


def test_nor_for_a_little_change(day, embedder, town, tmp_path):
    walk = part_of(town / 'day', tmp_path / 'fog', slice(0, 80, 2), change._fog)
    assert not found_in(day, embedder, walk).stretches


def test_a_changed_traverse_is_a_new_look_of_its_places(day, embedder, town, tmp_path):
    changed = part_of(town / 'day', tmp_path / 'storm', slice(0, 80, 2), storm)
    found = found_in(day, embedder, changed)
    looks = [s for s in found.stretches if s.kind == NEW_LOOK]
    assert looks and len(looks) == found.looks_to_add
    for stretch in looks:
        assert stretch.similarity < found.looks.limit
        assert stretch.light < 60 < stretch.light_of_map
        ids = [p.id for p in places_of(day, stretch)]
        right = [abs(s.row - s.number) <= 1 for s in stretch.seen]
        assert np.mean(right) > 0.8 and len(ids) == len(set(ids)) >= 5
    assert sum(len(s.seen) for s in looks) > 20


def test_only_the_part_that_changed_is_told(day, embedder, town, tmp_path):
    mixed, rng = (
        part_of(town / 'day', tmp_path / 'mixed', slice(0, 80, 2)),
        np.random.default_rng(3),
    )
    for name in sorted((mixed / 'images').iterdir())[15:28]:
        image = cv2.imread(str(name))[..., ::-1].copy()
        cv2.imwrite(str(name), storm(image, rng)[..., ::-1])
    (stretch,) = found_in(day, embedder, mixed).stretches
    assert stretch.kind == NEW_LOOK
    assert 13 <= stretch.seen[0].number <= 17 and 25 <= stretch.seen[-1].number <= 29


def test_where_the_map_has_no_places_it_says_so(day, embedder, town, tmp_path):
    beyond = part_of(town / 'day', tmp_path / 'beyond', slice(40, 117, 2))
    stretches = found_in(day, embedder, beyond).stretches
    off = [s for s in stretches if s.kind == OFF_THE_MAP]
    assert off and not any(s.on_route for s in off)
    assert min(s.number for s in off[-1].seen) >= 18


def test_what_is_not_recognised_where_the_map_has_places_is_told_apart(
    day, embedder, town, tmp_path
):
    """Images from beyond the map, with poses on it: as if the place were another one now."""
    walk = part_of(town / 'day', tmp_path / 'other', slice(0, 80, 2))
    for number in range(24, 60, 2):
        beyond = town / 'day' / 'images' / f'{number + 57:04d}.jpg'
        shutil.copyfile(beyond, walk / 'images' / f'{number:04d}.jpg')
    found = found_in(day, embedder, walk)
    off = [s for s in found.stretches if s.kind == OFF_THE_MAP]
    assert off and all(s.on_route for s in off) and found.looks_to_add == len(found.stretches)


def test_covered_images_are_neither_new_nor_unknown(day, embedder, town, tmp_path):
    dark = part_of(town / 'day', tmp_path / 'dark', slice(0, 80, 2))
    for name in sorted((dark / 'images').iterdir())[10:25]:
        cv2.imwrite(str(name), np.zeros((240, 320, 3), np.uint8))
    found = found_in(day, embedder, dark)
    assert not found.stretches and found.passed == {'nearly black': 15}


def test_a_robot_that_stands_is_no_long_stretch(day, embedder, town, tmp_path):
    """Many images, one view: worth one picture."""
    walk = part_of(town / 'day', tmp_path / 'still', slice(20, 40, 2), storm)
    lines = (walk / 'poses.csv').read_text().splitlines()
    rows = [lines[5]] * 60
    rows = [
        f'{r.split(",")[0]},{100 + i},{",".join(r.split(",")[2:])}' for i, r in enumerate(rows)
    ]
    (walk / 'poses.csv').write_text('\n'.join([lines[0], *rows]) + '\n')
    assert not found_in(day, embedder, walk).stretches


def test_no_image_that_can_be_used_is_one_line(day, embedder, town, tmp_path):
    dark = part_of(town / 'day', tmp_path / 'dark', slice(0, 6), lambda image, _: image * 0)
    with pytest.raises(VprError) as error:
        found_in(day, embedder, dark)
    assert '6 nearly black' in line_of(error)


def test_a_map_that_is_too_small_to_tell_is_one_line(built: PlaceMap):
    with pytest.raises(VprError) as error:
        looks_of(Matcher(built))
    assert 'too small' in line_of(error)


def test_looks_are_measured_on_neighbours_and_on_what_is_elsewhere(fake_network):
    """Descriptors that turn slowly along the route, 20 degrees a place, 6 m apart."""
    angles = np.radians(20) * np.arange(18)
    rows = np.stack([np.cos(angles), np.sin(angles), 0 * angles, 0 * angles], axis=1)
    places = places_along_x(6.0 * np.arange(18))
    looks = looks_of(Matcher(PlaceMap.build(rows.astype(np.float32), places, fake_network)))
    assert looks.next == pytest.approx(np.cos(np.radians(20)), abs=1e-5)
    assert looks.elsewhere == pytest.approx(np.cos(np.radians(40)), abs=1e-5)
    assert looks.limit == pytest.approx((looks.next + looks.elsewhere) / 2)
    apart = PlaceMap.build(unit_rows(30, 4), places_along_x(6.0 * np.arange(30)), fake_network)
    assert looks_of(Matcher(apart)).next < looks.next
