# SPDX-License-Identifier: Apache-2.0
"""Small sources of training places: sets and walks of black pictures, for tests."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import training_packages  # noqa: F401  skips where one of them is missing

from tools.training.config import read_sources
from tools.training.data.places import TrainingPlaces
from tools.training.data.sources import read_places


def places_of(sources: list[dict]) -> TrainingPlaces:
    """The places of sources as a settings file has them."""
    return read_places(read_sources(sources, Path('train.yaml')))


def photos(folder: Path, names: list[str]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))


def index_set(folder: Path, rows: list[tuple[str, str]], orders: list | None = None) -> None:
    photos(folder, [file for file, _ in rows])
    orders = orders or range(len(rows))
    text = ''.join(f'{file},{place},,{o}\n' for (file, place), o in zip(rows, orders, strict=True))
    (folder / 'index.csv').write_text('file,place,role,order\n' + text)


def walk(folder: Path, xs: list[float], yaw: float = 0.0) -> Path:
    names = [f'{i}.png' for i in range(len(xs))]
    photos(folder, names)
    q = f'0,0,{math.sin(yaw / 2)},{math.cos(yaw / 2)}'
    rows = [f'{n},{i},{x},0,0,{q}\n' for i, (n, x) in enumerate(zip(names, xs, strict=True))]
    (folder / 'poses.csv').write_text('file,stamp,x,y,z,qx,qy,qz,qw\n' + ''.join(rows))
    return folder


def names(places: TrainingPlaces, number: int) -> list[str]:
    return sorted(places.pictures[i].path.name for i in places.places[number].pictures)
