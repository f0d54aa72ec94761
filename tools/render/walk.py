# SPDX-License-Identifier: Apache-2.0
"""Drive a camera along a town's loop: exact poses, pictures, and a walk folder with both."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import yaml
from tqdm import tqdm

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.documents import YAML_LIMIT, parse_yaml
from ashtkd_ros.files.reading import read_regular
from ashtkd_ros.files.writing import resolved, whole_folder
from tools.render.conditions import condition
from tools.render.path import Loop, town_loop
from tools.render.raster import Rasteriser, load_panda3d
from tools.render.shading import Shader
from tools.render.town import build_town

VERSION = '1.0'
SETTINGS = 'walk.yaml'
LANE_M = 1.5  # the middle of the right-hand lane, from the centre line
EYE_M = 1.55
DEPTH_UNIT_M = 0.001  # of the depth images; what is farther than 65.5 m is 0, as the sky is
HEADER = ['file', 'stamp', 'x', 'y', 'z', 'qx', 'qy', 'qz', 'qw']


@dataclass(frozen=True)
class Drive:
    """One drive along the loop, in metres, degrees, seconds and pixels; a walk folder comes of it.

    `seed`: of cars, lit windows, clouds and jitter; `lateral`: distance to the left of the
    right-hand lane (3 is the other side of the road); `phase`: distance of the first picture along
    the loop; `frames`: number of pictures, 0 for exactly one round; `depth`: whether a depth image
    is written beside each picture (depth/NUMBER.png, uint16, millimetres along the optical axis).
    """

    seed: int = 0
    condition: str = 'day'
    spacing: float = 2.0
    phase: float = 0.0
    frames: int = 0
    lateral: float = 0.0
    lateral_jitter: float = 0.0
    yaw: float = 0.0
    yaw_jitter: float = 0.0
    reverse: bool = False
    speed: float = 5.0
    start: float = 0.0
    width: int = 320
    height: int = 240
    hfov: float = 80.0
    quality: int = 75
    depth: bool = False

    def check(self) -> None:
        """VprError for a setting that cannot be driven or rendered."""
        condition(self.condition)
        numbers = [getattr(self, f.name) for f in fields(self) if f.name != 'condition']
        limits = [
            (bool(np.isfinite(numbers).all()), 'every number must be finite'),
            (self.seed >= 0, f'seed {self.seed} must be 0 or more'),
            (self.spacing > 0, f'spacing {self.spacing} must be more than 0 m'),
            (self.frames >= 0, f'frames {self.frames} must be 0 (once round) or more'),
            (self.speed > 0, f'speed {self.speed} must be more than 0 m/s'),
            (16 <= self.width <= 1920, f'width {self.width} must be 16 to 1920 pixels'),
            (16 <= self.height <= 1080, f'height {self.height} must be 16 to 1080 pixels'),
            (20 <= self.hfov <= 140, f'hfov {self.hfov} must be 20 to 140 degrees'),
            (1 <= self.quality <= 100, f'quality {self.quality} must be 1 to 100'),
            (-0.5 <= self.lateral <= 5, f'lateral {self.lateral} must be -0.5 to 5 m'),
            (
                0 <= self.lateral_jitter <= 0.5,
                f'lateral_jitter {self.lateral_jitter} must be 0 to 0.5 m',
            ),
        ]
        for fine, message in limits:
            if not fine:
                raise VprError(f'drive: {message}')


@dataclass(frozen=True)
class CameraPose:
    """Camera body (x forward, y left, z up): ENU metres, yaw in radians, stamp in seconds."""

    stamp: float
    x: float
    y: float
    z: float
    yaw: float

    @property
    def quaternion(self) -> tuple[float, float, float, float]:
        """Unit quaternion x, y, z, w."""
        return 0.0, 0.0, float(np.sin(self.yaw / 2)), float(np.cos(self.yaw / 2))


def drive_poses(loop: Loop, drive: Drive) -> list[CameraPose]:
    """The poses of a drive along a loop, in order of time."""
    drive.check()
    count = drive.frames or max(1, int(loop.length / drive.spacing))
    rng = np.random.default_rng([drive.seed, 5])
    jitter = np.clip(rng.standard_normal((count, 2)), -2, 2)
    driven = drive.phase + drive.spacing * np.arange(count)
    xy, heading = loop.at(-driven if drive.reverse else driven)
    heading = heading + np.pi * drive.reverse
    lateral = drive.lateral - LANE_M + drive.lateral_jitter * jitter[:, 0]
    left = np.stack([-np.sin(heading), np.cos(heading)], axis=1)
    xy = xy + left * lateral[:, None]
    yaw = heading + np.radians(drive.yaw + drive.yaw_jitter * jitter[:, 1])
    yaw = np.angle(np.exp(1j * yaw))
    stamp = drive.start + drive.spacing / drive.speed * np.arange(count)
    rows = np.column_stack([stamp, xy, np.full(count, EYE_M), yaw])
    return [CameraPose(*(float(v) for v in row)) for row in rows]


class View(NamedTuple):
    """`image`: uint8 (height, width, 3) RGB; `depth`: metres along the optical axis, float32
    (height, width), 0 where the sky is, None where it was not asked for."""

    image: np.ndarray
    pose: CameraPose
    depth: np.ndarray | None = None


def iterate_walk(town_seed: int, drive: Drive) -> Iterator[View]:
    """The pictures of a drive, without writing anything."""
    if town_seed < 0:
        raise VprError(f'town seed {town_seed} must be 0 or more')
    poses = drive_poses(town_loop(town_seed), drive)
    texture_px = 512 if drive.width >= 240 else 256
    town = build_town(town_seed, drive.seed, texture_px)
    raster = Rasteriser(town.faces, town.textures)
    shader = Shader(town, raster, condition(drive.condition), drive.seed)
    for number, pose in enumerate(poses):
        # Drawn twice as large and halved by the shader: smooth edges.
        position, size = (pose.x, pose.y, pose.z), (2 * drive.width, 2 * drive.height)
        pixels = raster.perspective(*size, drive.hfov, position, pose.yaw)
        rng = np.random.default_rng([town_seed, drive.seed, number, 6])
        seen = pixels, position, pose.yaw, drive.hfov
        depth = shader.depth(*seen) if drive.depth else None
        yield View(shader.picture(*seen, rng), pose, depth)


def walk_settings(town_seed: int, drive: Drive) -> dict[str, object]:
    """What walk.yaml says of a drive through a town; `focal_px` stands beside depth only."""
    settings = {'generator': VERSION, 'town_seed': town_seed, 'frame': 'map'} | asdict(drive)
    if not drive.depth:  # as before there was depth, so that older walks are still found
        return {name: value for name, value in settings.items() if name != 'depth'}
    focal = drive.width / 2 / np.tan(np.radians(drive.hfov) / 2)
    return settings | {'focal_px': float(focal), 'depth_unit_m': DEPTH_UNIT_M}


def is_rendered(town_seed: int, drive: Drive, folder: Path) -> bool:
    """Whether a folder holds this walk, by its walk.yaml."""
    try:
        settings = parse_yaml(read_regular(folder / SETTINGS, YAML_LIMIT))
    except (OSError, ValueError):
        return False
    return settings == walk_settings(town_seed, drive)


def render_walk(town_seed: int, drive: Drive, out: Path, progress: bool = False) -> int:
    """Write poses.csv, images/, depth/ (if so set) and walk.yaml to a new or empty folder.

    All of them or nothing. Returns how many pictures were written.

    VprError: a bad setting, a folder that is not empty or cannot be written.
    """
    drive.check()
    out = resolved(out)  # a link stays
    pictures = iterate_walk(town_seed, drive)
    total = len(drive_poses(town_loop(max(0, town_seed)), drive))
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise VprError(f'{out} is not an empty folder: choose another or remove it first')
        load_panda3d()  # says so before anything is written where it is missing
        bar = tqdm(
            pictures, total=total, desc=f'{out.name} ({drive.condition})', disable=not progress
        )
        with whole_folder(out) as new:
            return _write_walk(new, bar, walk_settings(town_seed, drive))
    except OSError as error:
        raise VprError(f'cannot write {out}: {error.strerror or error}') from error


def _write_walk(folder: Path, views: Iterable[View], settings: dict[str, object]) -> int:
    (folder / 'images').mkdir(parents=True)
    rows = []
    for number, (image, pose, depth) in enumerate(views):
        name = f'images/{number:04d}.jpg'
        quality = [cv2.IMWRITE_JPEG_QUALITY, settings['quality']]
        (folder / name).write_bytes(_encoded(image[..., ::-1], '.jpg', quality))
        if depth is not None:
            (folder / 'depth').mkdir(exist_ok=True)
            units = np.rint(depth / DEPTH_UNIT_M)
            units = np.where(units < 2**16, units, 0).astype(np.uint16)
            (folder / f'depth/{number:04d}.png').write_bytes(_encoded(units, '.png', []))
        numbers = (pose.x, pose.y, pose.z, *pose.quaternion)
        rows.append([name, f'{pose.stamp:.3f}', *(f'{v:.6f}' for v in numbers)])
    with open(folder / 'poses.csv', 'w', newline='', encoding='utf-8') as file:
        csv.writer(file, lineterminator='\n').writerows([HEADER, *rows])
    text = yaml.safe_dump(settings, sort_keys=False)
    (folder / SETTINGS).write_text(text, encoding='utf-8')
    return len(rows)


def _encoded(image: np.ndarray, kind: str, options: list[int]) -> bytes:
    done, data = cv2.imencode(kind, image, options)
    if not done:
        raise VprError(f'OpenCV could not encode a picture as {kind}: is its support built in?')
    return data.tobytes()
