# SPDX-License-Identifier: Apache-2.0
"""Where the student looks: pictures under the salient maps of each level, side by side.

    python -m tools.salient models/ashtkd_student.onnx IMAGE [IMAGE ...] -o salient.png

An exported student gives its maps beside its descriptor (`salient0` at stride 8 and upwards); this
draws the mean of each level's maps, bright where the level looks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from ashtkd_ros.commands import run_command
from ashtkd_ros.embedder import Embedder
from ashtkd_ros.errors import VprError
from ashtkd_ros.sources import read_image
from tools.bench.embedding import open_session

_HEIGHT = 224


def salient_maps(embedder: Embedder, image: np.ndarray) -> list[np.ndarray]:
    """uint8 RGB (H, W, 3) → each level's maps (K, h, w), each summing to 1.

    VprError where the model gives none.
    """
    session = open_session(embedder.path, 0)
    names = [o.name for o in session.get_outputs() if o.name.startswith('salient')]
    if not names:
        raise VprError(f'{embedder.path}: gives no salient maps; export it with tools.export')
    inputs = {session.get_inputs()[0].name: embedder.preprocess(image)[None]}
    return [maps[0] for maps in session.run(names, inputs)]


def picture(image: np.ndarray, levels: list[np.ndarray]) -> np.ndarray:
    """The image and, for each level, the image darkened where the level does not look."""
    size = round(_HEIGHT * image.shape[1] / image.shape[0]), _HEIGHT
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    tiles = [small]
    for maps in levels:
        weight = cv2.resize(maps.mean(axis=0), size, interpolation=cv2.INTER_CUBIC)
        share = np.clip(weight / weight.max(), 0.0, 1.0)[..., None]
        heat = cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
        tiles.append((0.45 * small + 0.55 * heat).astype(np.uint8))
    return np.concatenate(tiles, axis=1)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('model', type=Path, help='exported student (.onnx)')
    parser.add_argument('images', type=Path, nargs='+')
    parser.add_argument('-o', '--out', type=Path, default=Path('salient.png'))
    args = parser.parse_args(argv)
    embedder = Embedder(args.model)
    rows = [picture(i, salient_maps(embedder, i)) for i in map(read_image, args.images)]
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0))) for r in rows]
    if not cv2.imwrite(str(args.out), np.concatenate(rows)[..., ::-1]):
        raise VprError(f'{args.out}: cannot be written; name a .png in a folder that is there')
    print(f'{args.out}: {len(rows)} pictures, then stride 8 upwards from left to right')
    return 0


if __name__ == '__main__':
    run_command(main)
