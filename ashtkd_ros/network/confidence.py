# SPDX-License-Identifier: Apache-2.0
"""From similarity and margin to a probability, by coefficients that come with the model."""

from __future__ import annotations

import math
from collections.abc import Mapping

COEFFICIENTS = ('similarity', 'margin', 'offset')
_LARGEST = 200.0
_LIKE_NOTHING = (0.1, 0.01)  # similarity and margin of any two images
_POOR, _MOST_OF_POOR = (
    (0.3, 0.03),
    0.9,
)  # of a poor match; its highest confidence


def check_coefficients(given: object) -> dict[str, float]:
    """The coefficients, {} if there are none; ValueError if they cannot come from a fit.

    They must be finite and of a usable size, and must not trust an image that is like no place.
    """
    if not isinstance(given, Mapping):
        raise ValueError('the calibration is not a table of numbers')
    if not given:
        return {}
    if set(given) != set(COEFFICIENTS):
        raise ValueError(f'the calibration must name {", ".join(COEFFICIENTS)}')
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f'{name} of the calibration is not a number')
        if not abs(value) <= _LARGEST:  # NaN as well
            raise ValueError(f'{name} of the calibration is {value}, not within {_LARGEST:g}')
    known = {name: float(given[name]) for name in COEFFICIENTS}
    if max(probability(0.0, 0.0, known), probability(*_LIKE_NOTHING, known)) > 0.5:
        raise ValueError('the calibration gives a high confidence without similarity')
    if probability(*_POOR, known) > _MOST_OF_POOR:
        raise ValueError('the calibration gives a high confidence to a poor match')
    if probability(1.0, 1.0, known) <= probability(0.0, 0.0, known):
        raise ValueError('the confidence of the calibration falls as the similarity rises')
    return known


def probability(similarity: float, margin: float, coefficients: Mapping[str, float]) -> float:
    """Confidence in [0, 1]: sigmoid(a * similarity + b * margin + c), with COEFFICIENTS a, b, c.

    Without coefficients it is the similarity, limited to [0, 1]. ValueError if the sum is not
    finite: the limits would make it 0 or 1.
    """
    if not coefficients:
        x = similarity
        low, high = 0.0, 1.0
    else:
        a, b, c = (coefficients[name] for name in COEFFICIENTS)
        x = a * similarity + b * margin + c
        low, high = -50.0, 50.0
    if not math.isfinite(x):
        raise ValueError(f'similarity {similarity} and margin {margin} give no confidence')
    x = min(high, max(low, x))
    return 1.0 / (1.0 + math.exp(-x)) if coefficients else x
