# SPDX-License-Identifier: Apache-2.0
"""The history of a map: what is written is read, whatever else is refused in a line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from conftest import line_of

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.maps.history import HISTORY, KEPT, check_history, history_line, noted
from ashtkd_ros.maps.map_summary import summarise
from ashtkd_ros.maps.place_map import PlaceMap

GOOD = {
    'what': 'drop',
    'arguments': '/maps/a --ids 3',
    'when': '2026-03-31T12:00:00Z',
    'places': [3, 2],
    'pictures': [4, 2],
}


def change_of(**values: object) -> dict:
    return {k: v for k, v in {**GOOD, **values}.items() if v is not ...}


HOSTILE = [
    {},
    'x',
    None,
    7,
    [7],
    [None],
    [[GOOD]],
    [{}],
    [GOOD] * 1001,
    *(
        [change_of(**{key: value})]
        for key in GOOD
        for value in (..., None, [], {}, 1e3, True, '\x00' * 1001, [3], [3, -1], [3, 2.0])
    ),
    [change_of(when='yesterday')],
    [change_of(when='2026-03-31T12:00:00Z\n')],
    [change_of(when='٢٠٢٦-03-31T12:00:00Z')],
    [change_of(places=[True, 2])],
    [change_of(places=[2, 2**40])],
    [change_of(result=['x'])],
    [change_of(result='x' * 1001)],
    [change_of(mine='x')],
]


@pytest.mark.parametrize('history', HOSTILE, ids=lambda h: repr(h)[:60])
def test_a_hostile_history_is_refused(saved: Path, history: object):
    with pytest.raises(ValueError):
        check_history(history)
    file = saved / 'map.yaml'
    values = yaml.safe_load(file.read_bytes())
    values['built'][HISTORY] = history
    del values['checksum']
    data = yaml.safe_dump(values, sort_keys=False).encode()
    file.write_bytes(data + b'checksum: ' + sha256_of(data).encode() + b'\n')
    with pytest.raises(VprError) as error:
        PlaceMap.load(saved)
    assert 'map.yaml is' in line_of(error)


def test_what_is_noted_is_read(saved: Path):
    place_map = PlaceMap.load(saved)
    assert 'history' not in summarise(place_map) and history_line({}) == ''
    built = noted(place_map.info.built, 'drop', 'x' * 5000, (6, 5), (7, 6), 'y' * 5000)
    check_history(built[HISTORY])
    assert 'changed once, last 20' in history_line(built)
    assert place_map.info.built == {}
    for _ in range(2 * KEPT):
        built = noted(built, 'append', '', (6, 7), (6, 7))
    check_history(built[HISTORY])
    assert len(built[HISTORY]) == KEPT and f'changed {KEPT} times' in history_line(built)
