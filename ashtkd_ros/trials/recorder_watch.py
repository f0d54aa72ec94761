# SPDX-License-Identifier: Apache-2.0
"""Watches the recorder by its diagnostics."""

from __future__ import annotations

from collections import deque

from ashtkd_ros.text import counted
from ashtkd_ros.trials.moment import Clocks, Moment
from ashtkd_ros.trials.trial_log import LogEntry
from ashtkd_ros.trials.vocabulary import (
    CANNOT_WRITE,
    DISK_FULL,
    DISK_LOW,
    FAILED,
    MESSAGES_LOST,
    RECORDER_BACK,
    RECORDER_LOST,
)

_BAD = (DISK_FULL, CANNOT_WRITE, FAILED)  # states of a recorder that does not record
_SILENT_S, _FIRST_S = 3.0, 30.0  # without a word; a recorder may start slowly
_LOW_MINUTES, _MEASURED_S = 5.0, 20.0
_QUIET_S = 10.0  # between two entries about lost messages


class RecorderWatch:
    """`expected`: whether there is to be a recorder at all."""

    def __init__(self, clocks: Clocks, expected: bool):
        self._clocks, self._expected = clocks, expected
        self._last: float | None = None
        self._lost_since: float | None = None
        self._low = self._was_bad = False
        self._lost, self._told = 0, None  # the first that is heard of was told before
        self._told_at = -_QUIET_S
        self._written: deque[tuple[float, int]] = deque(maxlen=60)

    def resume(self, since: float) -> None:
        """It had ended to record already, at `since`."""
        self._lost_since = since

    def status(
        self, state: str, lost: int, written: int, free_mb: float | None, at: Moment
    ) -> list[LogEntry]:
        """What the recorder says of itself once a second; `written`: bytes in all."""
        now, bad = self._clocks.awake_s, state in _BAD
        self._last = now
        entries = self._trouble(state, bad, now, at)
        losses = self._messages(lost, bad or self._was_bad, now, at)
        self._was_bad = bad
        return [*entries, *losses, *self._room(written, free_mb, bad, now, at)]

    def _trouble(self, state: str, bad: bool, now: float, at: Moment) -> list[LogEntry]:
        """One event where recording ends, for whatever reason, and one when it goes on."""
        if bad and self._lost_since is None:
            self._lost_since = now
            if state == DISK_FULL:
                text = 'the disk is full: NOTHING MORE IS RECORDED; make room on it'
                return [at.entry(DISK_FULL, text)]
            text = f'the recorder says "{state}": NOTHING IS RECORDED'
            return [at.entry(RECORDER_LOST, text, seconds=0.0)]
        if bad or self._lost_since is None:
            return []
        lost, self._lost_since = now - self._lost_since, None
        text = f'the recorder records again, after {lost:.1f} s'
        return [at.entry(RECORDER_BACK, text, seconds=round(lost, 1))]

    def _messages(self, lost: int, bad: bool, now: float, at: Moment) -> list[LogEntry]:
        """MESSAGES_LOST once for many; a recorder that is started again counts from zero. What
        is lost while it cannot write is told by that."""
        if self._told is None:
            self._told = lost
        if lost < self._lost:
            self._told = 0
        self._lost, self._told = lost, lost if bad else self._told
        more = lost - self._told
        if more <= 0 or now - self._told_at < _QUIET_S:
            return []
        self._told, self._told_at = lost, now
        text = f'the recorder has lost {counted(more, "message")}, {lost} in all; the machine or '
        text += 'its disk is too slow'
        return [at.entry(MESSAGES_LOST, text, messages=more, in_all=lost)]

    def _room(
        self, written: int, free_mb: float | None, bad: bool, now: float, at: Moment
    ) -> list[LogEntry]:
        if self._written and written < self._written[-1][1]:
            self._written.clear()
        self._written.append((now, written))
        since, before = self._written[0]
        passed = now - since
        if free_mb is None or bad or passed < _MEASURED_S or written <= before:
            return []
        minutes = free_mb * 1e6 / ((written - before) / passed) / 60.0
        if minutes > _LOW_MINUTES:
            self._low = self._low and minutes < 2.0 * _LOW_MINUTES
            return []
        if self._low:
            return []
        self._low = True
        text = f'the disk has {free_mb:.0f} MB left, which are {minutes:.1f} minutes; make room'
        return [at.entry(DISK_LOW, text, free_mb=round(free_mb), minutes=round(minutes, 1))]

    def tick(self, at: Moment) -> list[LogEntry]:
        """Whether it has gone silent."""
        now = self._clocks.awake_s
        silence = now if self._last is None else now - self._last
        limit = _FIRST_S if self._last is None else _SILENT_S
        if not self._expected or self._lost_since is not None or silence <= limit:
            return []
        self._lost_since = now - silence
        text = f'the recorder has said nothing for {silence:.1f} s: perhaps NOTHING IS RECORDED'
        return [at.entry(RECORDER_LOST, text, seconds=round(silence, 1))]
