# SPDX-License-Identifier: Apache-2.0
"""Every command with good input at each of its doors, which tests then spoil; a pytest plugin."""

from __future__ import annotations

import json
import shutil
import signal
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import write_tiny_model
from test_place_pictures import walk

from ashtkd_ros.commands import bag_tools, build_map, evaluate, map_info, map_tools
from ashtkd_ros.evaluation.node_answers import SCHEMA_VERSION
from ashtkd_ros.maps.map_files import map_checksum
from ashtkd_ros.traverses.bag_writer import START_S

_MODULES = (bag_tools, build_map, evaluate, map_info, map_tools)
MAINS = {m.__name__.rpartition('.')[2]: m.main for m in _MODULES}
HOSTILE = 'a\x1b[2J\x1b]0;owned\x07b\nerror: all is well\r\u202e\u2028c\x9b31m'


@pytest.fixture
def alarm() -> Iterator[None]:
    """Whatever hangs fails."""

    def late(*_) -> None:
        raise BaseException('it hangs')

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope='session')
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a walk, a map of it, a report, a bag, and the model of them."""
    folder = tmp_path_factory.mktemp('good')
    model = write_tiny_model(folder / 'tiny.onnx')
    walk(folder / 'walk')
    common = ['--model', model, '--threads', 1]
    assert call('build_map', folder / 'walk', '-o', folder / 'map', *common) == 0
    out = ['-o', folder / 'report.html', '--no-timing']
    assert call('evaluate', folder / 'map', folder / 'walk', *out, *common) == 0
    assert call('bag_tools', 'make', folder / 'walk', '-o', folder / 'bag') == 0
    poses = ''.join(f'{START_S + i / 2} {i} 0 0 0 0 0 1\n' for i in range(-1, 8))
    (folder / 'tum.txt').write_text(poses)
    (folder / 'pairs.csv').write_text('query,map\n0,0\n1,1\n')
    given = {'stamp_ns': 10**9, 'places': [1], 'scores': [0.9], 'seconds': 0.1}
    told = {'schema_version': SCHEMA_VERSION, 'sent': 3, 'rate': 1.0, 'hz': 0.0}
    told |= {'source': str(folder / 'walk'), 'map': str(folder / 'map'), 'node': {'a': 'b'}}
    told |= {'map_sha256': map_checksum(folder / 'map'), 'answers': [given]}
    (folder / 'answers.json').write_text(json.dumps(told))
    (folder / 'names.csv').write_text('id,label\n0,hall\n1,stairs\n')
    (folder / 'labels.csv').write_text('frame,label\n0,hall\n1,stairs\n')
    for arguments in commands_of(folder, folder / 'out').values():
        assert call(*arguments) == 0, arguments
        shutil.rmtree(folder / 'out', ignore_errors=True)
    return folder


def call(command: str, *arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        MAINS[command]([str(a) for a in arguments])
    return end.value.code


def harmless(text: str) -> bool:
    """Whether it gives a terminal no order but that for a new line."""
    orders = ('Cc', 'Cf', 'Cs', 'Co', 'Zl', 'Zp')
    return not any(unicodedata.category(c) in orders for c in text.replace('\n', ''))


def refusal(capsys: pytest.CaptureFixture, foreseen: bool = True) -> str:
    """The one line; `foreseen`: of a door that says what it is about and what to do, not of the
    safety net."""
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if not line.startswith('note: ')]
    assert len(lines) == 1 and lines[0].startswith('error: '), printed.err
    if foreseen:
        assert '; ' in lines[0] or lines[0].endswith('…'), lines[0]  # a very long path is cut
        assert 'ASHTKD_DEBUG' not in lines[0], lines[0]
    assert harmless(printed.err) and harmless(printed.out), printed
    return lines[0]


def commands_of(good: Path, out: Path) -> dict[str, list[object]]:
    """Each command with every door that it has, all of them good."""
    common = ['--model', good / 'tiny.onnx', '--threads', 1]
    source, a_map = good / 'walk', good / 'map'
    judged = ['evaluate', a_map, source, '--no-timing', '--no-baselines', *common]
    return {
        'map_info': ['map_info', a_map],
        'build_map': ['build_map', source, '-o', out, *common],
        'evaluate': judged,
        'pairs': [*judged, '--correspondences', good / 'pairs.csv'],
        'answers': [*judged, '--answers', good / 'answers.json'],
        'compare': ['evaluate', '--compare', good / 'report.html', good / 'report.json'],
        'make': ['bag_tools', 'make', source, '-o', out],
        'jpeg': ['bag_tools', 'make', source, '-o', out, '--jpeg'],
        'info': ['bag_tools', 'info', good / 'bag'],
        'bag': ['build_map', good / 'bag', '-o', out, *common],
        'trajectory': ['build_map', good / 'bag', '-o', out, '--trajectory', good / 'tum.txt']
        + common,
        'append': ['map_tools', 'append', a_map, good / 'bag', '--pose-topic', 'none', '-o', out]
        + common,
        'merge': ['map_tools', 'merge', a_map, a_map, '-o', out, *common],
        'drop': ['map_tools', 'drop', a_map, '--ids', 1, '-o', out],
        'prune': ['map_tools', 'prune', a_map, '-o', out, *common],
        'reembed': ['map_tools', 'reembed', a_map, '-o', out, *common],
        'relabel': ['map_tools', 'relabel', a_map, '--table', good / 'names.csv', '-o', out],
        'export': ['map_tools', 'export', a_map, '-o', out / 'places.csv'],
        'labels': ['build_map', good / 'bag', '-o', out, '--labels', good / 'labels.csv', *common],
    }
