# SPDX-License-Identifier: Apache-2.0
"""From what is known of a match to a probability, by coefficients that come with the model."""

from __future__ import annotations

import math
from collections.abc import Mapping

DESCRIPTOR = ('similarity', 'margin', 'offset')  # weights where nothing is verified
VERIFIED_PREFIX = 'verified_'
VERIFIED = ('similarity', 'margin', 'lead', 'agreement', 'offset')  # where local features decided
COEFFICIENTS = (*DESCRIPTOR, *(VERIFIED_PREFIX + name for name in VERIFIED))
ON_THE_MAP = 0.9  # how often a robot is where its map has places, by which confidence is fitted
FEWEST = 30  # pictures of a map that can fit its confidence to itself
AT_MOST = 'at_most'  # a margin: local features make no answer surer than it is by that alone
LIMITED = 'limited'  # 1: values beyond `LIMITS` count as the limits
# Beyond these values the map's own pictures, synthetically changed, tell nothing of real ones.
LIMITS = {'margin': (-0.15, 0.2), 'lead': (-1.5, 1.2), 'agreement': (0.0, 0.6)}
_LARGEST = 200.0
_LIKE_NOTHING = {'similarity': 0.1, 'margin': 0.01}  # of any two images
_POOR, _MOST_OF_POOR = {'similarity': 0.3, 'margin': 0.03}, 0.9  # a poor match; its highest
_UNVERIFIED = {'lead': 0.0, 'agreement': 0.02}  # local features that say nothing


def check_coefficients(given: object) -> dict[str, float]:
    """The coefficients, {} if there are none; ValueError if they cannot come from a fit.

    They must be finite and of a usable size, and must not trust an image that is like no place.
    Those of verified answers, whose names begin with "verified_", may be missing.
    """
    if not isinstance(given, Mapping):
        raise ValueError('the calibration is not a table of numbers')
    if not given:
        return {}
    if set(given) - {LIMITED} not in (set(DESCRIPTOR), set(COEFFICIENTS)):
        raise ValueError(f'the calibration must name {", ".join(DESCRIPTOR)}')
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f'{name} of the calibration is not a number')
        if name == LIMITED and value not in (0, 1):
            raise ValueError(f'{LIMITED} of the calibration is {value}, not 0 or 1')
        if not abs(value) <= _LARGEST:  # NaN as well
            raise ValueError(f'{name} of the calibration is {value}, not within {_LARGEST:g}')
    known = {name: float(given[name]) for name in (*COEFFICIENTS, LIMITED) if name in given}
    if known.get(LIMITED):
        _check_limited(known)
        return known
    _check_sense(known, {}, {})
    if VERIFIED_PREFIX + 'lead' in known:
        _check_sense(known, _UNVERIFIED, {'lead': 3.0, 'agreement': 1.0})
    return known


def _check_limited(known: Mapping[str, float]) -> None:
    """ValueError for coefficients of a map's own calibration that trust what is like nothing, or
    do not rise."""
    least, most = ({name: LIMITS[name][k] for name in LIMITS} for k in (0, 1))
    for names in (('margin',), tuple(LIMITS)):
        if names != ('margin',) and VERIFIED_PREFIX + 'lead' not in known:
            continue
        low, high = ({'similarity': 0.0, **{n: of[n] for n in names}} for of in (least, most))
        if probability(low, known) > 0.5:
            raise ValueError('the calibration gives a high confidence without similarity')
        if probability(high, known) <= probability(low, known):
            raise ValueError('the confidence of the calibration falls as the similarity rises')


def _check_sense(
    known: Mapping[str, float], nothing: Mapping[str, float], all_of_it: Mapping[str, float]
) -> None:
    """ValueError for coefficients that trust what is like nothing, or do not rise.

    `nothing`, `all_of_it`: what local features say then, empty where they are not asked.
    """
    zero = {'similarity': 0.0, 'margin': 0.0, **nothing}
    least = probability(zero, known)
    if max(least, probability({**_LIKE_NOTHING, **nothing}, known)) > 0.5:
        raise ValueError('the calibration gives a high confidence without similarity')
    if probability({**_POOR, **nothing}, known) > _MOST_OF_POOR:
        raise ValueError('the calibration gives a high confidence to a poor match')
    if probability({'similarity': 1.0, 'margin': 1.0, **all_of_it}, known) <= least:
        raise ValueError('the confidence of the calibration falls as the similarity rises')


def probability(known: Mapping[str, float], coefficients: Mapping[str, float]) -> float:
    """Confidence in [0, 1]: sigmoid of the sum of coefficient * value, and of the offset.

    `known`: `similarity` and `margin` of a match, of a verified one also `lead` and `agreement`.
    Without coefficients for a verified match it is judged as one that is not; with `AT_MOST` it
    is no surer than one that is not and has that margin. Without any, the confidence is the
    similarity, limited to [0, 1]. ValueError if the sum is not finite: the limits would make it 0
    or 1.
    """
    if AT_MOST in known and 'lead' in known:
        plain = {'similarity': known['similarity'], 'margin': known[AT_MOST]}
        surest = probability(plain, coefficients)
        others = {name: value for name, value in known.items() if name != AT_MOST}
        return min(surest, probability(others, coefficients))
    if not coefficients:
        x, low, high = known['similarity'], 0.0, 1.0
    else:
        verified = 'lead' in known and VERIFIED_PREFIX + 'lead' in coefficients
        names, prefix = (VERIFIED, VERIFIED_PREFIX) if verified else (DESCRIPTOR, '')
        values = limited(known) if coefficients.get(LIMITED) else known
        x = sum(coefficients[prefix + name] * values.get(name, 1.0) for name in names)
        low, high = -50.0, 50.0
    if not math.isfinite(x):
        raise ValueError(f'{dict(known)} gives no confidence')
    x = min(high, max(low, x))
    return 1.0 / (1.0 + math.exp(-x)) if coefficients else x


def limited(known: Mapping[str, float]) -> dict[str, float]:
    """The same values within `LIMITS`; what is not a number stays so."""
    return {
        name: min(max(value, LIMITS[name][0]), LIMITS[name][1]) if name in LIMITS else value
        for name, value in known.items()
    }
