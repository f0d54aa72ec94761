# SPDX-License-Identifier: Apache-2.0
"""evaluate with and without verification: mean colours that mislead, and patterns that tell."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import TINY_PREPROCESSING, write_tiny_model
from evaluation_helpers import figures, run

from ashtkd_ros.commands.build_map import main as build_map
from ashtkd_ros.commands.evaluate import main as evaluate
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.experiment import EvaluationOptions, Experiment
from ashtkd_ros.evaluation.matched_positions import MatchedPositions
from ashtkd_ros.evaluation.node_answers import SCHEMA_VERSION
from ashtkd_ros.evaluation.run import evaluate_map
from ashtkd_ros.maps.local_file import LocalFeatures
from ashtkd_ros.maps.map_files import map_checksum
from ashtkd_ros.maps.place_map import NO_LOCAL, PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import TraverseOptions

GRID, COUNT = (2, 4), 6


def walk(folder: Path, tints: list[int], lighter: float = 0.0) -> Path:
    """Place i has eight colours of its own; their mean is that of place `tints[i]`."""
    (folder / 'images').mkdir(parents=True)
    rng = np.random.default_rng(1)
    shades = np.random.default_rng(2).uniform(-8, 8, (COUNT, 3))
    height, width = TINY_PREPROCESSING['size']
    for i, tint in enumerate(tints):
        cells = rng.uniform(-90, 90, (*GRID, 3))
        cells += 120 + shades[tint] + lighter - cells.mean(axis=(0, 1))
        image = cells.repeat(height // GRID[0], 0).repeat(width // GRID[1], 1)
        cv2.imwrite(str(folder / 'images' / f'{i}.png'), image.clip(0, 255).astype(np.uint8))
    rows = [f'images/{i}.png,{i},{10 * i},0,0,0,0,0,1' for i in range(COUNT)]
    (folder / 'poses.csv').write_text('\n'.join(['file,stamp,x,y,z,qx,qy,qz,qw', *rows]))
    return folder


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp('model') / 'local.onnx', grid=GRID)


@pytest.fixture(scope='module')
def queries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each query has the pattern of its place, and the mean colour of the place after the next."""
    tints = [(i + 2) % COUNT for i in range(COUNT)]
    return walk(tmp_path_factory.mktemp('walks') / 'queries', tints, 1.0)


