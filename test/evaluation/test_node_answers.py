# SPDX-License-Identifier: Apache-2.0
"""Recorded answers of a node: judged, refused where they are damaged or of another map."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import bag_helpers
import pytest
from conftest import ROOT, line_of
from evaluation_helpers import FEW, judged, run

from ashtkd_ros.commands.build_map import main as build_map
from ashtkd_ros.commands.evaluate import main as evaluate
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.node_answers import (
    SCHEMA_VERSION,
    NodeAnswer,
    RecordedAnswers,
)
from ashtkd_ros.maps.map_files import map_checksum
from ashtkd_ros.traverses.image_folder import read_source
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import TraverseOptions

pytest_plugins = ['evaluation_fixtures']


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
        'node': {'embed p50 ms': '8.5', 'images dropped': '2', 'execution provider': 'X'},
        'answers': answers,
    }
    path.write_text(json.dumps({**values, **changed}))
    return path


def test_answers_of_the_version_before_are_read():
    found = RecordedAnswers.read(ROOT / 'test' / 'data' / 'version_0_1' / 'live.answers.json')
    assert (found.source, found.sent, found.rate) == (Path('/bags/dusk'), 3, 2.0)
    assert found.answers[1_700_000_000_000_000_000] == NodeAnswer([4, 5], [0.93, 0.2], 0.0123)
    assert found.facts()['The node'].startswith('embed 8.5 ms')


def test_the_report_tells_whether_the_node_verified_its_answers():
    old = RecordedAnswers.read(ROOT / 'test' / 'data' / 'version_0_1' / 'live.answers.json')
    verification = {'verification': 'on, of the 20 most similar places', 'verify p50 ms': '2.1'}
    told = replace(old, node={**old.node, **verification}).facts()['The node']
    assert told.startswith('verification on, of the 20 most similar places; embed 8.5, verify 2.1')


ANSWER = {'stamp_ns': 1, 'places': [0], 'scores': [0.5], 'seconds': None}


@pytest.mark.parametrize(
    ('changed', 'said'),
    [
        ({'schema_version': 1}, 'has answers in format 1, this program reads 2; record them with'),
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
    [(None, 'the answers cannot be read'), ('{', 'record them with live'), ('[1]', 'record them')],
)
def test_files_that_hold_no_answers(tmp_path: Path, text: str | None, said: str):
    if text is not None:
        (tmp_path / 'answers.json').write_text(text)
    with pytest.raises(VprError) as error:
        RecordedAnswers.read(tmp_path / 'answers.json')
    assert said in line_of(error)


def test_images_without_an_answer_count_as_unknown(day_map: Path, bags: Path, tmp_path, capsys):
    answers = recorded(tmp_path / 'answers.json', day_map, bags / 'dusk', source='/bags/dawn')
    report = tmp_path / 'live.html'
    options = ('--pose-topic', '/odom', '--answers', answers, '-o', report)
    assert run(evaluate, day_map, bags / 'dusk', *options) == 0
    out, notes = capsys.readouterr()
    assert f'{FEW} images sent, {FEW - 2} answered, 2 dropped' in out
    assert 'sent → answered: p50 10.0 ms' in out
    assert f'2 of {FEW} images have no answer; they count as unknown' in notes
    assert 'the answers were recorded with /bags/dawn, not with dusk' in notes
    values = json.loads(report.with_suffix('.json').read_text())
    figures = values['methods'][0]
    assert figures['queries'] == FEW
    right = sum(row[5] for row in values['answers'])
    assert figures['recall']['1'] == pytest.approx(right / FEW) and right > FEW / 2
    assert values['answers'][-1][2:] == [None, 0.0, None, False, False, True]
    html = report.read_text()
    assert 'live, 2 times as fast as recorded' in html and 'embed 8.5 ms' in html
    assert 'network on X' in html and 'Similarity of queries and map' in html


@pytest.mark.parametrize(
    ('named', 'known', 'told'),
    [
        (20, ['1', '5', '10', '20'], ''),
        (
            7,
            ['1', '5'],
            'at most 7 places for an image (top_k), so that R@10, R@20 cannot',
        ),
        (1, ['1'], 'so that R@5, R@10, R@20 cannot be measured'),
    ],
)
def test_recall_is_told_as_far_as_the_node_named_places(
    day_map: Path, bags: Path, tmp_path: Path, capsys, named: int, known: list[int], told: str
):
    traverse = open_traverse(bags / 'dusk', TraverseOptions(pose_topic='none'))
    answers = [
        {'stamp_ns': f.header_ns, 'places': [*range(n)], 'scores': [0.9] * n, 'seconds': 0.01}
        for n, (_, f) in zip([named, 1, 0], traverse.frames(), strict=False)
    ]
    path = recorded(tmp_path / 'a.json', day_map, bags / 'dusk', answers=answers)
    options = ('--pose-topic', '/odom', '--answers', path, '--no-baselines')
    found = judged(day_map, bags / 'dusk', *options)
    assert list(found['single images']) == [*known, 'AP']
    notes = capsys.readouterr().err
    assert told in notes and ('(top_k)' in notes) == bool(told)
    assert 'the node named no place for 1 of' in notes and 'below its min_confidence' in notes


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
