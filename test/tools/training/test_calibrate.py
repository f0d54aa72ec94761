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

    fake_network.describe = lambda image, order='RGB': Look(
        embed(image if order == 'RGB' else image[..., ::-1]), None
    )
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


def test_verified_answers_are_collected_with_lead_and_agreement(tmp_path: Path, network):
    # The descriptor sees the walk alone, the local features how far along it the picture is.
    grid, directions = LocalShape((2, 2), 16), unit_rows(4 * 120, 16)
    network.local = grid

    def describe(image: np.ndarray, order: str = 'RGB') -> Look:
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


NUMBERS = {'similarity': 0.0, 'margin': 9.0, 'offset': -1.0, 'limited': 1.0}
NUMBERS |= {'verified_similarity': 0.0, 'verified_margin': 0.0, 'verified_lead': 2.0}
NUMBERS |= {'verified_agreement': 3.0, 'verified_offset': -1.0}


def revisits(right: np.ndarray, monkeypatch) -> None:
    """What true revisits say from now on: without and with local features."""
    plain = np.linspace(0, 1, len(right)), np.linspace(-0.1, 0.3, len(right)), right
    checked = {'lead': np.linspace(-1, 2, len(right)), 'agreement': np.linspace(0, 1, len(right))}
    both = [samples_of(*plain), samples_of(*plain, **checked)]
    monkeypatch.setattr(calibrate, 'collect', lambda *a, **_: both[a[3]])


def test_a_model_is_calibrated_anew_in_place(tmp_path: Path, monkeypatch, capsys):
    model = tmp_path / 'student.onnx'
    shutil.copy(shipped_model(), model)
    revisits(np.arange(60) > 20, monkeypatch)
    monkeypatch.setattr(calibrate, 'fitted', lambda *_: NUMBERS)
    before = Embedder(model, num_threads=1)
    assert calibrate.main([str(model), '--data', str(tmp_path)]) == 0
    after = Embedder(model, num_threads=1)
    assert before.local and after.confidence == NUMBERS != before.confidence
    assert (after.name, after.preprocessing) == (before.name, before.preprocessing)
    said = capsys.readouterr().out
    assert 'calibration error (training)' in said and 'verified' in said
    assert list(tmp_path.iterdir()) == [model]
    monkeypatch.setattr(calibrate, 'fitted', lambda *_: {})
    with pytest.raises(VprError, match='has no set with `positives`'):
        calibrate.main([str(model), '--data', str(tmp_path)])


def test_numbers_that_make_no_sense_leave_the_model_as_it_is(tmp_path: Path, monkeypatch):
    model = tmp_path / 'student.onnx'
    shutil.copy(shipped_model(), model)
    before = model.read_bytes()
    monkeypatch.setattr(calibrate, 'fitted', lambda *_: {**NUMBERS, 'offset': 40.0})
    with pytest.raises(VprError) as error:
        calibrate.main([str(model), '--data', str(tmp_path)])
    assert 'give more sets with positives' in line_of(error) and model.read_bytes() == before


def test_every_set_asks_itself_but_for_tours(tmp_path: Path, network, monkeypatch):
    index_set(tmp_path / 'w', [('', k, walk, k) for k in range(12) for walk in ('out', 'back')])
    index_set(tmp_path / 't', [(f'tour/{k}', k, 'out', k) for k in range(12) for _ in range(2)])
    asked = []

    def ask_itself(place_map, embedder, picture):
        assert picture(place_map.places[0]).shape == (8, 8, 3)
        asked.append(len(place_map.places))
        return []

    monkeypatch.setattr(calibrate, 'ask_itself', ask_itself)
    source = {'kind': 'sets', 'path': 'sets', 'positives': {'w': 'neighbours', 't': 'tour'}}
    assert calibrate.fitted(network, tmp_path, read_sources([source], tmp_path)) == {}
    assert asked == [24]
