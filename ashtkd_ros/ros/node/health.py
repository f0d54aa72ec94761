# SPDX-License-Identifier: Apache-2.0
"""What the node counts and measures, and the message about it on /diagnostics."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from ashtkd_ros.recognition.following import Followed
from ashtkd_ros.recognition.matcher import Candidate, Check
from ashtkd_ros.recognition.recogniser import Recognition

_WINDOW = 200
_RATE_S = 5.0
# Stamps jump ahead if they advance more than a recording would at this many times its speed.
_JUMP_S, _FASTEST_REPLAY = 10.0, 20.0
_LATELY_S = 10.0


class Health:
    """Counts since the node started, and latencies of the last images.

    The thread that receives counts the images, the thread that recognises counts the answers.
    """

    def __init__(self):
        self.received = self.processed = self.dropped = self.unknown = self.skipped = 0
        self.bad: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.last_error = ''
        self.failures = self.stamps_back = self.stamps_ahead = 0
        self._latencies: deque[float] = deque(maxlen=_WINDOW)
        # Seconds for each of the last images: decoding and resizing, embedding, verifying, rest.
        self.stages: deque[tuple[float, float, float, float]] = deque(maxlen=_WINDOW)
        self.moved = ''  # metres between the last two images, empty without odometry
        self.prior = ''  # what it meant for the last image, empty without prior_topic
        self.jumps = 0  # of the best place, to one that the robot cannot have reached
        self.verify_faults = 0  # of the last answers, all of which should have been verified
        self._jump, self._jumped_at = '', -math.inf
        self._last_stamp = -1.0
        self.begin()
        self._ticks: deque[tuple[float, int, int]] = deque(maxlen=30)

    def begin(self) -> None:
        """The node is being activated: no image has come yet."""
        self._last_image: float | None = None
        self._begun = time.monotonic()
        self.forget()

    def forget(self) -> None:
        """What was said of the last image is no longer true."""
        self._settle()
        self._forget_answer()

    def _settle(self) -> None:
        """No image waits for an answer."""
        self.unused = ''  # why images after the last answer were not used
        self._owed: tuple[float, float] | None = None  # when the first one came, and its stamp

    def _forget_answer(self) -> None:
        self.fault, self.refusal, self.place, self.place_name = '', '', 'none', ''
        self.similarity = self.margin = self.confidence = math.nan
        self.check: Check | None = None
        self.single: Candidate | None = None  # of the last image alone, in a sequence
        self.followed: Followed | None = None

    def count_image(self, stamp_s: float) -> None:
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
        if self._owed is None:
            self._owed = now, stamp_s

    @property
    def jump(self) -> str:
        """How the stamps of the images jumped lately; empty if they did not."""
        lately = time.monotonic() - self._jumped_at < _LATELY_S
        return f"the images' stamps jumped {self._jump}" if lately else ''

    @property
    def unstamped(self) -> bool:
        """Whether the last image had no stamp."""
        return self._last_stamp == 0.0

    @property
    def unanswered_s(self) -> float:
        """Seconds since the first image that came after the last answer; 0 if none has come."""
        owed = self._owed
        return 0.0 if owed is None else time.monotonic() - owed[0]

    @property
    def unanswered_by_stamps_s(self) -> float:
        """The same by the images' stamps; infinite where they have none."""
        owed, last = self._owed, self._last_stamp
        return math.inf if owed is None or not last or not owed[1] else abs(last - owed[1])

    def count_error(self, kind: str, text: str) -> None:
        """A message could not be used: count it under `kind`, and keep `text`."""
        self.bad[kind] += 1
        self._forget_answer()
        self.last_error = self.unused = text

    def count_fault(self, kind: str, seconds: float) -> None:
        """An image had a fault of this kind and was answered as unknown, after so many seconds."""
        self.faults[kind] += 1
        self.refused(kind, seconds)
        self.fault = kind

    def refused(self, why: str, seconds: float) -> None:
        """An image was answered as unknown without being matched, after so many seconds."""
        self.forget()
        self.refusal, self.place = why, 'unknown'
        self.processed += 1
        self.unknown += 1
        self._latencies.append(seconds)

    def answered(self, recognition: Recognition, seconds: float) -> None:
        """A place was published, `seconds` after its image was received."""
        self.processed += 1
        self.unknown += not recognition.accepted
        self.refusal, self.fault, self.failures = recognition.refusal, '', 0
        self._settle()
        best = recognition.candidates[0]
        self.similarity, self.margin = best.similarity, best.margin
        self.confidence, self.check = best.confidence, best.check
        self.single, self.followed = recognition.single, recognition.followed
        followed = recognition.followed
        self.jumps += recognition.accepted and followed is not None and followed.jumped
        self.prior = self.prior if recognition.prior is None else str(recognition.prior)
        self.verify_faults = self.verify_faults + 1 if recognition.fault else 0
        self.place = str(best.place.id) if recognition.accepted else 'unknown'
        self.place_name = recognition.name
        self._latencies.append(seconds)

    @property
    def silence_s(self) -> float:
        """Seconds since the last image; infinite if none has come."""
        return np.inf if self._last_image is None else time.monotonic() - self._last_image

    @property
    def waiting_s(self) -> float:
        """Seconds since the last image, or since the node was activated."""
        since = self._begun if self._last_image is None else self._last_image
        return time.monotonic() - since

    def _rates(self) -> tuple[float, float]:
        """Images and answers per second, over the last seconds."""
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
        stamp: Time,
    ) -> DiagnosticArray:
        """One status: ERROR if there are `errors`, else WARN if there are `warnings`, else OK.

        `facts` are values that come after the state and before the counts.
        """
        level = DiagnosticStatus.OK
        if errors or warnings:
            level = DiagnosticStatus.ERROR if errors else DiagnosticStatus.WARN
        values = {'state': state, **facts, **self._counts(), **self._last_image_values(state)}
        values |= {**self._durations(), 'seconds since last image': f'{self.silence_s:.1f}'}
        pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        text = '; '.join([*errors, *warnings]) or state
        status = DiagnosticStatus(level=level, name=name, message=text, values=pairs)
        message = DiagnosticArray(status=[status])
        message.header.stamp = stamp
        return message

    def _counts(self) -> dict[str, object]:
        """Counts since the node started, and rates of the last seconds."""
        # Copied once: the worker's thread adds kinds meanwhile.
        bad, faults = dict(self.bad), dict(self.faults)
        image_hz, place_hz = self._rates()
        return {
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
        }

    def _last_image_values(self, state: str) -> dict[str, object]:
        lately = state == 'active' and max(self.silence_s, self.unanswered_s) < _LATELY_S
        return {
            'last error': self.last_error,
            'place': self.place if lately else 'none',
            'place name': self.place_name if lately else '',
            'last refusal': self.refusal,
            'last confidence': f'{self.confidence:.3f}',
            'last similarity': f'{self.similarity:.3f}',
            'last margin': f'{self.margin:.3f}',
            **_check_values(self.check),
            **_sequence_values(self.single, self.followed, self.jumps),
            **({'metres since last image': self.moved} if self.moved else {}),
            **({'prior': self.prior} if self.prior else {}),
        }

    def _durations(self) -> dict[str, object]:
        """Percentiles over the last images, in milliseconds."""
        p50, p95 = np.percentile(list(self._latencies) or [np.nan], (50, 95)) * 1000
        stages = 1000 * np.median(list(self.stages) or [(np.nan,) * 4], axis=0)
        names = ('decode', 'embed', 'verify', 'rest')
        return {
            'latency p50 ms': f'{p50:.1f}',
            'latency p95 ms': f'{p95:.1f}',
            **{f'{name} p50 ms': f'{ms:.1f}' for name, ms in zip(names, stages, strict=True)},
        }


def _sequence_values(
    single: Candidate | None, followed: Followed | None, jumps: int
) -> dict[str, object]:
    """Of a sequence: the answer to the last image alone, how probable it is to be lost, and how
    often the place jumped."""
    if single is None or followed is None:
        return {}
    alone = f'{single.place.id}, confidence {single.confidence:.3f}'
    return {'last image alone': alone, 'lost': f'{followed.lost:.3f}', 'jumps': jumps}


def _check_values(check: Check | None) -> dict[str, str]:
    """How much of the image agrees with its place, and how far it stands lower and to the right
    in the place's picture."""
    if check is None:
        return {'last agreement': 'none', 'last displacement': 'none'}
    down, right = (100 * share for share in check.displacement)
    vertical, horizontal = 'up' if down < 0 else 'down', 'left' if right < 0 else 'right'
    displacement = f'{abs(down):.0f} % {vertical}, {abs(right):.0f} % {horizontal}'
    return {'last agreement': f'{100 * check.agreement:.0f} %', 'last displacement': displacement}
