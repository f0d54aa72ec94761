# SPDX-License-Identifier: Apache-2.0
"""Fixed views of training pictures, and the features that frozen trunks compute of them, on disk.

View 0 is the whole picture, view n > 0 the picture from elsewhere (`augment.change_viewpoint`).
Trunks see each view clean, once; only the student's images get other light and weather, anew at
each step. The views are in files (shards) of 1,000: an interrupted run goes on where it stopped,
and pictures or trunks that are added later cost only their own time.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np
import torch
from tqdm import tqdm

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of_file
from ashtkd_ros.files.writing import whole_file, write_text
from ashtkd_ros.images.image_file import read_image
from ashtkd_ros.network.embedder import resize
from tools.training.data.augment import change_viewpoint
from tools.training.networks.teacher import reduced
from tools.training.networks.trunk import FrozenTrunk, channel_axes

SHARD = 1000
_BATCH = 20
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92]


@dataclass(frozen=True)
class TrunkFeatures:
    """What one trunk computes of every view, a row a view.

    `maps`: float16 (n, c, h, w), channels reduced to the trunk's principal ones, None where the
    trunk has no map; `pooled`: float16 (n, V), see `trunk.FrozenTrunk.features`.
    """

    maps: np.ndarray | None
    pooled: np.ndarray


class Views:
    """The views in a folder: `rows[path, view]` is a row of `jpegs` and of the trunks' features.

    `jpegs`: encoded pictures of size x size; `unreadable`: pictures that cannot be read.
    """

    def __init__(self, folder: Path, size: int = 224, seed: int = 0):
        self.folder, self.size, self.seed = Path(folder), size, seed
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VprError(
                f'{self.folder}: cannot be made ({error.strerror}); give another `views_folder`'
            ) from error
        self.jpegs: list[np.ndarray] = []
        self.rows: dict[tuple[str, int], int] = {}
        self._paths: list[str] = []
        self.unreadable: set[str] = set()
        self.shards = sorted(self.folder.glob('[0-9]*.npz'))
        for shard in self.shards:
            self._take(shard)

    def add(self, pictures: Iterable[Path], views: int) -> None:
        """Make the views 0 to views - 1 of each picture that are not there yet."""
        wanted = [(str(p), v) for v in range(views) for p in pictures]
        todo = [k for k in wanted if k not in self.rows and k[0] not in self.unreadable]
        # Mixed, so that a part of the shards is a fair sample of all sets.
        todo = [todo[i] for i in np.random.default_rng(self.seed).permutation(len(todo))]
        for start in tqdm(range(0, len(todo), SHARD), unit='shard', desc='views', delay=2):
            shard = self.folder / f'{len(self.shards):04d}.npz'
            self._write(shard, todo[start : start + SHARD])
            self.shards.append(shard)
            self._take(shard)

    def trunk_features(self, trunk: Path, axes: Path | None = None) -> TrunkFeatures:
        """The features of every view by a frozen ONNX trunk; only what is missing is computed.

        `axes`: the principal axes of other views, whose maps these are to be compared with.
        """
        folder = self.folder_of(trunk)
        network, maps, pooled = None, [], []
        for shard in tqdm(self.shards, unit='shard', desc=Path(trunk).stem, delay=2):
            file = folder / shard.name
            if not file.exists():
                network = network or FrozenTrunk(trunk)
                jpegs = _split(load_arrays(shard))
                self._compute(network, jpegs, file, axes or folder / 'axes.npy')
            arrays = load_arrays(file)
            maps.append(arrays.get('maps'))
            pooled.append(arrays['pooled'])
        without = any(m is None for m in maps)
        return TrunkFeatures(None if without else np.concatenate(maps), np.concatenate(pooled))

    def folder_of(self, trunk: Path) -> Path:
        """The folder of a trunk's features; VprError where another of the same name has it."""
        folder = self.folder / Path(trunk).stem
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

    def whole(self) -> list[int]:
        """The rows of the views 0, which show whole pictures."""
        return [row for (_, view), row in self.rows.items() if view == 0]

    def path(self, row: int) -> str:
        """The path of the picture that a row is a view of."""
        return self._paths[row]

    def image(self, row: int) -> np.ndarray:
        """The view of a row, uint8 (size, size, 3) RGB."""
        return cv2.imdecode(self.jpegs[row], cv2.IMREAD_COLOR)[..., ::-1]

    def _take(self, shard: Path) -> None:
        arrays = load_arrays(shard)
        if int(arrays['size']) != self.size:
            raise VprError(f'{shard}: holds views of another size; give another `views_folder`')
        for path, view in zip(arrays['paths'].tolist(), arrays['views'].tolist(), strict=True):
            self.rows[path, view] = len(self.rows)
            self._paths.append(path)
        self.jpegs += _split(arrays)
        self.unreadable |= set(arrays['bad'].tolist())

    def _write(self, shard: Path, keys: list[tuple[str, int]]) -> None:
        with ThreadPoolExecutor(2) as pool:
            pictures = list(pool.map(lambda key: self._make(*key), keys))
        made = [(k, p) for k, p in zip(keys, pictures, strict=True) if p is not None]
        unreadable = [k[0] for k, p in zip(keys, pictures, strict=True) if p is None]
        jpegs = [p for _, p in made]
        save_arrays(
            shard,
            size=self.size,
            paths=np.array([path for (path, _), _ in made], dtype=str),
            views=np.array([view for (_, view), _ in made], dtype=np.int64),
            lengths=np.array([len(j) for j in jpegs], dtype=np.int64),
            bytes=np.concatenate([np.zeros(0, np.uint8), *jpegs]),
            bad=np.array(unreadable, dtype=str),
        )

    def _make(self, path: str, view: int) -> np.ndarray | None:
        try:
            image = read_image(Path(path))
        except VprError:
            return None
        if view == 0:
            image = resize(image, (self.size, self.size))
        else:
            rng = np.random.default_rng((self.seed, zlib.crc32(path.encode()), view))
            image = change_viewpoint(image, rng, self.size)
        return cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _JPEG)[1].ravel()

    def _compute(
        self, network: FrozenTrunk, jpegs: list[np.ndarray], file: Path, axes: Path
    ) -> None:
        maps, pooled = [], []
        for start in range(0, len(jpegs), _BATCH):
            batch = [cv2.imdecode(j, cv2.IMREAD_COLOR) for j in jpegs[start : start + _BATCH]]
            x = torch.from_numpy(np.stack(batch)[..., ::-1].copy()).permute(0, 3, 1, 2) / 255
            feature_map, vectors = network.features(x)
            pooled.append(vectors.half().cpu().numpy())
            if feature_map is not None:
                if not axes.exists():  # the channels' principal axes: of the first views, for good
                    with whole_file(axes) as draft:
                        np.save(draft, channel_axes(feature_map).cpu().numpy())
                maps.append(reduced(feature_map, axes).half().cpu().numpy())
        arrays = {'maps': np.concatenate(maps)} if maps else {}
        save_arrays(file, pooled=np.concatenate(pooled), **arrays)


def save_arrays(file: Path, **arrays: np.ndarray) -> None:
    """Write an .npz whole or not at all."""
    with whole_file(file, follow_links=False) as draft, draft.open('wb') as handle:
        np.savez(handle, **arrays)


def _split(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    return np.split(arrays['bytes'], np.cumsum(arrays['lengths']))[:-1]


def load_arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name; VprError where it is damaged."""
    try:
        with np.load(file) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise VprError(f'{file}: is damaged; remove it; it will be made again') from error
