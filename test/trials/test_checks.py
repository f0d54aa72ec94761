# SPDX-License-Identifier: Apache-2.0
"""What was measured becomes go, no-go or unsure: no-go is what makes a trial worthless."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from ashtkd_ros.trials import checks
from ashtkd_ros.trials.checks import GO, NO_GO, UNSURE, Check
from ashtkd_ros.trials.picture_check import PictureCheck
from ashtkd_ros.trials.time_sync import time_sync

NOW_NS = 1_795_000_000 * 10**9
S = 10**9


@pytest.mark.parametrize(
    ('images', 'least_hz', 'verdict'), [(0, 1.0, NO_GO), (50, 10.0, GO), (20, 10.0, UNSURE)]
)
def test_the_rate_of_a_camera(images: int, least_hz: float, verdict: str):
    check = checks.camera_rate('/cam', images, 5.0, least_hz, 'nobody publishes on /cam')
    assert check.verdict == verdict
    assert bool(check.advice) == (verdict != GO)
    assert ('nobody publishes' in check.text) == (images == 0)


def test_the_rate_of_a_slow_camera():
    assert '0.2 images per second' in checks.camera_rate('/cam', 2, 5.0, 1.0).text


def test_pictures():
    good, dark, some = ['', ''], ['nearly black'] * 3, ['over-exposed', '']
    found = [checks.exposure('/cam', faults, 90.0).verdict for faults in (good, dark, some, [])]
    assert found == [GO, NO_GO, UNSURE, UNSURE]
    assert checks.sharpness('/cam', ['blurred', 'blurred']).verdict == UNSURE
    assert checks.sharpness('/cam', ['']).verdict == GO
    assert checks.sharpness('/cam', ['nearly black']).verdict == UNSURE
    assert checks.frozen('/cam', ['', 'frozen'], changed=False).verdict == NO_GO
    assert checks.frozen('/cam', ['', ''], changed=False).verdict == UNSURE
    assert checks.frozen('/cam', ['', ''], changed=True).verdict == GO


def test_pictures_that_cannot_be_decoded():
    all_of_them, some = ['damaged'] * 3, ['damaged', '', '']
    found = [checks.frozen('/cam', faults, changed=True).verdict for faults in (all_of_them, some)]
    assert found == [NO_GO, UNSURE]
    assert checks.exposure('/cam', all_of_them, math.nan).verdict == UNSURE


def stamps(*seconds: float, behind: float = 0.05) -> list[tuple[int, int]]:
    return [(NOW_NS + int((s - behind) * S), NOW_NS + int(s * S)) for s in seconds]


@pytest.mark.parametrize(
    ('found', 'simulated', 'verdict'),
    [
        (stamps(0.0, 0.1, 0.2), False, GO),
        (stamps(0.0, 0.1, behind=1.0), False, UNSURE),
        (stamps(0.0, 0.1, behind=-60.0), False, NO_GO),
        (stamps(0.0, 0.1, behind=-60.0), True, GO),
        ([(0, NOW_NS)] * 3, True, NO_GO),
        ([(NOW_NS, NOW_NS), (NOW_NS - S, NOW_NS)], True, NO_GO),
        ([], False, UNSURE),
    ],
)
def test_stamps_of_a_camera(found: list, simulated: bool, verdict: str):
    assert checks.camera_stamps('/cam', found, simulated).verdict == verdict


@pytest.mark.parametrize(
    ('now_ns', 'kept', 'verdict'),
    [(NOW_NS, True, GO), (NOW_NS, None, UNSURE), (NOW_NS, False, UNSURE), (5 * S, True, NO_GO)],
)
def test_the_clock(now_ns: int, kept: bool | None, verdict: str):
    assert checks.system_clock(now_ns, kept, 0.002).verdict == verdict


def test_the_kernel_tells_of_its_clock():
    kept, error = time_sync()
    assert kept in (True, False, None) and (error is None or 0.0 <= error < 1000.0)


@pytest.mark.parametrize(
    ('free_gb', 'mb_per_s', 'verdict'),
    [(100.0, 10.0, GO), (20.0, 10.0, UNSURE), (10.0, 10.0, NO_GO), (0.1, 0.0, NO_GO)]
    + [(100.0, 0.0, UNSURE)],
)
def test_the_disk_has_room_for_the_planned_minutes(free_gb, mb_per_s, verdict: str):
    check = checks.disk('/trials', int(free_gb * 1e9), mb_per_s * 1e6, 30.0)  # 18 GB
    assert check.verdict == verdict


def test_network_and_map():
    assert checks.model('/m.onnx', 'a' * 64, '').verdict == GO
    assert checks.model('/m.onnx', '', '/m.onnx: cut off').verdict == NO_GO
    assert checks.place_map('/map', 'a' * 64, 12, 1.0, '').verdict == GO
    assert checks.place_map('/map', 'a' * 64, 12, 400.0, '').verdict == UNSURE
    damaged = checks.place_map('/map', '', 0, 0.0, '/map: a checksum differs; rebuild the map')
    assert damaged.verdict == NO_GO and 'rebuild' in damaged.text


def test_what_a_robot_may_lack_is_never_a_no_go():
    nan = math.nan
    unsure = [
        checks.satellites('/fix', 0, -1, nan, 0.0),
        checks.satellites('/fix', 5, -1, nan, 0.0),
        checks.satellites('/fix', 5, 0, 30.0, 0.1),
        checks.satellites('/fix', 5, 0, nan, 0.1),
        checks.satellites('/fix', 5, 0, 1.0, 90.0),
        checks.odometry('/odom', 0, 5.0, 0.0, False),
        checks.odometry('/odom', 50, 5.0, 3.0, False),
        checks.battery('/battery', None),
        checks.battery('/battery', nan),
        checks.battery('/battery', 0.1),
        checks.topics(['/a'], ['/b']),
    ]
    assert {check.verdict for check in unsure} == {UNSURE}
    good = [
        checks.satellites('/fix', 5, 0, 0.5, 0.1),
        checks.odometry('/odom', 50, 5.0, 0.1, False),
        checks.battery('/battery', 0.8),
        checks.topics(['/a'], []),
    ]
    assert {check.verdict for check in good} == {GO}


def test_the_list_ends_with_the_verdict():
    found = [Check('clock', UNSURE, 'who knows', 'set it'), Check('disk', GO, 'room')]
    clock, disk, last = checks.lines(found)
    assert last == 'go' and clock.index('who knows') == disk.index('room')
    found.append(Check('map', NO_GO, 'damaged', 'rebuild it'))
    assert checks.lines(found)[-1] == 'no-go: map: damaged; rebuild it'
    document = checks.document(found, 5.0, ['/cam'])
    assert (document['verdict'], document['reasons']) == (NO_GO, ['map: damaged; rebuild it'])
    assert document['checks'][0]['advice'] == 'set it'


def image(pixels: np.ndarray) -> SimpleNamespace:
    height, width = pixels.shape
    given = {'height': height, 'width': width, 'step': width, 'encoding': 'mono8'}
    return SimpleNamespace(**given, is_bigendian=0, data=pixels.tobytes())


def test_looking_at_pictures():
    noise = np.random.default_rng(0).integers(0, 256, (8, 240, 320)).astype(np.uint8)
    look = PictureCheck()
    assert [look.look(image(p), k, 3) for k, p in enumerate(noise)] == [''] * 8
    assert look.changed and 110 < look.brightness < 140
    assert look.look(image(np.zeros((240, 320), np.uint8)), 9.0, 3) == 'nearly black'
    cut_off = image(noise[0])
    cut_off.data = b''
    assert look.look(cut_off, 10.0, 3) == 'damaged'
    again = PictureCheck(noisy=False)
    assert [again.look(image(noise[0]), 1.0, 3) for _ in range(4)][-1] == 'frozen'
    assert not again.changed
