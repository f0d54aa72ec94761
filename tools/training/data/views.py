# SPDX-License-Identifier: Apache-2.0
"""Fixed views of training pictures, on disk.

View 0 is the whole picture, view n > 0 the picture from elsewhere (`augment.change_viewpoint`).
Trunks see each view clean, once; only the student's images get other light and weather, anew at
each step. The views are in files (shards) of 1,000: an interrupted run goes on where it stopped,
and pictures that are added later cost only their own time.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np
from tqdm import tqdm

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.writing import whole_file
from ashtkd_ros.images.image_file import read_image
from ashtkd_ros.network.embedder import resize
from tools.training.data.augment import change_viewpoint

SHARD = 1000
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92]


class Views:
    """The views in a folder: `rows[path, view]` is a row of `jpegs` and of the trunks' features.

    `jpegs`: encoded pictures of size x size; `unreadable`: pictures that cannot be read;
    `shards`: the rows of each of their files.
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
        self.shards: dict[Path, range] = {}
        for shard in sorted(self.folder.glob('[0-9]*.npz')):
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
            self._take(shard)

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
        self.shards[shard] = range(len(self.rows), len(self.rows) + len(arrays['paths']))
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
