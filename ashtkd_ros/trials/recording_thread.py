# SPDX-License-Identifier: Apache-2.0
"""The thread that writes a recording: nobody waits for the disk, and what is lost is counted."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ashtkd_ros.bags.bag_recording import BagRecording
from ashtkd_ros.bags.mcap_writer import RecordedTopic
from ashtkd_ros.errors import error_text
from ashtkd_ros.text import counted, reason_of
from ashtkd_ros.trials.vocabulary import CANNOT_WRITE, DISK_FULL, ENDED, FAILED, RECORDING

# why messages are lost
QUEUE_FULL, NO_DISK, MIDDLEWARE = 'queue full', 'disk', 'middleware'
ERROR, WARNING = 'error', 'warning'
QUEUE_BYTES = 2**28
MB = 10**6
_PAUSE_S, _LOOK_S, _REPEAT_S = 0.05, 0.5, 10.0
_KEEP_S = 5.0  # after which a power cut takes nothing of a message
_GIVE_UP_S = 3.0  # a file that the disk refuses, though it is not full
_MEASURED_S, _RATE_S = 10.0, 60.0  # the rate of the last so many seconds, once it is known
_LOW_MINUTES = 10.0
_ROOM = 1.25, 16 * MB  # of the reserve, and more, before a full disk is written to again
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the last: of a limit, see setrlimit(2)
# ERROR or WARNING, a text, and the kind of the event that it is, empty if none.
Say = Callable[[str, str, str], None]


@dataclass(frozen=True)
class RecordingStatus:
    """`state`: RECORDING, DISK_FULL, CANNOT_WRITE, ENDED or FAILED; `reason`: why it is not the
    first. `lost`: messages by why they are. `free_mb`: of the disk, without
    the reserve, None if not known.
    `minutes_left`: until it is full, by the current rate; infinite if that is not known.
    `stalled_s`: how long the disk has not answered."""

    state: str
    reason: str
    messages: int
    bytes: int
    lost: dict[str, int]
    file: str
    free_mb: float | None
    minutes_left: float
    stalled_s: float

    @property
    def is_low(self) -> bool:
        """Whether the disk will soon be full."""
        return self.minutes_left < _LOW_MINUTES


class RecordingThread:
    """Writes messages into a bag from now on; `add` never waits.

    `reserve_bytes`: of the disk, which stay free for the rest of the machine. `queue_bytes`: of
    messages that wait to be written; more are lost. `say` is called in threads. Where the disk
    is full, the file is ended, and as soon as there is room another one is begun.
    """

    def __init__(
        self,
        bag: BagRecording,
        say: Say,
        reserve_bytes: int,
        queue_bytes: int = QUEUE_BYTES,
    ):
        self._bag, self._say, self._reserve = bag, say, reserve_bytes
        self._queue: deque[tuple[RecordedTopic, int, bytes]] = deque()
        self._queue_bytes, self._most = 0, queue_bytes
        self._lock, self._over = threading.Lock(), threading.Event()
        self._lost: Counter[str] = Counter()
        self._lost_before = 0  # the disk was full
        self._state, self._reason, self._file = RECORDING, '', bag.file
        self._free: float | None = None
        self._rates: deque[tuple[float, int]] = deque()
        self._minutes, self._low = math.inf, False
        self._busy_since: float | None = None
        self._looked = self._said = self._stopped = self._kept = -math.inf
        self._keeper: threading.Thread | None = None
        self._thread = threading.Thread(target=self._run, name='writer', daemon=True)
        self._thread.start()

    def add(self, topic: RecordedTopic, received_ns: int, data: bytes) -> None:
        """Hand over a message in CDR."""
        with self._lock:
            if self._queue_bytes + len(data) > self._most or self._over.is_set():
                self._lost[QUEUE_FULL] += 1
                return
            self._queue_bytes += len(data)
            self._queue.append((topic, received_ns, data))

    def count_lost(self, number: int) -> None:
        """So many messages were lost before they came here."""
        with self._lock:
            self._lost[MIDDLEWARE] += number

    def status(self) -> RecordingStatus:
        """How it goes; this waits for nothing."""
        busy_since = self._busy_since
        with self._lock:
            lost = dict(self._lost)
        return RecordingStatus(
            self._state,
            self._reason,
            self._bag.messages,
            self._bag.bytes,
            lost,
            self._file,
            None if self._free is None else max(0, self._free - self._reserve) / MB,
            self._minutes,
            0.0 if busy_since is None else time.monotonic() - busy_since,
        )

    def close(self, seconds: float) -> str:
        """Write what waits and end the bag; empty, or in one line why that failed.

        After so many seconds it is given up.
        """
        self._over.set()
        self._thread.join(seconds)
        if self._thread.is_alive():
            left = counted(len(self._queue), 'message')
            return f'{self._bag.folder}: the disk does not answer, {left} could not be written'
        return self._reason if self._state == FAILED else ''

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                self._turn()
                self._over.wait(_PAUSE_S)
            self._turn()
            self._timed(self._bag.close)
            self._state = ENDED
        except Exception as error:  # nobody foresaw it; whoever looks at `status` must end
            with contextlib.suppress(Exception):
                self._bag.close()
            self._state, self._reason = FAILED, error_text(error)

    def _timed(self, work: Callable[[], object]) -> None:
        """Do what may wait for the disk."""
        self._busy_since = time.monotonic()
        try:
            work()
        finally:
            self._busy_since = None

    def _turn(self) -> None:
        """Write what waits now, and look at the disk when it is time."""
        for _ in range(len(self._queue)):
            with self._lock:
                topic, received_ns, data = self._queue.popleft()
                self._queue_bytes -= len(data)
            self._timed(partial(self._write, topic, received_ns, data))
            if time.monotonic() >= self._looked + _LOOK_S:
                self._timed(self._look)
        if time.monotonic() >= self._looked + _LOOK_S:
            self._timed(self._look)

    def _write(self, topic: RecordedTopic, received_ns: int, data: bytes) -> None:
        if self._state != RECORDING or not self._bag.write(topic, received_ns, data):
            with self._lock:
                self._lost[NO_DISK] += 1
        if self._state == RECORDING and self._bag.trouble is not None:
            self._stop(self._bag.trouble)

    def _look(self) -> None:
        self._looked = time.monotonic()
        try:
            disk = os.statvfs(self._bag.folder)
            self._free = disk.f_bavail * disk.f_frsize
        except OSError as error:  # the disk or the folder is gone
            self._free = None
            if self._state in (RECORDING, DISK_FULL):
                self._stop(error)
        if self._state == RECORDING:
            self._bag.flush()
            self._keep()
            self._measure()
            if self._bag.trouble is not None:
                self._stop(self._bag.trouble)
            elif self._free is not None and self._free < self._reserve:
                self._stop(None)
            else:
                self._warn()
        else:
            self._try_again()
        self._file = self._bag.file

    def _keep(self) -> None:
        """Have the disk itself keep what was flushed; nobody waits until it has."""
        busy = self._keeper is not None and self._keeper.is_alive()
        if not busy and self._looked >= self._kept + _KEEP_S:
            self._kept = self._looked
            self._keeper = threading.Thread(target=self._keep_now, name='keeper', daemon=True)
            self._keeper.start()

    def _keep_now(self) -> None:
        try:
            self._bag.keep()
        except OSError as error:
            if error.errno != errno.EBADF:  # the file has ended meanwhile
                text = f'the disk has lost what it had taken ({reason_of(error)}); check the disk'
                self._say(ERROR, f'{self._bag.folder}: {text}', '')

    def _stop(self, error: OSError | None) -> None:
        """End the file; `error`: what the disk said, None where only the reserve is left."""
        self._bag.pause()
        full = error is None or error.errno in _FULL
        self._state = DISK_FULL if full else CANNOT_WRITE
        reason = f'the reserve of {self._reserve / MB:.0f} MB is reached' if error is None else ''
        reason = reason or reason_of(error)
        if full:
            self._reason = f'the disk is full ({reason}): NOTHING IS RECORDED; make room on it'
        else:
            self._reason = f'the bag cannot be written ({reason}): NOTHING IS RECORDED; '
            self._reason += 'check the disk'
        self._minutes, self._low = math.inf, False
        self._rates.clear()
        self._said = self._stopped = time.monotonic()
        self._lost_before = self._lost[NO_DISK]
        self._say(ERROR, f'{self._bag.folder}: {self._reason}', DISK_FULL)

    def _try_again(self) -> None:
        share, more = _ROOM
        room = self._free is not None and self._free > share * self._reserve + more
        lost = f'{counted(self._lost[NO_DISK] - self._lost_before, "message")} lost meanwhile'
        if room and self._bag.resume():
            self._state, self._reason = RECORDING, ''
            text = f'{self._bag.folder}: records again, into {self._bag.file}; {lost}'
            self._say(WARNING, text, '')
            return
        if time.monotonic() >= self._stopped + _GIVE_UP_S:
            self._leave()
        if time.monotonic() >= self._said + _REPEAT_S:
            self._said = time.monotonic()
            self._say(ERROR, f'{self._bag.folder}: {self._reason}; {lost}', '')

    def _leave(self) -> None:
        """Give the file that has ended up, where the disk seems to refuse it for ever."""
        trouble, given_up = self._bag.trouble, 0
        if self._state == CANNOT_WRITE:
            given_up = self._bag.give_up()
        elif trouble is not None and trouble.errno == errno.EFBIG:  # of this file, or of all
            given_up = self._bag.skip()
        with self._lock:
            self._lost[NO_DISK] += given_up

    def _measure(self) -> None:
        """How long the disk will do."""
        now, written = time.monotonic(), self._bag.bytes
        self._rates.append((now, written))
        while self._rates[0][0] < now - _RATE_S:
            self._rates.popleft()
        (begun, before), self._minutes = self._rates[0], math.inf
        if self._free is not None and now >= begun + _MEASURED_S and written > before:
            room = max(0.0, self._free - self._reserve)
            self._minutes = room * (now - begun) / (written - before) / 60.0

    def _warn(self) -> None:
        if self._low:
            self._low = self._minutes < 2.0 * _LOW_MINUTES
        elif self._minutes < _LOW_MINUTES:
            self._low = True
            text = f'{self._bag.folder}: the disk will be full in {self._minutes:.0f} minutes; '
            self._say(WARNING, text + 'make room on it', '')
