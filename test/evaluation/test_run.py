# SPDX-License-Identifier: Apache-2.0
"""evaluate on bags: the same figures as from the folder, the same bytes twice, every rule."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import pytest
from evaluation_helpers import FEW, ORIGIN, figures, judged, run
from map_tools_fixtures import XS, built, tools, walk

from ashtkd_ros.commands.build_map import main as build_map
from ashtkd_ros.commands.evaluate import main as evaluate
from ashtkd_ros.evaluation.baselines import BASELINES
from ashtkd_ros.maps.map_summary import trust_lines
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.recognition.recogniser import Moment, Recogniser
from ashtkd_ros.traverses.bag_writer import BagOptions, make_bag
from ashtkd_ros.traverses.image_folder import read_source

pytest_plugins = ['evaluation_fixtures', 'map_tools_fixtures']


def as_bags(folder: Path, out: Path, storage: str, jpeg: bool) -> tuple[Path, Path]:
    """Database and query images of a set, each as a bag."""
    for role in ('database', 'query'):
        options = BagOptions(storage=storage, jpeg=jpeg, hz=10.0)
        make_bag(read_source(folder, role), out / role, options)
    return out / 'database', out / 'query'


@pytest.mark.parametrize(
    ('name', 'kinds'),
    [
        ('corridor', [('sqlite3', False), ('mcap', True)]),
        ('robot_loop', [('mcap', False), ('sqlite3', True)]),
    ],
)
def test_bags_are_as_good_as_the_folder_they_were_made_of(
    shared: Path, tmp_path: Path, name: str, kinds: list[tuple[str, bool]]
):
    folder = shared / 'data' / 'val' / name
    assert run(build_map, folder, '--role', 'database', '-o', tmp_path / 'map') == 0
    expected = judged(tmp_path / 'map', folder, '--role', 'query', '--no-baselines')
    assert expected['single images']['1'] > 0.9
    for storage, jpeg in kinds:
        out = tmp_path / f'{storage}_{jpeg}'
        database, query = as_bags(folder, out, storage, jpeg)
        assert run(build_map, database, '-o', out / 'map', '--keyframes', 'all') == 0
        assert judged(out / 'map', query, '--no-baselines') == expected


def test_the_same_twice_gives_the_same_bytes(day_map: Path, bags: Path, tmp_path: Path):
    contents = []
    for name in ('one', 'two'):
        report = tmp_path / name / 'report.html'
        options = ('--pose-topic', '/odom', '--no-timing', '-o', report)
        assert run(evaluate, day_map, bags / 'dusk', *options) == 0
        contents.append([p.read_bytes() for p in (report, report.with_suffix('.json'))])
    assert contents[0] == contents[1]


def test_durations_are_apart_from_the_figures(day_map: Path, bags: Path, tmp_path: Path, capsys):
    options = ('--pose-topic', '/odom', '--no-baselines', '--verify-top', 0, '-o', tmp_path)
    assert run(evaluate, day_map, bags / 'dusk', *options) == 0
    timing = json.loads((tmp_path / 'report.timing.json').read_text())['milliseconds']
    assert list(timing) == ['decode', 'embed', 'match', 'all stages']
    assert 'milliseconds' not in (tmp_path / 'report.json').read_text()
    assert 'all stages: p50' in capsys.readouterr().out


@pytest.mark.parametrize('topic', ['/odom', '/tf', '/fix'])
def test_every_kind_of_poses_judges_alike(bags: Path, tmp_path: Path, topic: str):
    for bag in ('day', 'dusk'):
        shutil.copytree(bags / bag, tmp_path / bag)
    options = ('--pose-topic', topic)
    assert run(build_map, tmp_path / 'day', '-o', tmp_path / 'map', *options) == 0
    found = judged(tmp_path / 'map', tmp_path / 'dusk', *options, '--verify-top', 0)
    assert list(found) == ['single images', 'HOG', 'raw pixels 32x32']
    assert found['single images']['1'] >= 0.9 > found['raw pixels 32x32']['1']


def test_an_origin_of_its_own_is_not_taken_for_the_query(town: Path, bags: Path, tmp_path: Path):
    """The first fix of a traverse that begins elsewhere is not where the map's x = y = 0 is."""
    make_bag(read_source(town / 'dusk')[6:FEW], tmp_path / 'late', BagOptions(origin=ORIGIN))
    options = ('--pose-topic', '/fix')
    assert run(build_map, bags / 'day', '-o', tmp_path / 'map', *options) == 0
    found = judged(tmp_path / 'map', tmp_path / 'late', *options, '--no-baselines')
    assert found['single images']['1'] >= 0.9


def test_correspondences(day_map: Path, bags: Path, tmp_path: Path):
    rows = [f'{i},{i}' for i in range(FEW)]
    (tmp_path / 'right.csv').write_text('\n'.join(['query,map', *rows]))
    (tmp_path / 'wrong.csv').write_text(
        'query,map\n' + '\n'.join(f'{i},{(i + 9) % FEW}' for i in range(FEW))
    )
    options = ('--pose-topic', '/odom', '--no-baselines', '--frames', 2, '--correspondences')
    found = judged(day_map, bags / 'dusk', *options, tmp_path / 'right.csv')
    assert found['single images']['1'] >= 0.9
    found = judged(day_map, bags / 'dusk', *options, tmp_path / 'wrong.csv')
    assert found['single images']['1'] == 0.0


