# SPDX-License-Identifier: Apache-2.0
"""Many images → descriptors, one image on each core at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.traverses.frame import Frame

_MOST_WORKERS = 256  # more only fill the memory with images
_Tag, _Result = TypeVar('_Tag'), TypeVar('_Result')


def worker_count(workers: int = 0) -> int:
    """The number of threads that `workers` of `in_parallel` stands for."""
    return min(workers or os.cpu_count() or 1, _MOST_WORKERS)


def in_parallel(
    work: Callable[..., _Result], jobs: Iterable[tuple[_Tag, tuple]], workers: int = 0
) -> Iterator[tuple[_Tag, _Result]]:
    """For each job (tag, arguments), in order: the tag and what `work(*arguments)` returns.

    `workers`: number of threads; 0: one for each core. With `Embedder.embed` of a network that was
    opened with num_threads=1, one image on each core is faster than a batch on all cores, and no
    descriptor depends on its neighbours. Only a few jobs are taken in advance, so that the memory
    in use does not grow with the length of a traverse.
    """
    workers = worker_count(workers)
    waiting: deque[tuple[_Tag, Future]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for tag, arguments in jobs:
                waiting.append((tag, pool.submit(work, *arguments)))
                if len(waiting) > 2 * workers:
                    tag, future = waiting.popleft()
                    yield tag, future.result()
            while waiting:
                tag, future = waiting.popleft()
                yield tag, future.result()
        finally:  # an error among the jobs: what is left need not be computed
            for _, future in waiting:
                future.cancel()


def embed_frames(
    embedder: Embedder, frames: Iterable[Frame], what: str, workers: int = 0
) -> np.ndarray:
    """Descriptors float32 (N, D) of the frames, with a progress bar named `what`."""
    frames = list(frames)
    with tqdm(total=len(frames), desc=what, unit='frame', delay=2, disable=None) as bar:
        jobs = ((None, frame.pixels()) for frame in frames)
        descriptors = []
        for _, descriptor in in_parallel(embedder.embed, jobs, workers):
            descriptors.append(descriptor)
            bar.update()
    return np.stack(descriptors)
