# SPDX-License-Identifier: Apache-2.0
"""What a map would be made of is told, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest
from bag_helpers import write_bag
from test_commands import call
from test_mapping import START, drive, snapshot

from ashtkd_ros.mapping.source_checks import POSES_IN_MAP


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / 'maps' / 'map'


def test_a_dry_run_tells_the_plan_and_writes_nothing(
    tmp_path: Path, town: Path, out: Path, capsys: pytest.CaptureFixture
):
    gap = [r for r in drive('r' * 21) if r.topic != '/odom' or not 3 < r.received - START < 6]
    bag = write_bag(tmp_path / 'b', records=gap)
    bare = write_bag(tmp_path / 'c', records=drive('rg', poses=False))
    before = snapshot(tmp_path)
    assert call('build_map', bag, bare, town / 'day', '--dry-run') == 0
    printed = capsys.readouterr()
    assert printed.err == ''
    assert printed.out.splitlines() == [
        f'{bag}: 21 images on /camera/image_raw (1.9 Hz)',
        '  poses of /odom in odom: 75 poses, 10.0 Hz, 10.4 s, 10.4 m, longest gap 3.10 s',
        '  1 gap without poses, 3.1 s together',
        '  about 8 places by distance',
        f'{bare}: 2 images on /camera/image_raw (2.0 Hz)',
        '  places by change',
        '  no topic with poses: its images have none',
        f'{town / "day"}: 117 images',
        '  every image becomes a place',
        f'{bag}: the poses of /odom are odometry, whose frame "odom" begins anew with each drive: '
        f'places are named all the same, but AMCL does not take their poses; {POSES_IN_MAP}',
        f'{bare}: no poses, which the other sources have; places of both kinds in one map are '
        'told apart by their numbers only; better build a map of each',
    ]
    assert snapshot(tmp_path) == before and not out.parent.exists()
    assert call('build_map', bag) == 2
    assert '-o/--out' in capsys.readouterr().err.splitlines()[-1]
