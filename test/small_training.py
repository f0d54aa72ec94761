# SPDX-License-Identifier: Apache-2.0
"""A whole training in small, for tests: 64 pictures, a frozen teacher, APFormer, student."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from small_student import torch

from tools.training import train
from tools.training.config import read_config
from tools.training.networks.student import DSFormer
from tools.training.networks.trunk import regional_gem

STEPS = 7
PARTS = ('match', 'maps', 'descriptor', 'levels', 'salient', 'soft', 'hard', 'metric')


class FakeTrunk:
    """Feature map = the picture itself, 14 x 14."""

    has_map = True

    def __init__(self, *_):
        pass

    def features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        feature_map = torch.nn.functional.adaptive_avg_pool2d(images, 14)
        return feature_map, regional_gem(feature_map)


def write_settings(
    pictures: list[Path], folder: Path, monkeypatch: pytest.MonkeyPatch, **schedule: int
) -> Path:
    """The settings file, in `folder` as all that is made; the teachers' trunk is `FakeTrunk`."""
    monkeypatch.setattr('tools.training.networks.shared_trunk.FrozenTrunk', FakeTrunk)
    rows = ''.join(f'{p.name},,,{i}\n' for i, p in enumerate(pictures))
    (pictures[0].parent / 'index.csv').write_text('file,place,role,order\n' + rows)
    sets = {'path': str(pictures[0].parents[1]), 'only': [pictures[0].parent.name]}
    config = {
        'out': str(folder / 'out'),
        'views_folder': str(folder / 'views'),
        'sources': [{'kind': 'sets', **sets}],
        'teachers': [
            {'name': 'frozen', 'trunk': 'trunk.onnx'},
            {
                'name': 'up',
                'trunk': 'trunk.onnx',
                'apformer': {'dimensions': 16, 'widths': [32, 32], 'maps': 3, 'head_channels': 16},
                'lesson': {'teachers': ['frozen'], 'descriptor': 1.0},
                'schedule': {'steps': 3, 'places': 4, 'views': 2},
            },
        ],
        'student': {
            'image_size': 64,
            'dimensions': 16,
            'vit_widths': [32, 32],
            'vit_depths': [1, 1],
            'head_channels': 16,
            'maps': 3,
            'local': 8,
            'free_dimensions': 8,
            'combined': 20,
        },
        'lesson': {'teachers': ['frozen', 'up'], **dict.fromkeys(PARTS, 1.0)},
        'schedule': {'steps': STEPS, 'places': 4, 'views': 4, 'checkpoint_steps': 3, **schedule},
    }
    path = folder / 'train.yaml'
    path.write_text(yaml.safe_dump(config))
    return path


def learn(settings: Path, out: Path) -> DSFormer:
    """The student that the settings' training gives, in this process."""
    config = replace(read_config(settings), out=out)
    return train.train_all(config)


def curve(folder: Path) -> list[dict[str, str]]:
    """The rows of a run's curve, times apart."""
    with (folder / 'curve.csv').open() as file:
        return [{k: v for k, v in row.items() if k != 'seconds'} for row in csv.DictReader(file)]


def same(a: dict, b: dict) -> bool:
    """Whether two networks' values are the same."""
    return all(torch.equal(value, b[name]) for name, value in a.items())
