# SPDX-License-Identifier: Apache-2.0
"""Calibration of the confidence: what is a revisit, coefficients found again, error measured."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import training_packages  # noqa: F401  skips where one of them is missing
from conftest import line_of, unit_rows

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.metrics import calibration
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import LocalShape, Look
from ashtkd_ros.network.shipped_model import shipped_model
from tools.training import calibrate
from tools.training.config import read_sources


@pytest.fixture
def network(fake_network: SimpleNamespace, monkeypatch) -> SimpleNamespace:
    """Sees the walk (red) and how far along it (green) the picture was taken."""

    def embed(image: np.ndarray) -> np.ndarray:
        red, green, _ = image[0, 0] / 100
        vector = np.array([np.cos(red), np.sin(red), np.cos(green), np.sin(green)], np.float32)
        return vector / np.linalg.norm(vector)

    fake_network.describe = lambda image: Look(embed(image), None)
    monkeypatch.setattr(calibrate, 'degrade', lambda image, _: image)
    return fake_network


def index_set(folder: Path, rows: list[tuple[str, int, str, int]]) -> None:
    """Pictures of one colour; rows: place, order, walk (a name), where along it."""
    folder.mkdir(parents=True)
    text = 'file,place,role,order\n'
    for k, (place, order, walk, along) in enumerate(rows):
        file = f'{walk}_{k:03d}.png'
        colour = (0, 10 * along, 100 * (walk == 'back'))  # BGR
        cv2.imwrite(str(folder / file), np.full((8, 8, 3), colour, np.uint8))
        text += f'{file},{place},,{order}\n'
    (folder / 'index.csv').write_text(text)


def samples_of(similarity, margin, right: np.ndarray, **more) -> calibrate.Samples:
    return calibrate.Samples({'similarity': similarity, 'margin': margin, **more}, right)


def collect(network, data: Path, positives: dict[str, str], radius: float = 1, verified=False):
    source = {'kind': 'sets', 'path': 'sets', 'positives': positives, 'radius': radius}
    sources = [{'kind': 'walks', 'paths': ['x']}, source]
    return calibrate.collect(network, data, read_sources(sources, data), verified)


def test_on_walks_right_is_near_in_order_on_the_same_walk(tmp_path: Path, network):
    index_set(tmp_path / 'w', [('', k, walk, k) for k in range(12) for walk in ('out', 'back')])
    samples = collect(network, tmp_path, {'w': 'neighbours'})
    assert len(samples.right) == 12 and samples.right.all()
    # The same pictures, of which the order says that they are far apart.
    index_set(
        tmp_path / 'far', [('', 9 * k, walk, k) for k in range(12) for walk in ('out', 'back')]
    )
    assert not collect(network, tmp_path, {'far': 'neighbours'}, radius=4).right.any()


def test_on_spots_right_is_the_same_known_place(tmp_path: Path, network):
    rows = [(place, 0, 'out', 5 * k) for k, place in enumerate('abc') for _ in range(4)]
    index_set(tmp_path / 's', [*rows, ('', 0, 'back', 0), ('', 0, 'back', 9)])
    samples = collect(network, tmp_path, {'s': 'place'})
    assert len(samples.right) == 6 and samples.right.all()
    assert (samples.known['margin'] > 0.01).all()  # pictures of the same spot are no rivals


def test_without_revisits_there_is_nothing_to_fit(tmp_path: Path, network):
    index_set(tmp_path / 'one', [('a', k, 'out', k) for k in range(6)])  # a single spot
    index_set(tmp_path / 'w', [('', k, 'out', k) for k in range(6)])
    assert collect(network, tmp_path, {'one': 'place', 'gone': 'neighbours'}) is None
    assert collect(network, tmp_path, {}) is None
    index_set(tmp_path / 's', [(place, 0, 'out', 5) for place in 'abc' for _ in range(4)])
    assert collect(network, tmp_path, {'s': 'place'}) is not None
    for rule in ('none', 'pairs', 'place_or_pairs'):  # by which a place says not what is right
        assert collect(network, tmp_path, {'s': rule}) is None


def test_calibration_finds_the_coefficients_it_was_made_with():
    rng = np.random.default_rng(0)
    similarity, margin = rng.uniform(0, 1, 20_000), rng.uniform(-0.2, 0.6, 20_000)
    truth = 1 / (1 + np.exp(-(6 * similarity + 9 * margin - 4)))
    samples = samples_of(similarity, margin, rng.random(20_000) < truth)
    found = calibrate.fit(samples)
    expected = {'similarity': 6.0, 'margin': 9.0, 'offset': -4.0}
    assert found == pytest.approx(expected, rel=0.1)
    assert calibration(truth, samples.right).error < 0.02
    assert calibration(1 - truth, samples.right).error > 0.3


def test_a_fit_of_verified_answers_finds_all_its_coefficients():
    rng = np.random.default_rng(0)
    similarity, margin, agreement = rng.uniform(0, 1, (3, 20_000))
    lead = rng.normal(0, 2, 20_000)
    x = 2 * similarity + 3 * margin + 0.8 * lead + 4 * agreement - 4
    right = rng.random(20_000) < 1 / (1 + np.exp(-x))
    samples = samples_of(similarity, margin, right, lead=lead, agreement=agreement)
    found = calibrate.fit(samples)
    assert list(found) == ['similarity', 'margin', 'lead', 'agreement', 'offset']
    assert list(found.values()) == pytest.approx([2, 3, 0.8, 4, -4], rel=0.15)
    first = {'similarity': similarity[0], 'margin': margin[0]}
    assert samples.rows()[0] == {**first, 'lead': lead[0], 'agreement': agreement[0]}


def test_verified_answers_are_collected_with_lead_and_agreement(tmp_path: Path, network):
    # The descriptor sees the walk alone, the local features how far along it the picture is.
    grid, directions = LocalShape((2, 2), 16), unit_rows(4 * 120, 16)
    network.local = grid

    def describe(image: np.ndarray) -> Look:
        walk = np.array([1, 0, 0, 0], np.float32)
        along = int(image[0, 0, 1])
        return Look(walk, np.rint(127 * directions[4 * along : 4 * along + 4]).astype(np.int8))

    network.describe = describe
    rows = [(place, 0, 'out', 2 * k) for k, place in enumerate('abcd') for _ in range(4)]
    index_set(tmp_path / 's', rows)
    blind, seeing = (collect(network, tmp_path, {'s': 'place'}, verified=v) for v in (False, True))
    assert list(blind.known) == ['similarity', 'margin'] and not blind.right.all()
    assert list(seeing.known) == ['similarity', 'margin', 'lead', 'agreement']
    assert len(seeing.right) == 8 and seeing.right.all()
    assert (seeing.known['agreement'] == 1).all() and (seeing.known['lead'] > 0).all()


def collected(right: np.ndarray, monkeypatch) -> list[calibrate.Samples]:
    """What is collected from now on: without and with local features."""
    plain = np.linspace(0, 1, len(right)), np.linspace(-0.1, 0.3, len(right)), right
    checked = {'lead': np.linspace(0, 4, len(right)), 'agreement': np.linspace(0, 1, len(right))}
    both = [samples_of(*plain), samples_of(*plain, **checked)]
    monkeypatch.setattr(calibrate, 'collect', lambda *_, verified: both[verified])
    return both


def test_a_model_is_calibrated_anew_in_place(tmp_path: Path, monkeypatch, capsys):
    model = tmp_path / 'student.onnx'
    shutil.copy(shipped_model(), model)
    plain, verified = collected(np.arange(60) > 20, monkeypatch)
    before = Embedder(model, num_threads=1)
    assert calibrate.main([str(model), '--data', str(tmp_path)]) == 0
    after = Embedder(model, num_threads=1)
    expected = calibrate.fit(plain)
    expected |= {f'verified_{k}': v for k, v in calibrate.fit(verified).items()}
    assert before.local and after.confidence == expected != before.confidence
    assert (after.name, after.preprocessing) == (before.name, before.preprocessing)
    assert 'before' in capsys.readouterr().out and list(tmp_path.iterdir()) == [model]
    monkeypatch.setattr(calibrate, 'collect', lambda *_, **__: None)
    with pytest.raises(VprError, match='has no set with `positives`'):
        calibrate.main([str(model), '--data', str(tmp_path)])


def test_answers_that_are_all_wrong_leave_the_model_as_it_is(tmp_path: Path, monkeypatch):
    model = tmp_path / 'student.onnx'
    shutil.copy(shipped_model(), model)
    before = model.read_bytes()
    collected(np.arange(60) < 20, monkeypatch)  # the less alike, the more often right
    with pytest.raises(VprError) as error:
        calibrate.main([str(model), '--data', str(tmp_path)])
    assert 'give more sets with positives' in line_of(error) and model.read_bytes() == before
