# SPDX-License-Identifier: Apache-2.0
"""Video files → arrays and times, by OpenCV."""

from __future__ import annotations

import contextlib
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import open_regular
from ashtkd_ros.images.picture_decoding import ImageError
from ashtkd_ros.images.picture_limits import MAX_PIXELS
from ashtkd_ros.text import reason_of

ESTIMATING = ('.mkv', '.webm')  # files that do not know how many images they have
# How files begin. Of others, as playlists, FFmpeg would open what they name.
_MP4, _OTHERS = (b'ftyp', b'moov', b'mdat', b'free', b'wide', b'skip'), (b'RIFF', b'\x1aE\xdf\xa3')
_END = 2**62  # more than any number of an image
_NEAR, _BEFORE_MS = 100, 4000.0  # images that are decoded rather than sought; milliseconds
_PROBED = 100  # images that are looked at to see whether the file tells their times


class VideoReader:
    """Images of a video by number, from 0.

    If the file is not a video, VprError is raised when an image is read.

    An image is the same however it is reached: where its time does not lead to it, the video is
    decoded from the beginning.
    """

    def __init__(self, path: Path):
        self.path, self._capture, self._at = Path(path), None, _END

    def probe(self) -> str:
        """Find `count` of images, as the file tells it, and `rate`, images per second, 0: unknown.

        What is returned is a note for the user, or empty. VprError for a file that tells neither
        times nor rate, or has no image.
        """
        times = []
        while len(times) < _PROBED and self.go_to(len(times)):
            times.append(self.ms())
        if not times:
            raise VprError(f'{self.path}: no image can be read; is it damaged? Convert it to MP4')
        self._first_ms, self._is_timed = times[0], all(a < b for a, b in pairwise(times))
        self.rate = self._get(cv2.CAP_PROP_FPS, 1e-3, 1e6)
        self.count = int(self._get(cv2.CAP_PROP_FRAME_COUNT, 1, 1e9)) or len(times)
        if self._is_timed:
            return ''
        if not self.rate:
            raise VprError(
                f'{self.path}: does not tell the times of its images; convert it to MP4'
            )
        return (
            'the video does not tell the times of its images; '
            f'{self.rate:g} images per second are assumed'
        )

    def go_to(self, number: int, ms: float | None = None) -> bool:
        """Whether there is an image of that number; it is then the current one.

        `ms`: its time as OpenCV tells it, in milliseconds, by which it is found sooner.
        """
        if not self._at <= number <= self._at + _NEAR and ms is not None:
            self._seek(number, ms)
        if number < self._at:
            self._open()
        while self._at < number:
            self._at = self._at + 1 if self._capture.grab() else _END
        return self._at == number

    def name(self) -> str:
        """Name of the current image, its number and its time, by which `read` finds it again."""
        return f'{self._at}#{self.ms()!r}'

    def ms(self) -> float:
        """Time of the current image as OpenCV tells it, in milliseconds."""
        return self._get(cv2.CAP_PROP_POS_MSEC, 0, 1e12)

    def seconds(self) -> float:
        """Time of the current image after the first; see `probe`."""
        return (self.ms() - self._first_ms) / 1000 if self._is_timed else self._at / self.rate

    def read(self, name: str) -> np.ndarray:
        """The image of that name, uint8 (H, W, 3), BGR; ImageError if it cannot be read."""
        number, _, ms = name.partition('#')
        with contextlib.suppress(ValueError):  # a map of others may hold any name
            if self.go_to(int(number), float(ms)):
                found, pixels = self._capture.retrieve()
                if found:
                    return pixels
        raise ImageError('damaged video', f'{self.path}: image {name[:80]} cannot be read')

    def _seek(self, number: int, ms: float) -> None:
        """Go to an image by its time; to the beginning if no image has exactly that."""
        self._open()
        # From far enough before it, so that no image is decoded without those it builds upon.
        if _BEFORE_MS < ms < 1e12 and self._capture.set(cv2.CAP_PROP_POS_MSEC, ms - _BEFORE_MS):
            while self._capture.grab() and self.ms() < ms:
                pass
            if self.ms() == ms:
                self._at = number
            else:
                self._open()

    def _get(self, what: int, least: float, most: float) -> float:
        """A property of OpenCV's; 0 where the value is not within limits, as in damaged files."""
        value = self._capture.get(what)
        return value if least <= value <= most else 0.0

    def _open(self) -> None:
        try:
            with open(open_regular(self.path), 'rb') as file:
                start = file.read(12)
                self._capture, self._at = cv2.VideoCapture(), -1
                if start[4:8] in _MP4 or start[:4] in _OTHERS:
                    # OpenCV crashes on names that are not UTF-8.
                    self._capture.open(f'/proc/self/fd/{file.fileno()}', cv2.CAP_FFMPEG)
        except (OSError, ValueError, cv2.error) as error:
            raise VprError(f'{self.path}: cannot be read ({reason_of(error)})') from error
        if not self._capture.isOpened():
            raise VprError(
                f'{self.path}: is not a video that OpenCV can read; copy it again if it was '
                'cut off, or convert it to MP4'
            )
        width = self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)
        height = self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if not 0 < width * height <= MAX_PIXELS:
            size = f'{width:.0f} x {height:.0f}'
            raise VprError(f'{self.path}: claims {size} pixels, and {MAX_PIXELS} is the limit')
