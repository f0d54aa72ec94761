# SPDX-License-Identifier: Apache-2.0
"""Image → recognition: the whole pipeline that node, demo and evaluation share."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ashtkd_ros.embedder import Embedder
from ashtkd_ros.errors import VprError
from ashtkd_ros.matcher import Candidate, Matcher, MatcherConfig
from ashtkd_ros.place_map import Place, PlaceMap
from ashtkd_ros.sources import Frame

_BATCH = 16


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
        min_confidence: float = 0.5,
    ):
        self.embedder, self.matcher = embedder, Matcher(place_map, config)
        self.min_confidence = min_confidence

    def recognise(self, image: np.ndarray, order: str = 'RGB') -> Recognition:
        """uint8 (H, W, 3) in `order`, or (H, W) grey → Recognition."""
        started = time.perf_counter()
        descriptor = self.embedder.embed(image, order)
        embedded = time.perf_counter()
        candidates = self.matcher.match(descriptor)
        matched = time.perf_counter()
        best = candidates[0].confidence
        refusal = ''
        if best < self.min_confidence:
            refusal = f'confidence {best:.2f} is below min_confidence {self.min_confidence:.2f}'
        return Recognition(
            candidates, not refusal, refusal, embedded - started, matched - embedded
        )


def embed_frames(embedder: Embedder, frames: Iterable[Frame], what: str) -> np.ndarray:
    """Descriptors float32 (N, D) of the frames, with a progress bar named `what`."""
    frames = list(frames)
    parts = []
    with tqdm(total=len(frames), desc=what, unit='frame', delay=2, disable=None) as bar:
        for start in range(0, len(frames), _BATCH):
            batch = frames[start : start + _BATCH]
            parts.append(embedder.embed_batch(frame.read() for frame in batch))
            bar.update(len(batch))
    return np.concatenate(parts)


def map_frames(embedder: Embedder, frames: list[Frame], source: Path) -> PlaceMap:
    """Every frame becomes a place."""
    if not frames:
        raise VprError(f'{source}: lists no image; a map needs at least one')
    places = [Place.from_frame(i, frame, source) for i, frame in enumerate(frames)]
    descriptors = embed_frames(embedder, frames, 'map')
    return PlaceMap.build(descriptors, places, embedder, source=str(source.resolve()))
