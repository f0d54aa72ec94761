# SPDX-License-Identifier: Apache-2.0
"""Watches what tells where the robot is: satellite fixes and odometry."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ashtkd_ros.geometry.geodesy import geodetic_to_ecef
from ashtkd_ros.trials.arrivals import Arrivals
from ashtkd_ros.trials.moment import Clocks, Moment
from ashtkd_ros.trials.trial_log import LogEntry
from ashtkd_ros.trials.vocabulary import (
    GNSS_BACK,
    GNSS_JUMP,
    GNSS_LOST,
    ODOMETRY_BACK,
    ODOMETRY_STOPPED,
)

FASTEST_M_S = 30.0
_LOST_S = 3.0
_UNKNOWN_M = 5.0  # accuracy of a fix that tells none, one standard deviation
_MARGIN_M, _DRIFT = 2.0, 1.3  # beyond accuracies; wheels may measure too little
_QUIET_S = 5.0  # between two jumps that are told
_LATE_S = 2.0  # after a stutter, when all that waited comes at once


class RobotWatch:
    """Fixes are compared with the one before: further than odometry and accuracies allow?"""

    def __init__(self, clocks: Clocks):
        self._clocks = clocks
        self.fixes, self.odometry_messages = Arrivals(_LOST_S), Arrivals()
        self._fix: tuple[np.ndarray, float, float, bool] | None = None
        self._jumped = -math.inf
        self._pose: tuple[float, float] | None = None
        self._metres = 0.0  # since the last fix

    def fix(self, lat: float, lon: float, accuracy_m: float, at: Moment) -> list[LogEntry]:
        """A position on earth."""
        now, entries = self._clocks.awake_s, []
        if lost := self.fixes.arrived(now):
            text = f'satellite fixes come again after {lost:.1f} s'
            entries.append(at.entry(GNSS_BACK, text, seconds=round(lost, 1)))
        accuracy = accuracy_m if accuracy_m > 0 else _UNKNOWN_M  # NaN: not known
        known = self._pose is not None and self.odometry_messages.silence(now) < 1.0
        driven, self._metres = self._metres, 0.0
        place = geodetic_to_ecef(np.array([lat, lon, 0.0]))
        before, self._fix = self._fix, (place, accuracy, now, known)
        late = now - self._clocks.stuttered < _LATE_S  # and some never came
        if before is None or late or now - self._jumped < _QUIET_S:
            return entries
        moved, seconds = float(np.linalg.norm(place - before[0])), now - before[2]
        whose, way = f'{FASTEST_M_S:g} m/s', FASTEST_M_S * seconds
        if known and before[3]:
            whose, way = 'the odometry', _DRIFT * driven
        allowed = way + 3.0 * math.hypot(accuracy, before[1]) + _MARGIN_M
        if moved <= allowed:
            return entries
        self._jumped = now
        text = f'the satellite position jumped by {moved:.1f} m in {seconds:.1f} s; {whose} and '
        text += f'its accuracy of {accuracy:.1f} m allow {allowed:.1f} m'
        values = {'metres': round(moved, 1), 'seconds': round(seconds, 2)}
        return [*entries, at.entry(GNSS_JUMP, text, **values)]

    def odometry(self, x: float, y: float, at: Moment) -> list[LogEntry]:
        """A pose of the wheels, in their own frame."""
        lost = self.odometry_messages.arrived(self._clocks.awake_s)
        before, self._pose = self._pose, (x, y)
        if before is not None:
            self._metres += math.dist(before, self._pose)
        if not lost:
            return []
        text = f'odometry comes again after {lost:.1f} s'
        return [at.entry(ODOMETRY_BACK, text, seconds=round(lost, 1))]

    def tick(self, at: Moment) -> list[LogEntry]:
        """What did not come."""
        now, entries = self._clocks.awake_s, []
        if self.fixes.stops(now):
            silence = self.fixes.silence(now)
            text = f'no satellite fix for {silence:.1f} s; the truth has a gap here'
            entries.append(at.entry(GNSS_LOST, text, seconds=round(silence, 1)))
        if self.odometry_messages.stops(now):
            silence = self.odometry_messages.silence(now)
            text = f'no odometry for {silence:.1f} s; check its driver'
            entries.append(at.entry(ODOMETRY_STOPPED, text, seconds=round(silence, 1)))
        return entries


def accuracy_m(covariance: Sequence[float], kind: int) -> float:
    """One standard deviation of a NavSatFix's horizontal position, metres; NaN if not known.

    `covariance`: the nine numbers, row by row; `kind`: position_covariance_type.
    """
    largest = max(covariance[0], covariance[4]) if kind else math.nan
    return math.sqrt(largest) if largest >= 0 else math.nan
