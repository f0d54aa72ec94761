# SPDX-License-Identifier: Apache-2.0
"""Which points of rendered pictures are the same, by depth and pose (`tools.render --depth`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.documents import YAML_LIMIT, parse_yaml
from ashtkd_ros.files.reading import read_regular
from ashtkd_ros.geometry.quaternions import rotation_matrices
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.image_folder import read_source

WALK = 'walk.yaml'
FARTHEST_M, WIDEST_TURN = 15.0, np.cos(np.radians(75))  # of two pictures that may share a point
AGREES, AGREES_M = 0.05, 0.3  # how far two depths of one point may differ: a share, or metres
NEAREST_M = 0.25
_MOST = 1000.0  # focal lengths in widths, metres of a unit of depth


@dataclass(frozen=True)
class RenderedFrame:
    """A rendered picture: `position` (3,) in metres; `rotation` (3, 3), body to town.

    `focal`: in widths of the picture; `unit`: metres of 1 in the depth image of `shape` (h, w).
    """

    town: int
    position: np.ndarray = field(repr=False)
    rotation: np.ndarray = field(repr=False)
    focal: float
    unit: float
    shape: tuple[int, int]
    depth_file: Path

    def depth(self) -> np.ndarray:
        """Metres along the optical axis, float32 (h, w); 0 where unknown."""
        return _depth_image(self.depth_file, self.shape) * np.float32(self.unit)


@dataclass(frozen=True)
class RenderedWalks:
    """The relation (see `correspondence.Relation`) of rendered pictures, by their paths."""

    frames: dict[str, RenderedFrame]

    @classmethod
    def of(cls, pictures: Iterable[str]) -> RenderedWalks:
        """Those of the pictures that lie in walks with depth; VprError for a damaged walk."""
        wanted, frames = set(pictures), {}
        for folder in sorted({Path(picture).parent.parent for picture in wanted}):
            if (folder / WALK).is_file() and (folder / 'depth').is_dir():
                frames |= _frames_of(folder)
        return cls({picture: f for picture, f in frames.items() if picture in wanted})

    def knows(self, a: str, b: str) -> bool:
        """Whether two pictures of one town are near and look the same way."""
        if a not in self.frames or b not in self.frames:
            return False
        one, other = self.frames[a], self.frames[b]
        near = np.linalg.norm(one.position - other.position) <= FARTHEST_M
        return one.town == other.town and bool(
            near and one.rotation[:, 0] @ other.rotation[:, 0] > WIDEST_TURN
        )

    def points(self, a: str, b: str, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points of `wanted` that picture `b` shows too: nothing stands before them there."""
        one, other = self.frames[a], self.frames[b]
        inside = wanted[((wanted > 0) & (wanted < 1)).all(axis=1)]
        depth = one.depth()
        height, width = depth.shape
        column, row = np.floor(inside * (width, height)).astype(np.int64).T
        at = depth[row, column]
        right, down = ((inside - 0.5) * (1, height / width)).T / one.focal
        body = np.stack([at, -right * at, -down * at], axis=1)
        town = body @ one.rotation.T + one.position
        ahead, left, up = ((town - other.position) @ other.rotation).T
        safe = np.maximum(ahead, NEAREST_M)
        seen_depth = other.depth()
        height, width = seen_depth.shape
        image = np.stack([-left / safe, -up / safe * width / height], axis=1) * other.focal + 0.5
        known = (at > 0) & (ahead > NEAREST_M) & ((image > 0) & (image < 1)).all(axis=1)
        inside, image, ahead = inside[known], image[known], ahead[known]
        visible = _agrees(seen_depth, image, ahead)
        return inside[visible], image[visible]


def _agrees(depth: np.ndarray, at: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Whether one of the four pixels round points `at` (n, 2) has the `expected` depth, bool (n,).

    Four, since far ground changes by more than the tolerance from one row to the next.
    """
    height, width = depth.shape
    corner = np.floor(at * (width, height) - 0.5).astype(np.int64)
    gap = np.full(len(at), np.inf)
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column = np.clip(corner[:, 0] + dx, 0, width - 1)
        row = np.clip(corner[:, 1] + dy, 0, height - 1)
        gap = np.minimum(gap, np.abs(depth[row, column] - expected))
    return gap <= np.maximum(AGREES * expected, AGREES_M)


def _frames_of(folder: Path) -> dict[str, RenderedFrame]:
    """The frames of a walk by the paths of their pictures."""
    try:
        settings = parse_yaml(read_regular(folder / WALK, YAML_LIMIT))
        town = int(settings['town_seed'])
        shape = int(settings['height']), int(settings['width'])
        focal, unit = float(settings['focal_px']) / shape[1], float(settings['depth_unit_m'])
        if not (0 < focal < _MOST and 0 < unit < _MOST):  # NaN as well
            raise ValueError('out of range')
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise VprError(f'{folder / WALK}: is damaged; render the walk again') from error
    found = {}
    for frame in read_source(folder):
        depth = folder / 'depth' / f'{Path(frame.file).stem}.png'
        if frame.pose is not None:
            path = str(Path(frame.file).resolve())
            found[path] = RenderedFrame(town, *_placed(frame), focal, unit, shape, depth)
    return found


def _placed(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    p = frame.pose
    turn = rotation_matrices(np.array([[p.qx, p.qy, p.qz, p.qw]]))[0]
    return np.array([p.x, p.y, p.z]), turn


@lru_cache(maxsize=16)
def _depth_image(path: Path, shape: tuple[int, int]) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint16 or image.shape != shape:
        size = f'{shape[1]} x {shape[0]} pixels'
        raise VprError(f'{path}: is no depth image of 16 bits and {size}; render the walk again')
    return image
