# SPDX-License-Identifier: Apache-2.0
"""What the node tells of itself on /diagnostics."""

from __future__ import annotations

import time
from collections import Counter, deque

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from ashtkd_ros.recogniser import Recognition

_WINDOW = 200


class Health:
    """Counts since the node started, latencies of the last images; written by one thread each."""

    def __init__(self):
        self.received = self.processed = self.dropped = self.unknown = 0
        self.bad: Counter[str] = Counter()
        self.last_error = self.refusal = ''
        self.similarity = self.margin = float('nan')
        self._latencies: deque[float] = deque(maxlen=_WINDOW)
        self._last_image = None

    def saw_image(self) -> None:
        """An image message arrived."""
        self.received += 1
        self._last_image = time.monotonic()

    def saw_error(self, kind: str, text: str) -> None:
        """A message could not be used: counted under `kind`, `text` kept."""
        self.bad[kind] += 1
        self.last_error = text

    def answered(self, recognition: Recognition, seconds: float) -> None:
        """A place message went out, `seconds` after its image came in."""
        self.processed += 1
        self.unknown += not recognition.accepted
        self.refusal = recognition.refusal
        best = recognition.candidates[0]
        self.similarity, self.margin = best.similarity, best.margin
        self._latencies.append(seconds)

    @property
    def silence_s(self) -> float:
        """Seconds since the last image; infinite when none has come."""
        return np.inf if self._last_image is None else time.monotonic() - self._last_image

    def message(self, name: str, state: str, facts: dict[str, str], warn_after_s: float, stamp):
        """DiagnosticArray with one status: ERROR when not configured, WARN when no image comes."""
        level, text = DiagnosticStatus.OK, state
        if state == 'unconfigured':
            level, text = DiagnosticStatus.ERROR, self.last_error or 'not configured'
        elif state == 'active' and self.silence_s > warn_after_s:
            seen = self._last_image is not None
            text = f'no image for {self.silence_s:.1f} s' if seen else 'no image yet'
            level = DiagnosticStatus.WARN
        bad = dict(self.bad)  # the worker adds kinds meanwhile
        p50, p95 = np.percentile(list(self._latencies) or [np.nan], (50, 95)) * 1000
        values = {
            'state': state,
            **facts,
            'images received': self.received,
            'places published': self.processed,
            'unknown places': self.unknown,
            'images dropped': self.dropped,
            'bad images': sum(bad.values()),
            **{f'bad images: {kind}': n for kind, n in bad.items()},
            'last error': self.last_error,
            'last refusal': self.refusal,
            'last similarity': f'{self.similarity:.3f}',
            'last margin': f'{self.margin:.3f}',
            'latency p50 ms': f'{p50:.1f}',
            'latency p95 ms': f'{p95:.1f}',
            'seconds since last image': f'{self.silence_s:.1f}',
        }
        pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        status = DiagnosticStatus(level=level, name=name, message=text, values=pairs)
        message = DiagnosticArray(status=[status])
        message.header.stamp = stamp
        return message
