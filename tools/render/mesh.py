# SPDX-License-Identifier: Apache-2.0
"""Flat quadrilaterals with a texture, a tint and a material: all that the town is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

WALL, GROUND, LEAF, GLOW, CAR = range(5)  # material codes: how shading.py treats a face
UNIT_UV = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float32)


@dataclass
class Faces:
    """Arrays of all quads: points float32 (f, 4, 3) metres, uv float32 (f, 4, 2), tint
    float32 (f, 3) in 0..1, normal float32 (f, 3) for shading, material uint8 (f,),
    texture: the name for each quad."""

    points: np.ndarray
    uv: np.ndarray
    tint: np.ndarray
    normal: np.ndarray
    material: np.ndarray
    texture: list[str]


@dataclass
class Mesh:
    """Collects quads; `faces` hands them out as arrays."""

    _points: list = field(default_factory=list)
    _uv: list = field(default_factory=list)
    _tint: list = field(default_factory=list)
    _normal: list = field(default_factory=list)
    _material: list = field(default_factory=list)
    _texture: list = field(default_factory=list)

    def quad(
        self, points, texture, tint=(1, 1, 1), material=WALL, uv=UNIT_UV, normal=None
    ) -> None:
        """One quad: points (4, 3) in metres, anticlockwise from outside; triangles repeat one."""
        p = np.asarray(points, dtype=np.float32)
        if normal is None:
            normal = np.cross(p[2] - p[0], p[3] - p[1])
            normal = normal / (np.linalg.norm(normal) + 1e-9)
        self._points.append(p)
        self._uv.append(np.asarray(uv, dtype=np.float32))
        self._tint.append(np.asarray(tint, dtype=np.float32))
        self._normal.append(np.asarray(normal, dtype=np.float32))
        self._material.append(material)
        self._texture.append(texture)

    def box(self, spot, low, high, texture, tint=(1, 1, 1), material=WALL, shrink=1.0) -> None:
        """Box from corner `low` to `high` in the frame's metres; its top is `shrink` as large."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
        bottom = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        top = [(cx + (x - cx) * shrink, cy + (y - cy) * shrink) for x, y in bottom]
        b = [spot(x, y, z0) for x, y in bottom]
        t = [spot(x, y, z1) for x, y in top]
        for k in range(4):
            n = (k + 1) % 4
            self.quad([b[k], b[n], t[n], t[k]], texture, tint, material)
        self.quad(t, texture, tint, material)

    def tube(
        self,
        spot,
        centre,
        radius,
        z0,
        z1,
        texture,
        tint=(1, 1, 1),
        sides=7,
        taper=1.0,
        material=WALL,
    ):
        """Upright prism round (x, y); its top radius is `taper` times the bottom's, capped."""
        x, y = centre
        angle = np.arange(sides) * 2 * np.pi / sides
        ring = [(np.cos(a), np.sin(a)) for a in angle]
        bottom = [spot(x + radius * c, y + radius * s, z0) for c, s in ring]
        top = [spot(x + radius * taper * c, y + radius * taper * s, z1) for c, s in ring]
        for k in range(sides):
            n = (k + 1) % sides
            self.quad([bottom[k], bottom[n], top[n], top[k]], texture, tint, material)
            if k and n and taper > 0.05:
                self.quad([top[0], top[k], top[n], top[n]], texture, tint, material)

    def faces(self) -> Faces:
        """All quads as arrays."""
        return Faces(
            np.stack(self._points),
            np.stack(self._uv),
            np.stack(self._tint),
            np.stack(self._normal),
            np.array(self._material, dtype=np.uint8),
            list(self._texture),
        )


class Spot:
    """A place to build at: local (x along, y to the left, z up) in metres to the town's metres."""

    def __init__(self, xy, yaw: float, z: float = 0.0) -> None:
        self.origin = np.array([xy[0], xy[1], z], dtype=np.float64)
        self.yaw = float(yaw)
        self._c, self._s = np.cos(yaw), np.sin(yaw)

    def __call__(self, x: float, y: float, z: float) -> np.ndarray:
        """Town coordinates (3,) of a local point."""
        ox, oy, oz = self.origin
        return np.array([ox + self._c * x - self._s * y, oy + self._s * x + self._c * y, oz + z])

    def child(self, x: float, y: float, yaw: float = 0.0, z: float = 0.0) -> Spot:
        """The spot at a local point, turned by `yaw` radians."""
        p = self(x, y, z)
        return Spot(p[:2], self.yaw + yaw, p[2])