def test_a_limit_on_the_rate(day_map: Path, bags: Path, tmp_path: Path, capsys):
    options = ('--pose-topic', '/odom', '--no-baselines', '-o', tmp_path, '--max-rate-hz', '1')
    assert run(evaluate, day_map, bags / 'dusk', *options) == 0
    values = json.loads((tmp_path / 'report.json').read_text())
    stamps = [row[1] for row in values['answers']]
    assert 3 <= len(stamps) < FEW / 2
    assert min(b - a for a, b in zip(stamps, stamps[1:], strict=False)) >= 0.99
    assert values['facts']['How'] == 'offline, at most 1 images a second'
    assert values['facts']['Execution provider'] == 'CPUExecutionProvider'
    assert 'images left out: above 1 Hz' in capsys.readouterr().err


def test_a_sequence_is_measured_beside_single_images_and_a_window(
    day_map: Path, bags: Path, tmp_path: Path, capsys
):
    options = ('--pose-topic', '/odom', '--no-baselines', '--no-timing')
    assert run(evaluate, day_map, bags / 'dusk', *options, '-o', tmp_path / 'one') == 0
    sequence = ('--sequence-length', 10, '-o', tmp_path / 'ten')
    assert run(evaluate, day_map, bags / 'dusk', *options, *sequence) == 0
    single, both = (figures(tmp_path / name / 'report.html') for name in ('one', 'ten'))
    assert list(both)[:3] == ['sequence filter', 'single images', 'fixed window']
    assert both['single images'] == single['single images']
    assert both['sequence filter']['1'] >= single['single images']['1']
    values = [json.loads((tmp_path / name / 'report.json').read_text()) for name in ('one', 'ten')]
    assert values[1]['facts']['Sequence'] == 'an answer remembers 10 images'
    assert 'Sequence' not in values[0]['facts']
    assert values[0]['answers'] != values[1]['answers']
    assert 'sequence filter: R@1' in capsys.readouterr().out


def test_what_the_confidence_was_worth_before_the_map_had_its_own(
    day_map: Path, bags: Path, tmp_path: Path
):
    own = tmp_path / 'own'
    place_map = PlaceMap.load(day_map)
    place_map.info = place_map.info.calibrated({'similarity': 0, 'margin': 9, 'offset': -3}, [])
    place_map.save(own)
    options = ('--pose-topic', '/odom', '--no-baselines', '--no-timing')
    assert run(evaluate, own, bags / 'dusk', *options, '-o', tmp_path / 'it') == 0
    methods = json.loads((tmp_path / 'it' / 'report.json').read_text())['methods']
    after, before = methods[:2]
    assert [after['name'], before['name']] == ['single images', 'uncalibrated']
    assert after['recall'] == before['recall']
    assert after['calibration_error'] != before['calibration_error']
    assert after['curve']['thresholds'] != before['curve']['thresholds']


def test_the_map_tells_from_which_confidence_on_answers_count(
    day_map: Path, bags: Path, tmp_path: Path
):
    options = ('--pose-topic', '/odom', '--no-baselines', '--no-timing')
    least = []
    for name, given in (
        ('map', ()),
        ('sure', ('--target-precision', 0.5)),
        ('own', ('--min-confidence', 0.25)),
    ):
        assert run(evaluate, day_map, bags / 'dusk', *options, *given, '-o', tmp_path / name) == 0
        least.append(json.loads((tmp_path / name / 'report.json').read_text())['min_confidence'])
    info = PlaceMap.load(day_map).info
    facts = json.loads((tmp_path / 'map' / 'report.json').read_text())['facts']
    assert {f'Expected, {k}': v for k, v in trust_lines(info).items()}.items() <= facts.items()
    told = [info.trusted_from(precision) for precision in (0.99, 0.5)]
    assert least[:2] == [0.5 if row is None else pytest.approx(row[0]) for row in told]
    assert least[2] == 0.25


def test_the_images_of_the_map_are_gone(bags: Path, tmp_path: Path, capsys):
    shutil.copytree(bags / 'day', tmp_path / 'day')
    options = ('--pose-topic', '/odom')
    out = ('-o', tmp_path / 'map', '--thumbnails')
    assert run(build_map, tmp_path / 'day', *out, *options) == 0
    shutil.rmtree(tmp_path / 'day')
    report = tmp_path / 'report.html'
    assert run(evaluate, tmp_path / 'map', bags / 'dusk', '-o', report, *options) == 0
    assert "no baselines: the map's images are gone" in capsys.readouterr().err
    assert not figures(report).keys() & BASELINES.keys()
    assert report.read_text().count('<img') > 2 * FEW  # the thumbnails are shown


def test_another_network_is_refused(day_map: Path, bags: Path, capsys, student: Path):
    int8 = student.with_name('ashtkd_student_int8.onnx')
    assert run(evaluate, day_map, bags / 'dusk', '--model', int8) == 1
    assert 'take the model of the map' in capsys.readouterr().err


def test_a_sequence_is_answered_as_by_the_node_where_places_have_several_pictures(
    tmp_path: Path, model: Path, common: list[object]
):
    day, night, query = (walk(tmp_path / f'{seed}', XS, seed) for seed in (0, 50, 100))
    folder = built(tmp_path / 'map', day, model=model)
    assert tools('append', folder, night, '--experiences', *common) == 0
    report = tmp_path / 'report.html'
    options = ['--sequence-length', 5, '--no-baselines', '--no-timing', '-o', report, *common]
    assert run(evaluate, folder, query, *options) == 0
    told = json.loads(report.with_suffix('.json').read_text())['answers']
    recogniser, expected = Recogniser(Embedder(model), PlaceMap.load(folder)), []
    for k in range(len(XS)):
        image = cv2.imread(str(query / f'{k}.png'))
        found = recogniser.recognise(image, 'BGR', moment=Moment(10.0 * k, 5))
        best = found.candidates[0]
        expected.append((best.place.id, pytest.approx(best.confidence, abs=1e-4)))
    assert [(row[2], row[3]) for row in told] == expected
