# SPDX-License-Identifier: Apache-2.0
"""Recall on rendered walks: what is right, the thinned map, the table, what is written."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import line_of, write_tiny_model

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.traverses.image_folder import read_source
from tools.render.walk import HEADER, Drive, drive_poses, town_loop
from tools.render.walks import DAY, query_walks
from tools.training.studies import evaluate_walks
from tools.training.studies.evaluate_walks import (
    Described,
    Judged,
    evaluate_town,
    rank,
    walk_tests,
)

TOWN = 11


def write_walk(folder: Path, drive: Drive) -> None:
    """A walk folder whose pictures are plain colours, other ones at each spot of the loop."""
    folder.mkdir(parents=True)
    rows = []
    for n, pose in enumerate(drive_poses(town_loop(TOWN), drive)):
        s = (drive.phase + n * drive.spacing) / town_loop(TOWN).length * 2 * np.pi
        colour = np.array([128 + 100 * np.cos(s), 128 + 100 * np.sin(s), 128])
        cv2.imwrite(str(folder / f'{n}.png'), np.full((8, 8, 3), colour, np.uint8))
        rows.append([f'{n}.png', pose.stamp, pose.x, pose.y, pose.z, *pose.quaternion])
    with open(folder / 'poses.csv', 'w', newline='') as file:
        csv.writer(file).writerows([HEADER, *rows])


@pytest.fixture(scope='module')
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All walks of a town of plain colours."""
    folder = tmp_path_factory.mktemp('walks') / f'town{TOWN}'
    for name, drive in {'day': DAY, **query_walks()}.items():
        write_walk(folder / name, drive)
    return folder


@pytest.fixture(scope='module')
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return Embedder(write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.onnx'))


def described(folder: Path, spots: np.ndarray) -> Described:
    """A walk whose descriptors are as alike as their spots (metres along 210 m) are near."""
    angle = 2 * np.pi * np.asarray(spots) / 210
    rows = np.stack([np.cos(angle), np.sin(angle), np.zeros(len(angle))], axis=1)
    return Described(read_source(folder), rows.astype(np.float32))


def test_in_the_thinned_map_the_place_that_was_stepped_from_is_there(town: Path, embedder):
    mapped = described(town / 'day', DAY.spacing * np.arange(117))
    test = walk_tests()['forward4']
    queries = described(town / 'forward4', 4 + 3.5 * np.arange(58))
    ranking = rank(mapped, queries, test, embedder)['descriptor']
    assert ranking.shape == (58, 20)
    for query, row in enumerate(ranking):
        given = row[row >= 0]
        assert sorted(given) == list(range(2 * query % 6, 117, 6))
    # 4 m ahead of a place, 6.5 m before the next: the nearest is first, and it alone is right.
    assert (ranking[:50, 0] == 2 * np.arange(50)).all()
    assert Judged.of(ranking, mapped, queries, test).right.all()
    wrong = Judged.of(ranking[:, 1:], mapped, queries, test)
    assert not wrong.right[:50].any() and wrong.nearly[:50].all()


@pytest.mark.parametrize('name', ['again', 'left3', 'turned30'])
def test_right_is_within_2_m_along_the_road_whatever_the_step(name: str, town: Path, embedder):
    mapped = described(town / 'day', DAY.spacing * np.arange(117))
    test = walk_tests()[name]
    queries = described(town / name, 3.5 * np.arange(58))
    straight = 10  # a query at which the road is straight
    for further, verdict in ((0, (1, 1)), (1, (1, 1)), (2, (0, 1)), (5, (0, 0))):
        first = np.minimum(2 * np.arange(58) + further, 116)
        judged = Judged.of(first[:, None], mapped, queries, test)
        assert (judged.right[straight], judged.nearly[straight]) == verdict
        distance = np.hypot(test.drive.lateral, DAY.spacing * further)
        assert judged.metres[straight] == pytest.approx(distance, abs=0.3)


def test_every_walk_of_a_town_is_judged(town: Path, embedder: Embedder):
    judged = evaluate_town(town, embedder)
    assert list(judged) == list(walk_tests())
    assert {'forward0', *query_walks()} == set(judged)
    assert judged['again']['descriptor'].right.all()


def test_the_table_has_recalls_by_town_and_means(town: Path, embedder: Embedder):
    figures = evaluate_town(town, embedder)
    further = {
        walk: {name: replace(j, metres=j.metres + 1) for name, j in methods.items()}
        for walk, methods in figures.items()
    }
    lines = evaluate_walks.table({'town11': figures, 'town21': further}).splitlines()
    assert lines[1].split() == ['R@1', 'in', '%', 'town11', 'town21', '2x', 'm']
    rows = {line.split()[0]: line.split()[1:] for line in lines[2:]}
    assert rows['again'] == ['100.0', '100.0', '100.0', '0.5']
    moved = [rows[name][0] for name in rows if name[:-1].rstrip('123') in ('left', 'turned')]
    moved = [float(share) for share in (*moved, rows['forward2'][0], rows['forward4'][0])]
    assert len(moved) == 8
    assert float(rows['moved'][0]) == pytest.approx(np.mean(moved), abs=0.06)


def test_the_rankings_are_written_and_replaced_but_nothing_else(
    town: Path, embedder: Embedder, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.setattr(evaluate_walks, 'render_towns', lambda towns, folder: None)
    out = tmp_path / 'found.json'
    command = ['--walks', str(town.parent), '--towns', '11', '11', '--json', str(out)]
    command += ['--model', str(embedder.path)]
    for _ in range(2):
        assert evaluate_walks.main(command) == 0
    assert capsys.readouterr().out.count('left3') == 2
    found = json.loads(out.read_text())
    assert set(found) == {f'town11/{name}' for name in walk_tests()}
    rows = np.array(found['town11/left3']['descriptor'])
    assert rows.shape == (58, 20) and rows.min() >= 0 and rows.max() < 117
    out.write_text('{"mine": 1}')
    with pytest.raises(VprError) as error:
        evaluate_walks.main(command)
    assert 'not the result of an earlier run' in line_of(error)
    assert out.read_text() == '{"mine": 1}'