@pytest.fixture(scope='module')
def made(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    mapped = walk(tmp_path_factory.mktemp('walks') / 'mapped', list(range(COUNT)))
    out = mapped.parent / 'map'
    options = ('--model', model, '--keyframes', 'all', '--max-blur', 1)
    assert run(build_map, mapped, '-o', out, *options) == 0
    return out


def evaluated(out: Path, made: Path, queries: Path, model: Path, *options: object) -> dict:
    """The JSON of a report."""
    given = ('--model', model, '--no-baselines', '-o', out / 'r.html', *options)
    assert run(evaluate, made, queries, *given) == 0
    return json.loads((out / 'r.json').read_text())


def test_one_run_tells_figures_with_and_without_verification(
    made: Path, queries: Path, model: Path, tmp_path: Path, capsys
):
    values = evaluated(tmp_path, made, queries, model, '--metres', 3)
    printed, found = capsys.readouterr(), figures(tmp_path / 'r.html')
    assert list(found) == ['single images', 'descriptor alone']
    assert found['single images']['1'] == 1.0 and found['descriptor alone']['1'] == 0.0
    assert [row[2] for row in values['answers']] == list(range(COUNT))
    assert f'it made {COUNT} right that were wrong, and 0 wrong' in values['facts']['Verified']
    lines = [line.split(':')[0].strip() for line in printed.out.splitlines()]
    assert lines[:2] == ['single images', 'descriptor alone'] and not printed.err
    stages = json.loads((tmp_path / 'r.timing.json').read_text())['milliseconds']
    assert list(stages) == ['decode', 'embed', 'match', 'verify', 'all stages']
    assert 0 < stages['verify']['p50'] < stages['all stages']['p50']
    agreement = [dict(zip(values['detail_columns'], d, strict=True)) for d in values['details']]
    assert all(a['agreement'] == 1.0 and a['metres'] == 0.0 for a in agreement)


def test_without_verification_it_is_the_descriptor_alone_and_that_is_noted(
    made: Path, queries: Path, model: Path, tmp_path: Path, capsys
):
    evaluated(tmp_path, made, queries, model)
    alone = figures(tmp_path / 'r.html')['descriptor alone']
    capsys.readouterr()
    values = evaluated(tmp_path, made, queries, model, '--verify-top', 0)
    assert figures(tmp_path / 'r.html') == {'single images': alone}
    assert 'answers are not verified: verify_top is 0' in capsys.readouterr().err
    assert 'Verified' not in values['facts'] and values['details'][0][2:] == [None] * 3
    stages = json.loads((tmp_path / 'r.timing.json').read_text())['milliseconds']
    assert 'verify' not in stages
    bare = PlaceMap.load(made)
    bare.local = None
    bare.save(tmp_path / 'bare')
    evaluated(tmp_path, tmp_path / 'bare', queries, model)
    assert figures(tmp_path / 'r.html') == {'single images': alone}
    assert capsys.readouterr().err.count(NO_LOCAL) == 1


def test_answers_of_a_node_that_verified_none_are_noted_as_such(
    made: Path, queries: Path, model: Path, tmp_path: Path, capsys, monkeypatch
):
    def record_live(place_map: Path, source: Path, out: Path, options: object) -> None:
        frames = [frame for _, frame in open_traverse(source, TraverseOptions()).frames()]
        answer = {'places': [0], 'scores': [0.9], 'seconds': 0.01}
        answers = [{'stamp_ns': f.header_ns, **answer} for f in frames]
        given = {'source': str(source), 'map_sha256': map_checksum(place_map), 'answers': answers}
        rest = {
            'schema_version': SCHEMA_VERSION,
            'sent': COUNT,
            'rate': 1.0,
            'hz': 0.0,
            'node': {},
        }
        out.write_text(json.dumps(given | rest))

    monkeypatch.setattr('ashtkd_ros.commands.evaluate.record_live', record_live)
    evaluated(tmp_path, made, queries, model, '--live')
    assert 'not verified' not in capsys.readouterr().err
    (tmp_path / 'again').mkdir()
    evaluated(tmp_path / 'again', made, queries, model, '--live', '--verify-top', 0)
    assert 'answers are not verified: verify_top is 0' in capsys.readouterr().err


def test_only_the_first_candidates_are_verified(
    made: Path, queries: Path, model: Path, tmp_path: Path
):
    evaluated(tmp_path, made, queries, model, '--verify-top', 1)
    found = figures(tmp_path / 'r.html')
    assert found['single images']['1'] == found['descriptor alone']['1'] == 0.0


def test_local_features_that_cannot_be_read_are_noted_with_how_often(
    made: Path, queries: Path, model: Path, tmp_path: Path, capsys, monkeypatch
):
    whole, asked = LocalFeatures.rows, []

    def fails_once(self: LocalFeatures, ids: object) -> np.ndarray:
        asked.append(ids)
        if len(asked) == 2:
            raise VprError('local.npy: cannot be read any more')
        return whole(self, ids)

    place_map = PlaceMap.load(made)
    place_map.local = LocalFeatures(place_map.local.rows(range(COUNT)), place_map.local.shape)
    monkeypatch.setattr(LocalFeatures, 'rows', fails_once)
    traverse = open_traverse(queries, TraverseOptions())
    options = EvaluationOptions(baselines=False, timing=False)
    found = evaluate_map(Experiment(place_map, traverse, options), Embedder(model))
    line = f'1 of {COUNT} answers are not verified: local.npy: cannot be read any more'
    assert line in found.notes
    assert [q.check is None for q in found.judged].count(True) == 1
    assert found.methods['single images'].recall[1] == pytest.approx(1 - 1 / COUNT)


def test_matched_positions_are_found_again(made: Path, queries: Path, model: Path):
    embedder, place_map = Embedder(model), PlaceMap.load(made)
    traverse = open_traverse(queries, TraverseOptions())
    options = EvaluationOptions(baselines=False, timing=False)
    experiment = Experiment(place_map, traverse, options)
    judged = evaluate_map(experiment, embedder).judged
    matches_of = MatchedPositions(experiment, embedder)
    found = [matches_of(q) for q in judged]
    for q, m in zip(judged, found, strict=True):
        assert len(m.image) == round(q.check.agreement * GRID[0] * GRID[1]) > 0
        np.testing.assert_array_equal(m.image, m.place)  # nothing has moved
    place_map.local = None
    assert MatchedPositions(experiment, embedder)(judged[0]) is None


def test_the_report_draws_them(made: Path, queries: Path, model: Path, tmp_path: Path):
    evaluated(tmp_path, made, queries, model)
    html = (tmp_path / 'r.html').read_text()
    assert html.count('8 matched positions of ') == COUNT
    assert html.count('100 % of the picture agrees, unmoved') == COUNT
    evaluated(tmp_path, made, queries, model, '--verify-top', 0)
    html = (tmp_path / 'r.html').read_text()
    assert 'matched position' not in html and 'agrees' not in html
