# SPDX-License-Identifier: Apache-2.0
"""evaluate on bags: the same figures as from the folder, the same bytes twice, every truth."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import bag_helpers
import pytest
from conftest import line_of

from ashtkd_ros.commands.build_map import main as build_map
from ashtkd_ros.commands.evaluate import main as evaluate
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.node_answers import SCHEMA_VERSION, NodeAnswers
from ashtkd_ros.geometry.geodesy import GeoOrigin
from ashtkd_ros.maps.map_files import map_checksum
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.traverses.bag_writer import BagOptions, make_bag
from ashtkd_ros.traverses.image_folder import read_source
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import TraverseOptions

ORIGIN = GeoOrigin(48.2, 16.37, 180.0)
FEW = 24


def run(command, *arguments: object) -> int:
    """Exit status of a command."""
    with pytest.raises(SystemExit) as end:
        command([str(argument) for argument in arguments])
    return end.value.code or 0


def figures(report: Path) -> dict[str, dict]:
    """Method → recalls and average precision in a report's JSON."""
    methods = json.loads(report.with_suffix('.json').read_text())['methods']
    return {m['name']: {**m['recall'], 'AP': m['average_precision']} for m in methods}


def judged(map_folder: Path, source: Path, *options: object) -> dict[str, dict]:
    """The figures of an evaluation."""
    report = map_folder.parent / f'{map_folder.name}_{source.name}.html'
    assert run(evaluate, map_folder, source, '-o', report, '--no-timing', *options) == 0
    return figures(report)


@pytest.fixture(scope='module')
def bags(tmp_path_factory: pytest.TempPathFactory, town: Path) -> Path:
    """The first images of both town walks as bags, raw, with odometry, tf and fixes."""
    folder = tmp_path_factory.mktemp('bags')
    for name in ('day', 'dusk'):
        options = BagOptions(tf=True, origin=ORIGIN)
        make_bag(read_source(town / name)[:FEW], folder / name, options)
    return folder


@pytest.fixture(scope='module')
def day_map(bags: Path) -> Path:
    """Map of the day bag by odometry."""
    out = bags / 'day_map'
    assert run(build_map, bags / 'day', '-o', out, '--pose-topic', '/odom') == 0
    return out


def as_bags(folder: Path, out: Path, storage: str, jpeg: bool) -> tuple[Path, Path]:
    """Database and query images of a set, each as a bag."""
    for role in ('database', 'query'):
        options = BagOptions(storage=storage, jpeg=jpeg, hz=10.0)
        make_bag(read_source(folder, role), out / role, options)
    return out / 'database', out / 'query'


@pytest.mark.parametrize('name', ['corridor', 'robot_loop'])
def test_bags_are_as_good_as_the_folder_they_were_made_of(shared: Path, tmp_path: Path, name: str):
    folder = shared / 'data' / 'val' / name
    assert run(build_map, folder, '--role', 'database', '-o', tmp_path / 'map') == 0
    expected = judged(tmp_path / 'map', folder, '--role', 'query', '--no-baselines')
    assert expected['single images']['1'] > 0.9
    for storage, jpeg in (('sqlite3', False), ('mcap', False), ('sqlite3', True), ('mcap', True)):
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
    options = ('--pose-topic', '/odom', '--no-baselines', '-o', tmp_path)
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
    found = judged(tmp_path / 'map', tmp_path / 'dusk', *options)
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
    assert 'images left out: above 1 Hz' in capsys.readouterr().err


def test_the_images_of_the_map_are_gone(bags: Path, tmp_path: Path, capsys):
    shutil.copytree(bags / 'day', tmp_path / 'day')
    options = ('--pose-topic', '/odom')
    out = ('-o', tmp_path / 'map', '--thumbnails')
    assert run(build_map, tmp_path / 'day', *out, *options) == 0
    shutil.rmtree(tmp_path / 'day')
    report = tmp_path / 'report.html'
    assert run(evaluate, tmp_path / 'map', bags / 'dusk', '-o', report, *options) == 0
    assert "no baselines: the map's images are gone" in capsys.readouterr().err
    assert list(figures(report)) == ['single images']
    assert report.read_text().count('<img') > 2 * FEW  # the thumbnails are shown


def test_another_network_is_refused(day_map: Path, bags: Path, capsys, student: Path):
    int8 = student.with_name('ashtkd_student_int8.onnx')
    assert run(evaluate, day_map, bags / 'dusk', '--model', int8) == 1
    assert 'rebuild the map' in capsys.readouterr().err


