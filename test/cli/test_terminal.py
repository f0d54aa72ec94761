# SPDX-License-Identifier: Apache-2.0
"""Names in files, maps, bags and reports give the terminal no order, and no further line."""

from __future__ import annotations

import json
import random
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_helpers import image, odometry, write_bag
from conftest import write_tiny_model
from door_fixtures import call, harmless
from small_evaluation import evaluation_of, judged_queries
from test_place_pictures import walk

from ashtkd_ros.cli.command import run_command
from ashtkd_ros.cli.terminal import print_lines, print_notes
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.report import write_report
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.text import one_line

ORDERS = ['\x1b[2J', '\x1b]0;owned\x07', '\n', '\r', '\x9b31m', '\u202e', '\u2028', '\x08', '\x7f']
ORDERS += ['\0', '\x85', '\u200b', '\udcff', '\ue000', '\t', '\x0c']
HOSTILE = 'a' + ''.join(ORDERS) + 'error: all is well'
NAME = HOSTILE.replace('\0', '')  # of a file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / 'tiny.onnx', None)


def lines_of(capsys: pytest.CaptureFixture) -> list[str]:
    printed = capsys.readouterr()
    assert 'Traceback' not in printed.err
    text = printed.out + printed.err
    assert harmless(text), repr(text)
    lines = text.splitlines()
    assert not any(line.startswith('error: all is well') for line in lines)
    return lines


def test_any_text_is_one_harmless_line(capsys: pytest.CaptureFixture):
    draw = random.Random(4)
    for _ in range(2000):
        letters = [chr(draw.randrange(0x110000)) if draw.random() < 0.5 else draw.choice(ORDERS)]
        text = ''.join(draw.choice([*letters, *ORDERS, 'x', 'ß', ' ']) for _ in range(12))
        for line in (one_line(text), str(VprError(text))):
            assert '\n' not in line and harmless(line), repr(text)
            line.encode()
        print_lines(text)
        print_notes(text)
        printed = capsys.readouterr()
        assert printed.out.count('\n') == 1 == printed.err.count('\n')


def test_names_of_files_and_folders(tmp_path: Path, model: Path, capsys):
    source, out = tmp_path / NAME, tmp_path / f'map {NAME}'
    walk(tmp_path / 'walk').rename(source)  # OpenCV crashes where a name is no UTF-8
    (source / '0.png').rename(source / 'ex\x1b[2Jtra.png')
    (source / 'poses.csv').write_text('file,stamp,x,y\nex\x1b[2Jtra.png,0,0,0\n1.png,1,1,0\n')
    common = ['--model', model, '--threads', 1]
    report, bag = tmp_path / f'{NAME}.html', tmp_path / f'bag {NAME}'.replace('\udcff', '')
    for status, arguments in (
        (0, ['build_map', source, '-o', out, *common]),
        (0, ['build_map', source, '--dry-run', '-o', out, *common]),
        (0, ['map_info', out]),
        (0, ['evaluate', out, source, '-o', report, '--no-timing', *common]),
        (0, ['evaluate', '--compare', report, report]),
        (1, ['build_map', tmp_path / f'gone {NAME}', '-o', out, *common]),
        (1, ['map_info', source]),
        (1, ['bag_tools', 'make', source, '-o', out]),
        (0, ['bag_tools', 'make', source, '-o', bag]),
        (0, ['bag_tools', 'info', bag]),
        (1, ['build_map', source, '-o', tmp_path / 'n', '--model', tmp_path / NAME]),
    ):
        assert call(*arguments) == status, arguments
        assert len(lines_of(capsys)) == 1 or not status
    (source / 'ex\x1b[2Jtra.png').write_bytes(b'no picture')
    assert call('build_map', source, '-o', tmp_path / 'new', *common) == 1
    assert len(lines_of(capsys)) == 1
    shutil.rmtree(out)


def test_names_in_arguments(tmp_path: Path, capsys):
    for arguments in (['map_info', 'a', NAME], ['evaluate', NAME, 'x', '--metres', NAME]):
        assert call(*arguments) == 2
        printed = capsys.readouterr().err
        assert harmless(printed) and '\nerror: all is well' not in printed


CSV = {
    'column': 'file,stamp,x,{}\n0.png,0,0,0\n',
    'number': 'file,stamp,x,y\n0.png,0,"{}",0\n',
    'file': 'file,stamp,x,y\n"{}",0,0,0\n',
    'place': 'file,place,role,order\n0.png,"{}","{}","{}"\n',
}


@pytest.mark.parametrize('case', CSV)
def test_what_tables_hold(tmp_path: Path, model: Path, capsys, case: str):
    source = walk(tmp_path / 'walk')
    name = 'poses.csv' if case != 'place' else 'index.csv'
    (source / 'poses.csv').unlink()
    text = CSV[case].replace('{}', HOSTILE.replace('\udcff', ''))
    (source / name).write_text(text, newline='')
    call('build_map', source, '-o', tmp_path / 'map', '--model', model, '--threads', 1)
    lines_of(capsys)
    call('build_map', source, '-o', tmp_path / 'map', '--role', HOSTILE, '--model', model)
    lines_of(capsys)


