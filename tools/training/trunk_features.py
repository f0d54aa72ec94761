# SPDX-License-Identifier: Apache-2.0
"""What frozen trunks make of every fixed view, computed once and kept on disk.

A trunk's folder lies beside the views. For each shard of them it holds whole.npy, quarters.npy
and maps.npy, float16, see `TrunkOutput`: of a ResNet 2, 8 and 50 KB a view, so that 70,000 views
(17,500 pictures) take 4.2 GB a trunk. Pictures or trunks that are added later cost only their own
time. The maps are PCA-whitened (power 0.5) to 128 numbers a position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of_file
from ashtkd_ros.files.writing import write_text
from tools.training.data.rows import Rows, save_rows
from tools.training.data.views import Views
from tools.training.networks.shared_trunk import SharedTrunk, TrunkOutput, has_grid
from tools.training.whitening import whitening_layer

CHANNELS = 128  # numbers a position of the whitened maps
_FITTED_ON = 500  # whole pictures, a quarter of the positions of each
_BATCH = 20
_KINDS = ('whole', 'quarters', 'maps')


@dataclass(frozen=True)
class TrunkFeatures:
    """What one trunk makes of every view, a row a view, as float16: see `TrunkOutput`."""

    whole: Rows
    quarters: Rows | None
    maps: Rows | None

    def of(self, rows: Sequence[int], kind: str) -> TrunkOutput:
        """What a teacher of this kind (`Teacher.kind`) needs of some rows, float32."""
        wanted = {'whole': (), 'quarters': ('quarters',), 'apformer': ('maps',)}[kind]
        found = {name: getattr(self, name) for name in ('maps', 'whole', 'quarters')}
        return TrunkOutput(
            **{
                name: torch.from_numpy(numbers[rows]).float()
                if numbers is not None and name in ('whole', *wanted)
                else None
                for name, numbers in found.items()
            }
        )


def whitening_file(views: Views, trunk: Path) -> Path:
    """What the trunk's maps are whitened by, fitted once and for good: see `whitened`."""
    return folder_of(views, trunk) / 'map_whitening.npy'


def folder_of(views: Views, trunk: Path) -> Path:
    """The folder of a trunk's features; VprError where another of the same name has it."""
    folder = views.folder / Path(trunk).stem
    folder.mkdir(exist_ok=True)
    if Path(trunk).is_file():
        record = folder / 'trunk.sha256'
        file_hash = sha256_of_file(trunk)
        if not record.exists():
            write_text(record, file_hash)
        elif record.read_text() != file_hash:
            raise VprError(
                f'{folder}: holds the features of another network named {Path(trunk).name}; '
                f'rename {trunk}, or remove the folder'
            )
    return folder


def trunk_features(views: Views, trunk: Path) -> TrunkFeatures:
    """The features of every view by a frozen ONNX trunk; only what is missing is computed."""
    folder, whitening = folder_of(views, trunk), whitening_file(views, trunk)
    shared = SharedTrunk(trunk, whitening)
    shards = [shard for shard, rows in views.shards.items() if len(rows)]
    # Each kind that any shard has is wanted of all of them.
    kinds = {k for k in _KINDS for s in shards if _file(folder, s, k).exists()} | {'whole'}
    todo = [s for s in shards if not all(_file(folder, s, k).exists() for k in kinds)]
    for shard in tqdm(todo, unit='shard', desc=Path(trunk).stem, delay=2, disable=None):
        if not whitening.exists():
            _fit_whitening(views, shared, whitening)
        parts = [shared.features(x) for x in _images(views, views.shards[shard])]
        _write(folder, shard, parts)
    return TrunkFeatures(*(_rows(folder, shards, kind) for kind in _KINDS))


def map_of_one(views: Views, trunk: Path) -> torch.Tensor | None:
    """The trunk's map of one view, (1, C, h, w), None where it gives none."""
    return SharedTrunk(trunk, whitening_file(views, trunk)).raw(next(_images(views, [0])))[0]


def _file(folder: Path, shard: Path, kind: str) -> Path:
    return folder / f'{shard.stem}.{kind}.npy'


def _rows(folder: Path, shards: list[Path], kind: str) -> Rows | None:
    files = [_file(folder, shard, kind) for shard in shards]
    return Rows(files) if all(file.exists() for file in files) else None


def _images(views: Views, rows: Sequence[int]) -> Iterator[torch.Tensor]:
    """Batches of views, float32 (B, 3, S, S) RGB in [0, 1], one at a time."""
    for start in range(0, len(rows), _BATCH):
        images = np.stack([views.image(row) for row in rows[start : start + _BATCH]])
        yield torch.from_numpy(images).permute(0, 3, 1, 2) / 255


def _write(folder: Path, shard: Path, parts: list[TrunkOutput]) -> None:
    """The files of a shard; the one that tells that they are all there comes last."""
    for kind in ('maps', 'quarters', 'whole'):
        if getattr(parts[0], kind) is not None:
            together = torch.cat([getattr(part, kind).half().cpu() for part in parts])
            save_rows(_file(folder, shard, kind), together.numpy())


def _fit_whitening(views: Views, trunk: SharedTrunk, file: Path) -> None:
    """PCA-whitening of the positions of whole pictures out of all sets; without a map nothing."""
    rows, positions = views.whole(), []
    some = rows[:: max(1, len(rows) // _FITTED_ON)]
    for number, images in enumerate(_images(views, some)):
        feature_map, _ = trunk.raw(images)
        if not has_grid(feature_map):
            return
        # Every fourth position, another one in each batch.
        positions.append(feature_map.flatten(2)[..., number % 4 :: 4].cpu())
    vectors = torch.cat(positions).transpose(1, 2).flatten(0, 1)
    layer = whitening_layer(vectors, min(CHANNELS, vectors.shape[1], len(vectors) - 1))
    table = torch.cat([layer.weight, layer.bias[:, None]], dim=1)
    save_rows(file, table.detach().numpy())