def recorded(path: Path, day_map: Path, bag: Path, **changed: object) -> Path:
    """Answers to the first images of a bag, as `live` writes them, each with the place that has
    its number; `changed` overrides what the file holds."""
    traverse = open_traverse(bag, TraverseOptions(pose_topic='none'))
    frames = [frame for _, frame in traverse.frames()]
    answers = [
        {'stamp_ns': f.header_ns, 'places': [i], 'scores': [0.9], 'seconds': 0.01}
        for i, f in enumerate(frames[: FEW - 2])
    ]
    values = {
        'schema_version': SCHEMA_VERSION,
        'source': str(bag),
        'map_sha256': map_checksum(day_map),
        'sent': FEW,
        'rate': 2.0,
        'hz': 0.0,
        'node': {'embed p50 ms': '8.5', 'images dropped': '2'},
        'answers': answers,
    }
    path.write_text(json.dumps({**values, **changed}))
    return path


ANSWER = {'stamp_ns': 1, 'places': [0], 'scores': [0.5], 'seconds': None}


@pytest.mark.parametrize(
    ('changed', 'said'),
    [
        ({'schema_version': 1}, 'has answers of format 1, this program reads 2; record them with'),
        ({'answers': []}, 'none of its 0 answers is about these images'),
        ({'answers': [ANSWER]}, 'none of its 1 answers is about these images'),
        ({'answers': {}}, 'the answers are damaged'),
        ({'sent': '9'}, 'the answers are damaged'),
        ({'answers': [{**ANSWER, 'places': ['0']}]}, 'the answers are damaged'),
        ({'answers': [{**ANSWER, 'places': [-1]}]}, 'the answers are damaged'),
        ({'answers': [{**ANSWER, 'scores': []}]}, 'the answers are damaged'),
        ({'answers': [{'stamp_ns': 1}]}, 'the answers are damaged'),
        ({'answers': [{**ANSWER, 'places': [FEW]}]}, 'was recorded with another map'),
        ({'map_sha256': '0' * 64}, 'was recorded with another map'),
    ],
)
def test_answers_that_are_no_good(
    day_map: Path, bags: Path, tmp_path: Path, capsys, changed, said
):
    answers = recorded(tmp_path / 'answers.json', day_map, bags / 'dusk', **changed)
    options = ('--pose-topic', '/odom', '--answers', answers)
    assert run(evaluate, day_map, bags / 'dusk', *options) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize(
    ('text', 'said'),
    [(None, 'no answers can be read'), ('{', 'record them with live'), ('[1]', 'record them')],
)
def test_files_that_hold_no_answers(tmp_path: Path, text: str | None, said: str):
    if text is not None:
        (tmp_path / 'answers.json').write_text(text)
    with pytest.raises(VprError) as error:
        NodeAnswers.read(tmp_path / 'answers.json')
    assert said in line_of(error)


def test_images_without_an_answer_count_as_unknown(day_map: Path, bags: Path, tmp_path, capsys):
    answers = recorded(tmp_path / 'answers.json', day_map, bags / 'dusk', source='/bags/dawn')
    report = tmp_path / 'live.html'
    options = ('--pose-topic', '/odom', '--answers', answers, '-o', report)
    assert run(evaluate, day_map, bags / 'dusk', *options) == 0
    out, notes = capsys.readouterr()
    assert f'{FEW} images sent, {FEW - 2} answered, 2 dropped' in out
    assert 'sent → answered: p50 10.0 ms' in out
    assert f'2 of {FEW} images have no answer: unknown, never right' in notes
    assert 'the answers were recorded with /bags/dawn, not with dusk' in notes
    values = json.loads(report.with_suffix('.json').read_text())
    figures = values['methods'][0]
    assert figures['queries'] == FEW
    right = sum(row[5] for row in values['answers'])
    assert figures['recall']['1'] == pytest.approx(right / FEW) and right > FEW / 2
    assert values['answers'][-1][2:] == [None, 0.0, None, False, False, True]
    html = report.read_text()
    assert 'live, 2 times as fast as recorded' in html and 'embed 8.5 ms' in html
    assert 'Similarity of queries and map' in html