def test_what_maps_and_models_hold(tmp_path: Path, capsys):
    expected = {'size': [6, 8], 'mean': [0] * 3, 'std': [1] * 3, 'colour_order': 'RGB'}
    text = HOSTILE.replace('\udcff', '')
    metadata = {'name': text, 'preprocessing': json.dumps(expected)}
    model = write_tiny_model(tmp_path / 'named.onnx', metadata)
    source, out = walk(tmp_path / 'walk'), tmp_path / 'map'
    common = ['--model', model, '--threads', 1]
    assert call('build_map', source, '-o', out, *common) == 0
    lines_of(capsys)
    place_map = PlaceMap.load(out)
    built = {'traverses': [{'source': text, 'note': text}], 'keyframes': {text: text}}
    info = replace(place_map.info, built=built, model={**place_map.info.model, 'name': text})
    places = [replace(p, source=text, label=text) for p in place_map.places]
    try:
        PlaceMap(place_map.index, places, info).save(out)
    except VprError as error:
        assert harmless(str(error))
    for arguments in (
        ['map_info', out],
        ['evaluate', out, source, '-o', tmp_path / 'r.html', *common],
        ['build_map', source, '-o', out, *common],
        ['evaluate', out, source, '--model', write_tiny_model(tmp_path / 'other.onnx')],
    ):
        call(*arguments)
        lines_of(capsys)


def test_what_reports_hold(tmp_path: Path, model: Path, capsys):
    source = walk(tmp_path / 'walk')
    common = ['--model', model, '--threads', 1]
    assert call('build_map', source, '-o', tmp_path / 'map', *common) == 0
    report = tmp_path / 'report.json'
    out = ['-o', tmp_path / 'report.html', '--no-timing']
    assert call('evaluate', tmp_path / 'map', source, *out, *common) == 0
    lines_of(capsys)
    values = json.loads(report.read_text())
    values['methods'][0]['name'] = values['title'] = values['facts']['Map'] = HOSTILE
    values['notes'] = [HOSTILE]
    for change in ({}, {'schema_version': HOSTILE}, {'answers': HOSTILE}):
        report.write_text(json.dumps({**values, **change}))
        call('evaluate', '--compare', report, report, '-o', tmp_path / 'c.html')
        lines_of(capsys)


def test_what_bags_hold(tmp_path: Path, model: Path, capsys):
    text = HOSTILE.replace('\udcff', '').replace('\0', '')
    picture = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    coded = cv2.imencode('.png', picture)[1].tobytes()
    records = [image(100.0 + i, picture, topic=f'/{text}', encoding=text) for i in range(2)]
    records += [image(100.0 + i, picture, frame_id=text) for i in range(4)]
    records += [image(100.0 + i, coded[:99], topic='/coded', encoding=text) for i in range(2)]
    records += [
        odometry(99.5 + i / 2, Pose(i * 1.0, 0.0, 0.0), frame_id=text, child=text)
        for i in range(9)
    ]
    common = ['--model', model, '--threads', 1, '-o', tmp_path / 'map']
    for storage in ('sqlite3', 'mcap'):
        bag = write_bag(tmp_path / storage, records=records, storage=storage)
        call('bag_tools', 'info', bag)
        lines_of(capsys)
        for topic in ('', f'/{text}', '/coded', '/camera/image_raw', '/gone'):
            for more in ([], ['--dry-run'], ['--pose-topic', text], ['--map-frame', text]):
                chosen = ['--image-topic', topic] if topic else []
                call('build_map', bag, *common, *chosen, *more)
                lines_of(capsys)
                shutil.rmtree(tmp_path / 'map', ignore_errors=True)


def test_a_warning_of_a_library_is_one_line(capsys: pytest.CaptureFixture):
    def warns() -> int:  # as warnings.warn does, where pytest does not listen
        print(warnings.formatwarning(UserWarning(HOSTILE), UserWarning, 'a.py', 1), end='')
        return 0

    before = warnings.formatwarning
    with pytest.raises(SystemExit):
        run_command(warns)
    assert len(lines_of(capsys)) == 1 and warnings.formatwarning is before


def test_lines_without_end_are_cut(capsys: pytest.CaptureFixture):
    print_lines('x' * 100_000)
    print_notes('y' * 100_000)
    printed = capsys.readouterr()
    assert len(printed.out) < 2100 and len(printed.err) < 2100


def test_a_report_holds_no_control_characters(tmp_path: Path):
    odd = 'frame \x1b]0;owned\x07 \x1b[31m'
    evaluation = evaluation_of(
        judged_queries([True, False]), facts={odd: odd}, notes=[odd], title=odd
    )
    write_report(tmp_path / 'r.html', evaluation, lambda place: np.zeros((4, 4, 3), np.uint8))
    html = (tmp_path / 'r.html').read_text()
    assert not set(html) & {chr(i) for i in range(32)} - {'\n'} and 'owned' in html
    assert '<table' in html and '<img src="data:' in html
