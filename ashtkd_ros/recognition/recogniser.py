# SPDX-License-Identifier: Apache-2.0
"""Image → recognition: the whole pipeline that node, demo and evaluation share."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.recognition.matcher import Candidate, Matcher, MatcherConfig
from ashtkd_ros.traverses.image_folder import Frame

MIN_CONFIDENCE = 0.5  # the default: an answer with a lower confidence is "unknown"
_MOST_WORKERS = 256  # more only fill the memory with images
_Tag, _Result = TypeVar('_Tag'), TypeVar('_Result')


@dataclass(frozen=True)
class Recognition:
    """`candidates` best first; `accepted` tells whether the best is trusted, `refusal` why not.

    `embed_s` and `match_s`: seconds that preprocessing with inference, and matching, took.
    """

    candidates: list[Candidate]
    accepted: bool
    refusal: str
    embed_s: float
    match_s: float


class Recogniser:
    """A network and the map it made; a match below `min_confidence` is an unknown place."""

    def __init__(
        self,
        embedder: Embedder,
        place_map: PlaceMap,
        config: MatcherConfig | None = None,
        min_confidence: float = MIN_CONFIDENCE,
    ):
        self.embedder, self.matcher = embedder, Matcher(place_map, config)
        self.min_confidence = min_confidence

    def recognise(
        self,
        image: np.ndarray,
        order: str = 'RGB',
        top_k: int | None = None,
        min_confidence: float | None = None,
    ) -> Recognition:
        """uint8 (H, W, 3) in `order`, or (H, W) grey → Recognition; `top_k` and `min_confidence`
        for this image only.

        VprError where the network gives no vector of length 1.
        """
        least = self.min_confidence if min_confidence is None else min_confidence
        started = time.perf_counter()
        descriptor = self.embedder.embed(image, order)
        embedded = time.perf_counter()
        candidates = self.matcher.match(descriptor, top_k)
        matched = time.perf_counter()
        best = candidates[0].confidence
        refusal = ''
        if best < least:
            refusal = f'confidence {best:.2f} is below min_confidence {least:.2f}'
        return Recognition(
            candidates, not refusal, refusal, embedded - started, matched - embedded
        )


def in_parallel(
    work: Callable[..., _Result], jobs: Iterable[tuple[_Tag, tuple]], workers: int = 0
) -> Iterator[tuple[_Tag, _Result]]:
    """(anything, arguments) → (the same, work(*arguments)), in order, `workers` (0: one a core).

    For `Embedder.embed`: one image a time on each core is faster than a batch on all, given a
    network opened with num_threads=1, and no descriptor depends on its neighbours. A few jobs are
    taken ahead, no more, so that a long traverse needs no memory.
    """
    workers = min(workers or os.cpu_count() or 1, _MOST_WORKERS)
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
        found = []
        for _, descriptor in in_parallel(embedder.embed, jobs, workers):
            found.append(descriptor)
            bar.update()
    return np.stack(found)
