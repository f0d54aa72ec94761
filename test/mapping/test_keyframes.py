# SPDX-License-Identifier: Apache-2.0
"""Keyframes: what is far or turned enough to be another place."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ashtkd_ros.commands.build_map import main
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.mapping.keyframes import KeyframeOptions, moved

OPTIONS = KeyframeOptions()


def turned(degrees: float, x: float = 0.0) -> Pose:
    half = math.radians(degrees) / 2
    return Pose(x, 0.0, 0.0, 0.0, 0.0, math.sin(half), math.cos(half))


@pytest.mark.parametrize(
    ('pose', 'last', 'expected'),
    [
        (turned(0), None, True),
        (turned(0, 0.99), turned(0), False),
        (turned(0, 1.0), turned(0), True),
        (Pose(0.0, 0.0, 9.0), turned(0), False),  # satellites' heights are noise
        (turned(14.9), turned(0), False),
        (turned(15.1), turned(0), True),
        (turned(-15.1), turned(0), True),
        (turned(-179), turned(179), False),
        (turned(-170), turned(174), True),
        (turned(14, 0.9), turned(0), False),
    ],
)
def test_a_place_is_a_metre_or_a_turn_away(pose: Pose, last: Pose | None, expected: bool):
    assert moved(pose, last, OPTIONS) is expected


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (
            ('--metres', '5'),
            '--metres is for --keyframes distance and has no effect: the places are',
        ),
        (('--similarity', '0.5'), '--similarity is for --keyframes change'),
        (('--max-blur', '0.9'), '--max-blur is for --keyframes distance or change'),
        (('--keyframes', 'change', '--degrees', '5'), '--degrees is for --keyframes distance'),
    ],
)
def test_an_option_that_no_source_uses_is_noted(
    town: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    arguments: tuple[str, ...],
    said: str,
):
    with pytest.raises(SystemExit) as end:
        main([str(town / 'day'), '-o', str(tmp_path / 'map'), '--dry-run', *arguments])
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 0 and said in line and line.startswith('note: ')


def test_an_option_of_the_chosen_rule_is_taken(town: Path, tmp_path: Path, capsys):
    by_distance = ['--keyframes', 'distance', '--metres', '5', '--dry-run']
    with pytest.raises(SystemExit) as end:
        main([str(town / 'day'), '-o', str(tmp_path / 'map'), *by_distance])
    assert end.value.code == 0 and 'places by distance' in capsys.readouterr().out
