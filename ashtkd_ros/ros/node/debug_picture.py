# SPDX-License-Identifier: Apache-2.0
"""A query beside its matched place, with a line of text, for people to look at."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.recognition.matcher import Matches
from ashtkd_ros.traverses.opening import quick_originals_of

_HEIGHT, _WIDEST, _BAND = 240, 1920, 28
_GREEN = (0, 255, 0)


def debug_picture(
    image: np.ndarray,
    order: str,
    match: np.ndarray | None,
    text: str,
    no_match_text: str = '',
    matches: Matches | None = None,
) -> np.ndarray:
    """The image, uint8 (H, W[, 3]) in `order`, beside its match → uint8 RGB, 268 pixels high.

    `match`: uint8 RGB, or None; then the text `no_match_text` takes its place. `matches`: a line
    is drawn between every two positions that match.
    """
    query = _tile(image)
    if query.ndim == 2:
        query = cv2.cvtColor(query, cv2.COLOR_GRAY2RGB)
    elif order == 'BGR':
        query = cv2.cvtColor(query, cv2.COLOR_BGR2RGB)
    right = np.zeros_like(query) if match is None else _tile(match)
    if match is None and no_match_text:
        _write(right, no_match_text, _HEIGHT // 2)
    both = np.concatenate([query, right], axis=1)
    if match is not None and matches is not None:
        both = _with_lines(both, query.shape[1], matches)
    band = np.zeros((_BAND, both.shape[1], 3), np.uint8)
    _write(band, text, 20)
    return np.concatenate([band, both])


def _with_lines(both: np.ndarray, middle: int, matches: Matches) -> np.ndarray:
    """Two pictures side by side, the second from column `middle` on, with lines between them."""
    begin = matches.image * (middle, _HEIGHT)
    end = matches.place * (both.shape[1] - middle, _HEIGHT) + (middle, 0)
    ends = np.concatenate([begin, end], axis=1).astype(int).tolist()
    lines = both.copy()
    for x, y, u, v in ends:
        cv2.line(lines, (x, y), (u, v), _GREEN, 1, cv2.LINE_AA)
    shown = cv2.addWeighted(lines, 0.35, both, 0.65, 0)
    for x, y, u, v in ends:
        for point in ((x, y), (u, v)):
            cv2.circle(shown, point, 2, _GREEN, -1)
    return shown


def _write(image: np.ndarray, text: str, y: int) -> None:
    # The font has only ASCII letters.
    plain = text.encode('ascii', 'replace').decode()
    cv2.putText(image, plain, (6, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)


def _tile(image: np.ndarray) -> np.ndarray:
    width = round(image.shape[1] * _HEIGHT / image.shape[0])
    width = min(max(1, width), _WIDEST)
    return cv2.resize(image, (width, _HEIGHT), interpolation=cv2.INTER_AREA)


def picture_reader(place_map: PlaceMap) -> Callable[[Place], np.ndarray | None]:
    """A function from a place to its picture, RGB; None if there is none.

    The picture comes from the thumbnails of the map, or from the folder that the map was built
    from. A bag is not opened for it, since that takes too long while a robot drives.
    """

    def read(place: Place) -> np.ndarray | None:
        picture = place_map.picture(place)
        if picture is not None or place.traverse >= len(place_map.traverses):
            return picture
        originals = quick_originals_of(place_map.traverses[place.traverse])
        try:
            return None if originals is None else originals.read(place.source)
        except VprError:
            return None

    return read
