# SPDX-License-Identifier: Apache-2.0
"""Notes on what may make the figures of an evaluation mean less."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from evaluation_helpers import ORIGIN, judged

from ashtkd_ros.maps.place_map import PlaceMap

pytest_plugins = ['evaluation_fixtures']


def test_places_without_a_pose_are_never_right(day_map: Path, bags: Path, tmp_path: Path, capsys):
    place_map = PlaceMap.load(day_map)
    bare = [replace(p, pose=None) if p.id < 3 else p for p in place_map.places]
    PlaceMap(place_map.index, bare, place_map.info).save(tmp_path / 'map')
    whole = judged(day_map, bags / 'dusk', '--pose-topic', '/odom', '--no-baselines')
    found = judged(tmp_path / 'map', bags / 'dusk', '--pose-topic', '/odom', '--no-baselines')
    assert '3 places of the map have no pose and never count as right' in capsys.readouterr().err
    assert 0 < found['single images']['1'] < whole['single images']['1']


def test_satellites_and_odometry_in_frames_of_one_name_are_noted(
    day_map: Path, bags: Path, tmp_path: Path, capsys
):
    place_map = PlaceMap.load(day_map)
    built = {**place_map.info.built, 'origin': asdict(ORIGIN)}
    info = replace(place_map.info, built=built)
    PlaceMap(place_map.index, place_map.places, info).save(tmp_path / 'map')
    judged(tmp_path / 'map', bags / 'dusk', '--pose-topic', '/odom', '--no-baselines')
    assert 'the poses of the map come from satellites' in capsys.readouterr().err
    judged(day_map, bags / 'dusk', '--pose-topic', '/odom', '--no-baselines')
    assert 'satellites' not in capsys.readouterr().err
