# SPDX-License-Identifier: Apache-2.0
"""Fixed views of the training images with what the frozen teacher says of each, on disk.

    python -m tools.views DATA --teacher ../shared/teachers/resnet50v2_imagenet.onnx

View 0 is the whole picture, the others are seen from elsewhere (`augment.change_viewpoint`). The
teacher sees each view clean, once; light and weather are the student's trouble alone, fresh at
each step. Shards of 1,000 views; an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np
import torch
from tqdm import tqdm

from ashtkd_ros.commands import run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.sources import read_image, read_source
from tools.augment import change_viewpoint
from tools.teacher import FrozenTeacher, regional_gem

SHARD = 1000
BATCH = 20


@dataclass(frozen=True)
class Views:
    """`jpegs`: n encoded 224 x 224 pictures; `teacher`: float16 (n, C); `whole`: bool (n,)."""

    jpegs: list[np.ndarray]
    teacher: np.ndarray
    whole: np.ndarray


def list_images(data: Path) -> list[Path]:
    """Every image that the index.csv sets under `data` list, sets in order of name."""
    sets = sorted(p.parent for p in Path(data).glob('*/index.csv'))
    if not sets:
        raise VprError(f'{data}: holds no folder with an index.csv; see the README on own data')
    return [frame.path for folder in sets for frame in read_source(folder)]


def make_views(
    data: Path, teacher: Path, out: Path, views: int = 4, size: int = 224, seed: int = 0
) -> int:
    """Write shards of views and teacher vectors to `out`; returns how many views there are."""
    images = list_images(data)
    # One pass over all images before the next: training can start on the first shards.
    jobs = [(path, view) for view in range(views) for path in images]
    order = np.random.default_rng(seed).permutation(len(images))
    jobs = [jobs[v * len(images) + i] for v in range(views) for i in order]
    network = FrozenTeacher(teacher)
    out.mkdir(parents=True, exist_ok=True)
    for start in tqdm(range(0, len(jobs), SHARD), unit='kviews', desc='views'):
        shard = out / f'{start // SHARD:04d}.npz'
        if not shard.exists():
            _write_shard(shard, jobs[start : start + SHARD], start, network, size, seed)
    return len(jobs)


def _write_shard(shard: Path, jobs: list, start: int, network, size: int, seed: int) -> None:
    def view(k: int) -> np.ndarray | None:
        path, number = jobs[k]
        try:
            image = read_image(path)
        except VprError as error:
            tqdm.write(f'skipped: {error}')
            return None
        if number == 0:
            return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        return change_viewpoint(image, np.random.default_rng((seed, start + k)), size)

    jpegs, vectors, whole = [], [], []
    with ThreadPoolExecutor(2) as pool:
        pictures = [(v, jobs[k][1] == 0) for k, v in enumerate(pool.map(view, range(len(jobs))))]
    pictures = [p for p in pictures if p[0] is not None]
    if not pictures:
        raise VprError(f'none of the {len(jobs)} images from {jobs[0][0]} on can be read')
    for i in range(0, len(pictures), BATCH):
        batch = [p for p, _ in pictures[i : i + BATCH]]
        x = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float() / 255
        vectors.append(regional_gem(network.feature_map(x)).half().numpy())
        whole += [is_whole for _, is_whole in pictures[i : i + BATCH]]
        options = [cv2.IMWRITE_JPEG_QUALITY, 92]
        jpegs += [
            cv2.imencode('.jpg', np.ascontiguousarray(b[..., ::-1]), options)[1] for b in batch
        ]
    lengths = np.array([len(j) for j in jpegs])
    arrays = {'bytes': np.concatenate(jpegs), 'lengths': lengths}
    arrays |= {'teacher': np.concatenate(vectors), 'whole': np.array(whole)}
    temporary = shard.with_suffix('.tmp')
    with temporary.open('wb') as file:
        np.savez(file, **arrays)
    temporary.replace(shard)


def load_views(folder: Path) -> Views:
    """All shards of a folder; VprError where there is none."""
    shards = sorted(Path(folder).glob('*.npz'))
    if not shards:
        raise VprError(f'{folder}: holds no views; make them with python -m tools.views')
    jpegs, teacher, whole = [], [], []
    for shard in shards:
        try:
            with np.load(shard) as arrays:
                jpegs += np.split(arrays['bytes'], np.cumsum(arrays['lengths'])[:-1])
                teacher.append(arrays['teacher'])
                whole.append(arrays['whole'])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise VprError(f'{shard}: is damaged; remove it and run tools.views again') from error
    return Views(jpegs, np.concatenate(teacher), np.concatenate(whole))


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data', type=Path, help='folder of index.csv sets')
    parser.add_argument('--teacher', type=Path, required=True, help='frozen network (.onnx)')
    parser.add_argument('-o', '--out', type=Path, default=Path('runs/views'))
    parser.add_argument('--views', type=int, default=4, help='views of each image')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args(argv)
    count = make_views(args.data, args.teacher, args.out, args.views, seed=args.seed)
    print(f'{count} views in {args.out}')
    return 0


if __name__ == '__main__':
    run_command(main)