def test_answers_are_found_by_the_headers_where_times_are_of_receipt(town: Path, tmp_path: Path):
    frames = read_source(town / 'day')[:FEW]
    records = [bag_helpers.image(f.stamp, f.read(), received=f.stamp + 50.0) for f in frames]
    bag = bag_helpers.write_bag(tmp_path / 'bag', records=records)
    assert run(build_map, bag, '-o', tmp_path / 'map', '--keyframes', 'all') == 0
    answers = recorded(tmp_path / 'answers.json', tmp_path / 'map', bag)
    table = tmp_path / 'pairs.csv'
    table.write_text('\n'.join(['query,map', *(f'{i},{i}' for i in range(FEW))]))
    options = ('--stamps', 'receive', '--answers', answers, '--correspondences', table)
    found = judged(tmp_path / 'map', bag, *options, '--no-baselines')
    assert found['single images']['1'] == pytest.approx((FEW - 2) / FEW)


def test_comparison_of_two_reports(day_map: Path, bags: Path, tmp_path: Path, capsys):
    for confidence in (0.3, 0.9):
        report = tmp_path / f'{confidence}.html'
        options = ('--pose-topic', '/odom', '--no-baselines', '--min-confidence', confidence)
        assert run(evaluate, day_map, bags / 'dusk', '-o', report, *options) == 0
    capsys.readouterr()
    reports = [tmp_path / f'{c}.html' for c in (0.3, 0.9)]
    assert run(evaluate, '--compare', *reports, '-o', tmp_path / 'both.html') == 0
    assert capsys.readouterr().out.count('single images') == 2
    assert (tmp_path / 'both.html').is_file()


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ([], 'give a map and a source'),
        (['map'], 'give a map and a source'),
        (['map', 'bag', '--compare', 'a.html'], 'give a map and a source'),
        (['map', 'bag', '--live', '--answers', 'a.json'], '--live records answers of its own'),
        *(
            (['map', 'bag', f'--{option}={value}'], f'argument --{option}: "{value}" is not')
            for option, value in (
                ('metres', -1),
                ('degrees', -1),
                ('frames', -1),
                ('min-confidence', 7),
                ('min-confidence', 'nan'),
                ('max-rate-hz', -1),
                ('max-rate-hz', 'nan'),
                ('rate', 0),
                ('threads', -3),
            )
        ),
    ],
)
def test_bad_arguments(arguments: list[str], said: str, capsys):
    assert run(evaluate, *arguments) == 2
    assert said in capsys.readouterr().err


@pytest.fixture
def no_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither embedding nor playing is to be begun."""
    for name in ('recognise_offline', 'record_live'):
        monkeypatch.setattr(
            f'ashtkd_ros.commands.evaluate.{name}', lambda *_: pytest.fail('began')
        )


@pytest.mark.parametrize('live', [(), ('--live',)])
@pytest.mark.parametrize('case', ['no poses', 'no query', 'no place', 'report'])
def test_what_cannot_be_judged_or_written_is_told_first(
    day_map: Path, bags: Path, tmp_path: Path, capsys, no_inference, case: str, live
):
    (tmp_path / 'pairs.csv').write_text(
        'query,map\n900,0\n' if case == 'no query' else 'query,map\n0,900\n'
    )
    (tmp_path / 'file').touch()
    options, said = {
        'no poses': (
            ('--pose-topic', 'none'),
            'else list the right frames with --correspondences',
        ),
        'no query': (('--correspondences', tmp_path / 'pairs.csv'), 'column query is a frame'),
        'no place': (('--correspondences', tmp_path / 'pairs.csv'), 'column map is a frame'),
        'report': (('-o', tmp_path / 'file' / 'r.html'), 'cannot be written'),
    }[case]
    options = options if case == 'no poses' else (*options, '--pose-topic', '/odom')
    assert run(evaluate, day_map, bags / 'dusk', *options, *live) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_places_without_a_pose_are_never_right(day_map: Path, bags: Path, tmp_path: Path, capsys):
    place_map = PlaceMap.load(day_map)
    bare = [replace(p, pose=None) if p.id < 3 else p for p in place_map.places]
    PlaceMap(place_map.index, bare, place_map.info).save(tmp_path / 'map')
    whole = judged(day_map, bags / 'dusk', '--pose-topic', '/odom', '--no-baselines')
    found = judged(tmp_path / 'map', bags / 'dusk', '--pose-topic', '/odom', '--no-baselines')
    assert '3 places of the map have no pose and are never right' in capsys.readouterr().err
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
