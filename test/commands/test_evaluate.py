# SPDX-License-Identifier: Apache-2.0
"""The command evaluate: its arguments, and errors that come before the work."""

from __future__ import annotations

from pathlib import Path

import pytest
from bag_helpers import image, odometry, write_bag
from evaluation_helpers import figures, run
from small_evaluation import evaluation_of, judged_queries
from test_bags import picture
from test_report import gone

from ashtkd_ros.commands.evaluate import main as evaluate
from ashtkd_ros.commands.evaluate import report_path
from ashtkd_ros.commands.map_tools import main as map_tools
from ashtkd_ros.evaluation.report import write_report
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.city import read_city

pytest_plugins = ['evaluation_fixtures']


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ([], 'give a map and a source'),
        (['map'], 'give a map and a source'),
        (['map', 'bag', '--compare', 'a.html'], 'give a map and a source'),
        (['map', 'bag', '--live', '--answers', 'a.json'], '--live records its own answers'),
        (['map', 'bag', '--rate', 3, '--hz', 5], 'there is no use for --rate, --hz;'),
        (['map', 'bag', '--rate=1'], 'there is no use for --rate;'),
        (
            ['map', 'bag', '--player', 'ros2', '--answers', 'a.json'],
            'there is no use for --player;',
        ),
        (
            ['map', 'bag', '--answers', 'a.json', '--verify-top', 5],
            '--answers makes no use of --verify-top; leave that out',
        ),
        (
            ['map', 'bag', '--answers', 'a.json', '--sequence-length', 5],
            '--answers makes no use of --sequence-length; leave that out',
        ),
        (['--compare', 'a.html', '--live'], '--compare makes no use of --live;'),
        (['--compare', 'a.html', '--rat', 1], '--compare makes no use of --rate;'),
        (['--compare', 'a.html', '--metres', 3], '--compare makes no use of --metres;'),
        (['--compare', 'a.html', '--no-timing'], '--compare makes no use of --no-timing;'),
        *(
            (['map', 'bag', f'--{option}={value}'], f'argument --{option}: "{value}" is not')
            for option, value in (
                ('metres', -1),
                ('degrees', -1),
                ('frames', -1),
                ('min-confidence', 7),
                ('min-confidence', 'nan'),
                ('target-precision', 1.5),
                ('sequence-length', 0),
                ('max-rate-hz', -1),
                ('max-rate-hz', 'nan'),
                ('rate', 0),
                ('verify-top', -1),
                ('threads', -3),
            )
        ),
        *(
            (['map', 'bag', '--providers', text], f'unknown execution provider "{name}"; use one')
            for text, name in (('CUDA', 'CUDA'), ('auto,', ''), ('auto, cpu', 'cpu'))
        ),
    ],
)
def test_bad_arguments(arguments: list[str], said: str, capsys):
    assert run(evaluate, *arguments) == 2
    printed = capsys.readouterr()
    assert said in printed.err.splitlines()[-1]
    assert printed.out == ''


@pytest.fixture
def no_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither embedding nor playing is to be begun."""
    for name in ('evaluation.run.recognise_offline', 'commands.evaluate.record_live'):
        monkeypatch.setattr(f'ashtkd_ros.{name}', lambda *_: pytest.fail('began'))


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
            'otherwise list the right frames with --correspondences',
        ),
        'no query': (('--correspondences', tmp_path / 'pairs.csv'), 'column query is a frame'),
        'no place': (('--correspondences', tmp_path / 'pairs.csv'), 'column map is a frame'),
        'report': (('-o', tmp_path / 'file' / 'r.html'), 'cannot be written'),
    }[case]
    options = options if case == 'no poses' else (*options, '--pose-topic', '/odom')
    assert run(evaluate, day_map, bags / 'dusk', *options, *live) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize('what', ['a topic', 'a trajectory'])
def test_poses_on_another_clock_are_named_with_their_times(
    day_map: Path, tmp_path: Path, capsys, no_inference, what: str
):
    poses = [odometry(9000.0 + i, Pose(i, 0, 0), received=100.0 + i) for i in range(5)]
    images = [image(100.0 + i, picture(i)) for i in range(5)]
    bag = write_bag(tmp_path / 'bag', records=images + poses)
    table = tmp_path / 'poses.txt'
    table.write_text(''.join(f'{9000 + i} {i} 0 0 0 0 0 1\n' for i in range(5)))
    options = ('--trajectory', table) if what == 'a trajectory' else ()
    assert run(evaluate, day_map, bag, *options) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert 'no image can be evaluated (5 before the first pose)' in line
    assert 'from 9000.0 to 9004.0 s, the images are from 100.0 to 104.0 s' in line


def test_a_report_by_the_name_of_another_kind_of_file_is_refused(
    day_map: Path, bags: Path, tmp_path: Path, capsys, no_inference
):
    for name in ('r.pdf', 'r.htm', 'r.json'):
        for arguments in ((day_map, bags / 'dusk'), ('--compare', tmp_path / 'a.html')):
            assert run(evaluate, *arguments, '-o', tmp_path / name) == 1
            assert 'give it a name that ends in .html' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    (tmp_path / 'r.pdf').mkdir()
    assert report_path(tmp_path / 'r.pdf') == tmp_path / 'r.pdf' / 'report.html'


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


def test_the_tiles_of_a_map_are_judged_as_the_map(
    day_map: Path, bags: Path, tmp_path: Path, capsys
):
    city, options = tmp_path / 'city', ('--pose-topic', '/odom', '--no-baselines', '--no-timing')
    assert run(map_tools, 'tile', day_map, '-o', city, '--metres', 10) == 0
    found = []
    for folder in (day_map, city):
        report = tmp_path / f'{folder.name}.html'
        assert run(evaluate, folder, bags / 'dusk', '-o', report, *options) == 0
        found.append(figures(report))
    assert found[0] == found[1]
    first, *others = read_city(city).tiles
    assert others
    (city / first.path / 'index.faiss').write_bytes(b'')
    capsys.readouterr()
    assert run(evaluate, city, bags / 'dusk', '-o', tmp_path / 'less.html', *options) == 0
    assert first.path in capsys.readouterr().err
    assert figures(tmp_path / 'less.html') != found[0]


@pytest.mark.parametrize('out', ['/dev/null', 'file'])
def test_where_no_comparison_can_be_written_is_told_first(tmp_path: Path, capsys, out: str):
    (tmp_path / 'file').touch()
    for name in ('a', 'b'):
        write_report(tmp_path / f'{name}.html', evaluation_of(judged_queries([True])), gone)
    reports = [tmp_path / 'a.html', tmp_path / 'b.html']
    assert run(evaluate, '--compare', *reports, '-o', tmp_path / out) == 1
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert 'the comparison cannot be written' in line and 'give another place' in line
    assert printed.out == ''
