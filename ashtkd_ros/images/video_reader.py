# SPDX-License-Identifier: Apache-2.0
"""Video files → arrays and times, by OpenCV."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import open_regular
from ashtkd_ros.images.picture_decoding import ImageError
from ashtkd_ros.images.picture_limits import MAX_PIXELS
from ashtkd_ros.text import counted, reason_of

# How files begin. Of others, as playlists, FFmpeg would open what they name.
_MP4, _OTHERS = (b'ftyp', b'moov', b'mdat', b'free', b'wide', b'skip'), (b'RIFF', b'\x1aE\xdf\xa3')
_NOWHERE, _MOST, _MOST_MS = 2**62, 10**9, 1e12  # no number; limits of numbers and times
_FAILURES = 100  # so many images in a row that cannot be decoded are the end
_BEFORE_MS = 4000.0  # an image that is sought is decoded with those before it, on which it builds
_NEAR_MS = 0.1  # times that differ by less are the same
_SAME_S = 1e-8  # stamps are in whole nanoseconds
_PROBED = 100  # images that are looked at to see whether the file tells their times
# Properties that OpenCV 4.5 does not know; what several threads make of damaged data differs each
# time, and -1 is asked for in vain.
_ONE_THREAD = [cv2.CAP_PROP_N_THREADS, 1] if hasattr(cv2, 'CAP_PROP_N_THREADS') else []
_SHOWN = getattr(cv2, 'CAP_PROP_PTS', -1)
_CONVERT = 'convert it to H.264: ffmpeg -i IN -c:v libx264 OUT.mp4'


class VideoReader:
    """Images of a video by number, from 0.

    If the file is not a video, VprError is raised when an image is read.

    An image that cannot be decoded has a number too. `number`: that of the current image. `size`:
    of the file, in bytes; VprError where it has another; None: not known yet.
    """

    def __init__(self, path: Path, size: int | None = None):
        self.path, self.size = Path(path), size
        self._capture, self.number = None, _NOWHERE

    def probe(self) -> str:
        """Find `count` of images, as the file tells it, and `rate`, images per second, 0: unknown.

        What is returned is a note for the user, or empty. VprError for a file that tells neither
        times nor rate, or has no image.
        """
        times, first = [], 0
        while len(times) < _PROBED and self.go_to(self.number + 1 if times else 0):
            first = first if times else self.number
            times.append(self.ms())
        if not times:
            why = 'either OpenCV lacks the codec here, or the file is damaged'
            raise VprError(f'{self.path}: no image can be decoded: {why}; {_CONVERT}')
        self.rate = self._get(cv2.CAP_PROP_FPS, 1e-3, 1e6)
        self._step_s = 1 / (self.rate or 1e6)
        steps = [b - a for a, b in pairwise(times) if a < b]
        self._is_timed = 2 * len(steps) >= len(times) - 1
        if steps and self._is_timed:  # the rate is a mean, also over a pause
            self._step_s = min(self._step_s, float(np.median(steps)) / 1000)
        self._first_ms = times[0] - 1000 * first * self._step_s
        self._claimed = int(self._get(cv2.CAP_PROP_FRAME_COUNT, 1, _MOST))
        self.count = self._claimed or len(times)
        untold = 'does not tell the times of its images'
        if not (self._is_timed or self.rate):
            raise VprError(f'{self.path}: {untold}; {_CONVERT}')
        rate = f'the video {untold}; {self.rate:g} images per second are assumed'
        return '' if self._is_timed else rate

    def images(self) -> Iterator[tuple[float, str]]:
        """(seconds after the first, name) of all images; then `count` and `notes` are final.

        An image without a time comes a step after the last one, one that repeats its time half a
        step.
        """
        number, read, last = -1, 0, -1.0
        while self.go_to(number + 1):
            number, read, ms = self.number, read + 1, self.ms() if self._is_timed else 0.0
            seconds = (ms - self._first_ms) / 1000 if self._is_timed else number * self._step_s
            if seconds <= last + _SAME_S:
                seconds, ms = last + self._step_s / (2 if ms else 1), 0.0
            last = seconds
            yield last, f'{number}#{ms!r}'
        self.count, self.notes = number + 1, []
        if lost := self.count - read:
            self.notes.append(f'{counted(lost, "image")} of {self.count} cannot be decoded')
        # By the time of the last one: some files count images that they do not show.
        seen = max(last * self.rate, self._get(_SHOWN, 0, _MOST))
        if self.rate and self._claimed > seen + self.rate + 2:
            claim = f'{counted(self._claimed, "image")} and {read} were read'
            self.notes.append(f'the file claims {claim}; it may have been cut')

    def go_to(self, number: int) -> bool:
        """Go to the first image from a number on that can be decoded; False: there is none."""
        if number < self.number:
            self._open()
        while self.number < number and self._step():
            pass
        return self.number < _NOWHERE

    def ms(self) -> float:
        """Time of the current image as OpenCV tells it, in milliseconds; 0: none."""
        return self._get(cv2.CAP_PROP_POS_MSEC, 0, _MOST_MS)

    def read(self, name: str) -> np.ndarray:
        """The image of that name, uint8 (H, W, 3), BGR; ImageError if it cannot be read.

        A name is a number, "#", and a time in milliseconds; 0: only the number tells the image.
        """
        number, _, time = name.partition('#')
        try:
            number, ms = int(number), float(time)
        except ValueError:  # a map of others may hold any name
            ms = math.nan
        if 0 <= ms < _MOST_MS and 0 <= number < _MOST and self._find(number, ms):
            found, pixels = self._capture.retrieve()
            if found:
                return pixels
        raise ImageError('damaged video', f'{self.path}: image {name[:80]} cannot be read')

    def _find(self, number: int, ms: float) -> bool:
        """Go to an image by its time, or, if that does not lead to it, from the beginning."""
        if ms > _BEFORE_MS:
            if self._capture is None or not ms - _BEFORE_MS <= self.ms() <= ms + _NEAR_MS:
                self._open()
                self._capture.set(cv2.CAP_PROP_POS_MSEC, ms - _BEFORE_MS)
                self.number = _NOWHERE  # the number is not known there
            while self.ms() < ms - _NEAR_MS and self._step():
                pass
            if self._fits(ms):
                return True
        return self.go_to(number) and self.number == number and self._fits(ms)

    def _fits(self, ms: float) -> bool:
        return ms == 0 or abs(self.ms() - ms) <= _NEAR_MS

    def _step(self) -> bool:
        """Go to the next image that can be decoded; False at the end."""
        for steps in range(1, _FAILURES + 1):
            if self._capture.grab():
                self.number += steps
                return True
        self.number = _NOWHERE
        return False

    def _get(self, what: int, least: float, most: float) -> float:
        """A property of OpenCV's; 0 where the value is not within limits, as in damaged files."""
        value = self._capture.get(what)
        return value if least <= value <= most else 0.0

    def _open(self) -> None:
        try:
            with open(open_regular(self.path), 'rb') as file:
                start, size = file.read(12), os.fstat(file.fileno()).st_size
                self._capture, self.number = cv2.VideoCapture(), -1
                if start[4:8] in _MP4 or start[:4] in _OTHERS:
                    # OpenCV crashes on names that are not UTF-8.
                    name = f'/proc/self/fd/{file.fileno()}'
                    self._capture.open(name, cv2.CAP_FFMPEG, _ONE_THREAD)
        except (OSError, ValueError, cv2.error) as error:
            raise VprError(
                f'{self.path}: cannot be read ({reason_of(error)}); copy it again'
            ) from error
        if self.size not in (None, size):
            raise VprError(
                f'{self.path}: is another video than before: its size is different; '
                'put the first one back'
            )
        self.size = size
        if not self._capture.isOpened():
            why = 'OpenCV finds no picture track in it; copy it again if it was cut off'
            raise VprError(f'{self.path}: {why}, or {_CONVERT}')
        sides = cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT
        width, height = (self._capture.get(side) for side in sides)
        if not 0 < width * height <= MAX_PIXELS:
            claim = f'{width:.0f} x {height:.0f} pixels'
            raise VprError(
                f'{self.path}: claims {claim}, and {MAX_PIXELS} is the limit; scale it down'
            )
