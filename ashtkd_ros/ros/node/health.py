# SPDX-License-Identifier: Apache-2.0
"""What the node tells of itself on /diagnostics."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from ashtkd_ros.recognition.recogniser import Recognition

_WINDOW = 200
_RATE_S = 5.0
# A jump ahead is more than the time that passed, were it a recording played so many times as fast.
_JUMP_S, _FASTEST_REPLAY = 10.0, 20.0
_LATELY_S = 10.0


class Health:
    """Counts since the node started, latencies of the last images.

    The receiver counts what comes, the worker what becomes of it.
    """

    def __init__(self):
        self.received = self.processed = self.dropped = self.unknown = self.skipped = 0
        self.bad: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.fault = self.last_error = self.refusal = ''
        self.failures = self.stamps_back = self.stamps_ahead = 0
        self.similarity = self.margin = self.confidence = float('nan')
        self._latencies: deque[float] = deque(maxlen=_WINDOW)
        # Seconds of the last images: decoded and resized, embedded, all else in the worker.
        self.stages: deque[tuple[float, float, float]] = deque(maxlen=_WINDOW)
        self._jump, self._jumped_at = '', -math.inf
        self._last_stamp = -1.0
        self.begin()
        self._ticks: deque[tuple[float, int, int]] = deque(maxlen=30)

    def begin(self) -> None:
        """The node was activated: no image has come since."""
        self._last_image: float | None = None
        self._begun = self._answered_at = time.monotonic()
        self.fault, self.place = '', 'none'

    def saw_image(self, stamp_s: float) -> None:
        """An image message arrived."""
        now = time.monotonic()
        if stamp_s > 0.0 and self._last_stamp > 0.0:
            ahead = stamp_s - self._last_stamp
            elapsed = now - (self._last_image or -math.inf)
            if ahead < 0.0:
                self.stamps_back += 1
                self._jump, self._jumped_at = f'back by {-ahead:.1f} s', now
            elif ahead > _JUMP_S + _FASTEST_REPLAY * elapsed:
                self.stamps_ahead += 1
                self._jump, self._jumped_at = f'ahead by {ahead:.1f} s', now
        self.received += 1
        self._last_image, self._last_stamp = now, stamp_s

    @property
    def jump(self) -> str:
        """What the images' clock did lately; '' when nothing."""
        lately = time.monotonic() - self._jumped_at < _LATELY_S
        return f"the images' stamps jumped {self._jump}" if lately else ''

    @property
    def unanswered_s(self) -> float:
        """Seconds since the last answer, or since the node was activated."""
        return time.monotonic() - self._answered_at

    def saw_error(self, kind: str, text: str) -> None:
        """A message could not be used: counted under `kind`, `text` kept."""
        self.bad[kind] += 1
        self.last_error = text

    def saw_fault(self, kind: str, seconds: float) -> None:
        """The camera gave an image of no use, which was answered with "unknown"."""
        self.faults[kind] += 1
        self.fault = self.refusal = kind
        self.processed += 1
        self.unknown += 1
        self.place, self._answered_at = 'unknown', time.monotonic()
        self._latencies.append(seconds)

    def answered(self, recognition: Recognition, seconds: float) -> None:
        """A place message went out, `seconds` after its image came in."""
        self.processed += 1
        self.unknown += not recognition.accepted
        self.refusal, self.fault, self.failures = recognition.refusal, '', 0
        best = recognition.candidates[0]
        self.similarity, self.margin = best.similarity, best.margin
        self.confidence = best.confidence
        self.place = str(best.place.id) if recognition.accepted else 'unknown'
        self._answered_at = time.monotonic()
        self._latencies.append(seconds)

    @property
    def silence_s(self) -> float:
        """Seconds since the last image; infinite when none has come."""
        return np.inf if self._last_image is None else time.monotonic() - self._last_image

    @property
    def waiting_s(self) -> float:
        """Seconds since the last image, or since the node was activated."""
        since = self._begun if self._last_image is None else self._last_image
        return time.monotonic() - since

    def _rates(self) -> tuple[float, float]:
        """Images and answers a second over the last seconds."""
        now = time.monotonic()
        self._ticks.append((now, self.received, self.processed))
        old = next(t for t in self._ticks if now - t[0] <= _RATE_S + 0.5)
        seconds = max(now - old[0], 1e-3)
        return (self.received - old[1]) / seconds, (self.processed - old[2]) / seconds

    def message(
        self,
        name: str,
        state: str,
        facts: Mapping[str, object],
        errors: Sequence[str],
        warnings: Sequence[str],
        stamp,
    ) -> DiagnosticArray:
        """One status: ERROR where `errors` holds a reason, WARN where `warnings` does, else OK."""
        level = DiagnosticStatus.OK
        if errors or warnings:
            level = DiagnosticStatus.ERROR if errors else DiagnosticStatus.WARN
        # Taken once: the worker adds kinds meanwhile.
        bad, faults = dict(self.bad), dict(self.faults)
        p50, p95 = np.percentile(list(self._latencies) or [np.nan], (50, 95)) * 1000
        decode, embed, rest = 1000 * np.median(list(self.stages) or [(np.nan,) * 3], axis=0)
        image_hz, place_hz = self._rates()
        values = {
            'state': state,
            **facts,
            'images received': self.received,
            'images received Hz': f'{image_hz:.1f}',
            'places published': self.processed,
            'places published Hz': f'{place_hz:.1f}',
            'unknown places': self.unknown,
            'images dropped': self.dropped,
            'images above max_rate_hz': self.skipped,
            'stamps going back': self.stamps_back,
            'stamps jumping ahead': self.stamps_ahead,
            'bad images': sum(bad.values()),
            **{f'bad images: {kind}': n for kind, n in bad.items()},
            'camera faults': sum(faults.values()),
            **{f'camera faults: {kind}': n for kind, n in faults.items()},
            'last error': self.last_error,
            'place': self.place if state == 'active' and self.silence_s < _LATELY_S else 'none',
            'last refusal': self.refusal,
            'last confidence': f'{self.confidence:.3f}',
            'last similarity': f'{self.similarity:.3f}',
            'last margin': f'{self.margin:.3f}',
            'latency p50 ms': f'{p50:.1f}',
            'latency p95 ms': f'{p95:.1f}',
            'decode p50 ms': f'{decode:.1f}',
            'embed p50 ms': f'{embed:.1f}',
            'rest p50 ms': f'{rest:.1f}',
            'seconds since last image': f'{self.silence_s:.1f}',
        }
        pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        text = '; '.join([*errors, *warnings]) or state
        status = DiagnosticStatus(level=level, name=name, message=text, values=pairs)
        message = DiagnosticArray(status=[status])
        message.header.stamp = stamp
        return message
