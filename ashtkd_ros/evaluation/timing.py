# SPDX-License-Identifier: Apache-2.0
"""How long recognition takes, and how many images a node answered."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.recognition.matcher import Matcher
from ashtkd_ros.sampling import thin
from ashtkd_ros.traverses.frame import Frame

_TIMED = 100  # images that are timed
_STAGES = ('decode', 'embed', 'match', 'verify', 'all stages')


@dataclass(frozen=True)
class Timing:
    """Percentiles, in milliseconds, of `n` durations of one stage."""

    p50: float
    p95: float
    p99: float
    n: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        """The percentiles of at least one duration in seconds."""
        p50, p95, p99 = (float(p) for p in 1000 * np.percentile(seconds, (50, 95, 99)))
        return cls(p50, p95, p99, len(seconds))


@dataclass(frozen=True)
class Traffic:
    """Number of images that were sent to the node, that it answered, and that it dropped."""

    sent: int
    answered: int
    dropped: int


def measure_stages(
    embedder: Embedder, matcher: Matcher, frames: Sequence[Frame]
) -> dict[str, Timing]:
    """Durations of the stages for some of the frames, one image after the other as in a node.

    The network of `embedder` is opened again for it, with all cores for one image. `verify` is
    there where local features decide among the candidates, and is not in `match`.
    """
    embedder = Embedder(embedder.path, embedder.options.providers)
    stages: dict[str, list[float]] = {name: [] for name in _STAGES}
    for i in thin(len(frames), _TIMED):
        times = [time.perf_counter()]
        pixels, order = frames[i].pixels(embedder.ample_size)
        times.append(time.perf_counter())
        look = embedder.describe(pixels, order)
        times.append(time.perf_counter())
        verify_s = matcher.answer(look).verify_s
        times.append(time.perf_counter())
        decode_s, embed_s, match_s = np.diff(times).tolist()
        taken = (decode_s, embed_s, match_s - verify_s, verify_s, times[-1] - times[0])
        for stage, seconds in zip(stages, taken, strict=True):
            stages[stage].append(seconds)
    if not any(stages['verify']):
        del stages['verify']
    return {stage: Timing.of(seconds) for stage, seconds in stages.items()}
