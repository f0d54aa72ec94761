# SPDX-License-Identifier: Apache-2.0
"""Pictures and their fixed views, on disk.

View 0 is the whole picture, view n > 0 a crop from elsewhere (`draw_corners`), whose corners are
kept. Trunks see each view clean, once; the student sees views that are drawn anew at
each step, of the pictures that are kept here. The views are in files (shards) of 1,000: an
interrupted run goes on where it stopped, and pictures or views that are added later cost only
their own time.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.writing import whole_file
from ashtkd_ros.images.image_file import read_image
from ashtkd_ros.images.synthetic_change import UNIT, draw_corners, warped
from ashtkd_ros.network.embedder import resize
from tools.training.data.correspondence import SeenView
from tools.training.numpy_file import named_arrays

SHARD = 1000
_ANEW = 'remove the folder {}; all of it will be made again'
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95]
_SHORT_SIDE = 256  # of a picture that is kept; larger ones are reduced


def view_corners(seed: int, path: str, view: int) -> np.ndarray:
    """Where the corners of a fixed view lie in its picture, see `draw_corners`."""
    if view == 0:
        return UNIT
    return draw_corners(np.random.default_rng((seed, zlib.crc32(path.encode()), view)))


class Views:
    """The fixed views of the pictures in a folder, of size x size pixels.

    `rows[path, view]` is a row of `jpegs`, `corners` and of the trunks' features. `jpegs`: the
    encoded whole picture that a row is a view of; `corners`: float64 (4, 2) each, see
    `view_corners`; `unreadable`: pictures that cannot be read; `shards`: the rows of each file.
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
        self.corners: list[np.ndarray] = []
        self.rows: dict[tuple[str, int], int] = {}
        self.unreadable: set[str] = set()
        self._paths: list[str] = []
        self._pictures: dict[str, np.ndarray] = {}
        self.shards: dict[Path, range] = {}
        for number, shard in enumerate(sorted(self.folder.glob('[0-9]*.npz'))):
            if shard.name != _shard_name(number):  # the next one would be written over another
                lost = self.folder / _shard_name(number)
                raise VprError(f'{lost}: is missing; {_ANEW.format(self.folder)}')
            self._take(shard)

    def add(self, pictures: Iterable[Path], views: int) -> None:
        """Make the views 0 to views - 1 of each picture that are not there yet."""
        paths = [str(p) for p in pictures if str(p) not in self.unreadable]
        # Mixed, so that a part of the shards is a fair sample of all sets.
        paths = [paths[i] for i in np.random.default_rng(self.seed).permutation(len(paths))]
        todo = [(p, v) for p in paths for v in range(views) if (p, v) not in self.rows]
        for start in tqdm(
            range(0, len(todo), SHARD), unit='shard', desc='views', delay=2, disable=None
        ):
            shard = self.folder / _shard_name(len(self.shards))
            self._write(shard, todo[start : start + SHARD])
            self._take(shard)

    def whole(self) -> list[int]:
        """The rows of the views 0, which show whole pictures."""
        return [row for (_, view), row in self.rows.items() if view == 0]

    def image(self, row: int) -> np.ndarray:
        """The view of a row, uint8 (size, size, 3) RGB."""
        return warped(_decoded(self.jpegs[row]), self.corners[row], self.size)

    def seen(self, row: int) -> SeenView:
        """Which part of which picture the view of a row shows."""
        return SeenView(self._paths[row], self.corners[row])

    def picture(self, path: Path) -> np.ndarray:
        """A whole picture as it is kept, uint8 (H, W, 3) RGB."""
        return _decoded(self._pictures[str(path)])

    def _take(self, shard: Path) -> None:
        arrays = load_arrays(shard, _ANEW.format(self.folder))
        if 'corners' not in arrays:
            raise VprError(f'{shard}: holds views of another version; give another `views_folder`')
        if int(arrays['size']) != self.size:
            raise VprError(f'{shard}: holds views of another size; give another `views_folder`')
        keys = list(zip(arrays['paths'].tolist(), arrays['views'].tolist(), strict=True))
        jpegs = np.split(arrays['bytes'], np.cumsum(arrays['lengths']))[:-1]
        self._pictures |= {p: j for (p, view), j in zip(keys, jpegs, strict=True) if view == 0}
        self.shards[shard] = range(len(self.rows), len(self.rows) + len(keys))
        self.rows |= dict(zip(keys, self.shards[shard], strict=True))
        self.jpegs += [self._pictures[path] for path, _ in keys]
        self._paths += [path for path, _ in keys]
        self.corners += list(arrays['corners'])
        self.unreadable |= set(arrays['bad'].tolist())

    def _write(self, shard: Path, keys: list[tuple[str, int]]) -> None:
        """A picture's bytes stand with its view 0, which comes before its others."""
        whole = [path for path, view in keys if view == 0]
        with ThreadPoolExecutor(2) as pool:
            encoded = dict(zip(whole, pool.map(_encoded, whole), strict=True))
        bad = {path for path, jpeg in encoded.items() if jpeg is None}
        keys = [key for key in keys if key[0] not in bad | self.unreadable]
        jpegs = [encoded[path] if view == 0 else np.zeros(0, np.uint8) for path, view in keys]
        corners = [view_corners(self.seed, *key) for key in keys]
        save_arrays(
            shard,
            size=self.size,
            paths=np.array([path for path, _ in keys], dtype=str),
            views=np.array([view for _, view in keys], dtype=np.int64),
            corners=np.array(corners).reshape(-1, 4, 2),
            lengths=np.array([len(j) for j in jpegs], dtype=np.int64),
            bytes=np.concatenate([np.zeros(0, np.uint8), *jpegs]),
            bad=np.array(sorted(bad), dtype=str),
        )


def save_arrays(file: Path, **arrays: np.ndarray) -> None:
    """Write an .npz whole or not at all."""
    with whole_file(file, follow_links=False) as draft, draft.open('wb') as handle:
        np.savez(handle, **arrays)


def _encoded(path: str) -> np.ndarray | None:
    """A picture as a JPEG, reduced if it is large; None if it cannot be read."""
    try:
        image = read_image(Path(path))
    except VprError:
        return None
    reduced_by = min(1, _SHORT_SIDE / min(image.shape[:2]))
    height, width = (max(1, round(side * reduced_by)) for side in image.shape[:2])
    bgr = cv2.cvtColor(resize(image, (width, height)), cv2.COLOR_RGB2BGR)
    return cv2.imencode('.jpg', bgr, _JPEG)[1].ravel()


def _decoded(jpeg: np.ndarray) -> np.ndarray:
    image = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def _shard_name(number: int) -> str:
    return f'{number:04d}.npz'


def load_arrays(
    file: Path, remedy: str = 'remove it; it will be made again'
) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name; VprError with the remedy where it is damaged."""
    try:
        return named_arrays(file)
    except (OSError, ValueError) as error:
        raise VprError(f'{file}: is damaged; {remedy}') from error
