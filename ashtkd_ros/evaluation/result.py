# SPDX-License-Identifier: Apache-2.0
"""The result of an evaluation: all that a report tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ashtkd_ros.evaluation.ground_truth import JudgedQuery
from ashtkd_ros.evaluation.metrics import Calibration, Metrics
from ashtkd_ros.evaluation.timing import Timing, Traffic

SINGLE = 'single images'  # the method of the map: answers as a node gives them
FOLLOWED = 'sequence filter'  # answers that know the images before
WINDOW = 'fixed window'  # its baseline: single images added up along the route
UNCALIBRATED = 'uncalibrated'  # the same answers, weights the map has not fitted to itself
ALONE = 'descriptor alone'  # the same without verification by local features


@dataclass(frozen=True)
class Evaluation:
    """All that a report tells.

    `facts`: name → value, how it was measured. `methods`: name → figures, the map's own first.
    `reliability`: the same names, of those whose score is a probability. `judged`: the queries,
    judged by the first method. `min_confidence`: an answer with a lower confidence counts as
    unknown, [0, 1]. `similarity`: float32 (q, n) of evenly spread queries and places, or None.
    `timing`: stage → durations. `notes`: what the user should know, a line each. `machine`: what
    the durations were measured on. `starts`: first stamp in seconds of each traverse of the map by
    its number, and of the queries under None.
    """

    title: str
    facts: Mapping[str, str]
    methods: Mapping[str, Metrics]
    judged: Sequence[JudgedQuery]
    min_confidence: float
    similarity: np.ndarray | None
    timing: Mapping[str, Timing]
    traffic: Traffic | None
    notes: Sequence[str]
    machine: Mapping[str, str] = field(default_factory=dict)
    starts: Mapping[int | None, float] = field(default_factory=dict)
    reliability: Mapping[str, Calibration] = field(default_factory=dict)
