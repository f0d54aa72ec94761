# SPDX-License-Identifier: Apache-2.0
"""Teachers on a set: alone, verified by their own maps, and mixed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import line_of
from small_student import torch

from ashtkd_ros.errors import VprError
from tools.training.config import Lesson
from tools.training.data.batch import Targets
from tools.training.studies.teachers import ADAPTIVE, EQUAL, main, measure, mixed, table

F = torch.nn.functional
PLACES = 12


class FakeTeacher:
    """Sees the grey value of a picture, a place each; of half the places it is mistaken.

    With `maps` it finds the right place by them.
    """

    def __init__(self, name: str, mistaken: int, maps: bool = False, spread: float = 1.0):
        self.name, self.mistaken, self.has_maps, self.spread = name, mistaken, maps, spread
        self.scale = (0.0, 0.3 * spread)
        draw = torch.Generator().manual_seed(mistaken)
        self.codes = F.normalize(torch.randn(PLACES, 12, generator=draw), dim=1)
        self.positions = F.normalize(torch.randn(PLACES, 196, 16, generator=draw), dim=2)

    def __call__(self, images: torch.Tensor) -> Targets:
        grey = (images[:, 0, 0, 0] * 255).round().long()
        place, is_query = grey // 2 // 9, grey % 2
        wrong = (is_query == 1) & (place % 2 == self.mistaken)
        code = self.codes[torch.where(wrong, (place + 2) % PLACES, place)]
        rest = (1 - self.spread) ** 0.5
        code = torch.cat([self.spread**0.5 * code, torch.full((len(code), 1), rest)], dim=1)
        return Targets(code, self.positions[place] if self.has_maps else None)

    def outputs(self, rows: list[int]) -> Targets:
        return self(torch.zeros(len(rows), 3, 4, 4))

    def standardised(self, similarity: torch.Tensor) -> torch.Tensor:
        return (similarity - self.scale[0]) / self.scale[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / 'sets' / 'cards'
    folder.mkdir(parents=True)
    text = 'file,place,role,order\n'
    for place in range(PLACES):
        for q, role in enumerate(('database', 'query')):
            file = f'{place}_{role}.png'
            cv2.imwrite(str(folder / file), np.full((8, 8, 3), 18 * place + q, np.uint8))
            text += f'{file},p{place},{role},{10 * place}\n'
    (folder / 'index.csv').write_text(text)
    return folder


def test_each_alone_verified_by_its_own_maps_and_mixed(folder: Path):
    a, b = FakeTeacher('a', 0), FakeTeacher('b', 1, maps=True)
    found = measure([a, b], Lesson(), folder)
    assert found['a'][0] == found['b'][0] == 50.0
    assert np.isnan(found['a'][1]) and found['b'][1] == 100.0
    assert found[EQUAL][1] == found[ADAPTIVE][1] == 100.0
    # Half the queries are a's, half b's: who knows which, answers all.
    assert found[ADAPTIVE][0] == 100.0


def test_a_mixture_is_that_of_all_teachers_whatever_their_scale():
    draw = torch.Generator().manual_seed(0)
    standardised = torch.randn(2, 5, 7, generator=draw)
    scales = torch.tensor([[0.1, 0.5], [0.9, 0.01]])
    found = mixed(standardised, torch.full((5, 2), 0.5), scales)
    torch.testing.assert_close(found, standardised.mean(0) * 0.255 + 0.5)
    assert torch.equal(found.argmax(1), standardised.sum(0).argmax(1))


def test_the_table_has_the_mean_and_no_figure_where_there_are_no_maps():
    found = {
        'x': {'t': (50.0, np.nan), 'u': (40.0, 60.0)},
        'y': {'t': (70.0, np.nan), 'u': (50.0, 90.0)},
    }
    lines = table(found).splitlines()
    assert lines[0] == '| | x | y | mean |'
    assert lines[2:] == [
        '| t | 50.0 | 70.0 | 60.0 |',
        '| u | 40.0 / 60.0 | 50.0 / 90.0 | 45.0 / 75.0 |',
    ]


def test_an_unknown_teacher_is_one_line(root: Path, folder: Path):
    config = str(root / 'config' / 'train' / 'student.yaml')
    with pytest.raises(VprError) as error:
        main(['--config', config, '--data', str(folder.parent), '--names', 'resnet51'])
    assert 'no teacher is named resnet51; the teachers are ' in line_of(error)
