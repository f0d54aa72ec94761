# SPDX-License-Identifier: Apache-2.0
"""What stands in the streets: trees, lamps, cars, and the landmarks of the town."""

from __future__ import annotations

import numpy as np

from tools.render.mesh import CAR, GLOW, LEAF, Mesh, Spot
from tools.render.textures import Rng

CAR_PAINT = [
    (0.5, 0.1, 0.1), (0.14, 0.2, 0.36), (0.82, 0.82, 0.82), (0.1, 0.1, 0.12), (0.5, 0.52, 0.55),
    (0.3, 0.31, 0.33), (0.16, 0.28, 0.2), (0.66, 0.62, 0.52), (0.55, 0.46, 0.14),
    (0.24, 0.26, 0.3),
]  # fmt: skip


def tree(mesh: Mesh, spot: Spot, rng: Rng, height: float) -> None:
    """A trunk with a crown of leaf clumps (broad, round or slim)."""
    slim = rng.random() < 0.25
    radius = height * (0.17 if slim else rng.uniform(0.26, 0.34))
    crown = height * (0.55 if slim else 0.62)
    reach = np.array([radius, radius, height * (0.42 if slim else 0.33)])
    mesh.tube(spot, (0, 0), 0.035 * height, 0, crown, 'bark', sides=6, taper=0.6)
    tint = np.array([rng.uniform(0.7, 1.15), rng.uniform(0.8, 1.1), rng.uniform(0.55, 0.9)])
    core = reach * 0.72
    mesh.tube(
        spot,
        (0, 0),
        core[0],
        crown - core[2] * 0.8,
        crown + core[2] * 0.8,
        'leaves',
        tint * 0.5,
        material=LEAF,
    )
    middle = spot(0, 0, crown)
    for _ in range(110):
        out = rng.standard_normal(3)
        out /= np.linalg.norm(out)
        place = middle + out * reach * rng.uniform(0.68, 1.02)
        a = np.cross(out, rng.standard_normal(3))
        a /= np.linalg.norm(a)
        b = np.cross(out + 0.8 * rng.standard_normal(3), a)
        b /= np.linalg.norm(b)
        size = height * rng.uniform(0.05, 0.1)
        points = [
            place + size * (u * a + v * b) for u, v in ((-1, -0.6), (0.5, -1), (1, 0.5), (-0.4, 1))
        ]
        mesh.quad(points, 'leaves', tint * rng.uniform(0.75, 1.15), LEAF, normal=out)


def hedge(mesh: Mesh, spot: Spot, length: float, rng: Rng) -> None:
    """A clipped hedge along x."""
    high = rng.uniform(0.8, 1.5)
    for x in np.arange(0, length, 1.5):
        mesh.box(
            spot, (x, 0, 0), (min(x + 1.5, length), 0.7, high), 'leaves', (0.7, 0.85, 0.6), LEAF
        )


def lamp(mesh: Mesh, spot: Spot, reach: float = 1.2) -> np.ndarray:
    """A street lamp whose head hangs `reach` metres in y; returns where its light is (3,)."""
    mesh.tube(spot, (0, 0), 0.08, 0, 5.2, 'metal', (0.3, 0.33, 0.32), sides=5)
    mesh.box(spot, (-0.05, 0, 5.1), (0.05, reach, 5.2), 'metal', (0.3, 0.33, 0.32))
    mesh.box(spot, (-0.16, reach - 0.3, 4.95), (0.16, reach + 0.3, 5.1), 'lamp', material=GLOW)
    return spot(0, reach, 4.8)


def car(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """A parked car along x, centred on the frame's origin: saloon, estate or van."""
    tint = np.array(CAR_PAINT[int(rng.integers(len(CAR_PAINT)))]) * rng.uniform(0.8, 1.1)
    kind = int(rng.integers(3))
    length, width, height = [(4.3, 1.75, 1.42), (4.5, 1.8, 1.5), (4.9, 1.95, 2.1)][kind]
    x0, x1, y = -length / 2, length / 2, width / 2
    waist = 0.9 if kind < 2 else 1.1
    mesh.box(spot, (x0, -y, 0.3), (x1, y, waist), 'paint', tint, CAR, shrink=0.96)
    a, b = [(x0 + 0.7, x1 - 1.2), (x0 + 0.1, x1 - 1.2), (x0 + 0.05, x1 - 0.9)][kind]
    glass = (a, -y + 0.08, waist), (b, y - 0.08, height)
    mesh.box(spot, *glass, 'pane', (1, 1, 1), CAR, shrink=0.8)
    middle, half = (a + b) / 2, (b - a) * 0.4
    roof = (middle - half, -y + 0.25, height - 0.02), (middle + half, y - 0.25, height + 0.05)
    mesh.box(spot, *roof, 'paint', tint, CAR)
    for side in (-1, 1):
        for x in (x0 + 0.8, x1 - 0.85):
            _wheel(mesh, spot, x, side * (y + 0.01))
        for x, colour in ((x0 - 0.01, (0.6, 0.05, 0.05)), (x1 + 0.01, (0.9, 0.9, 0.85))):
            inner, outer = side * (y - 0.5), side * (y - 0.1)
            light = [(outer, 0.6), (inner, 0.6), (inner, 0.78), (outer, 0.78)]
            mesh.quad([spot(x, v, z) for v, z in light], 'paint', colour)
    shade = [spot(x, v, 0.02) for x, v in ((x0, -y), (x1, -y), (x1, y), (x0, y))]
    mesh.quad(shade, 'paint', (0.03, 0.03, 0.03))


def _wheel(mesh: Mesh, spot: Spot, x: float, y: float, radius: float = 0.33) -> None:
    turns = np.arange(8) * np.pi / 4
    rim = [spot(x + radius * np.cos(a), y, radius * (1 + np.sin(a))) for a in turns]
    for k in range(0, 8, 2):
        piece = [spot(x, y, radius), rim[k], rim[k + 1], rim[(k + 2) % 8]]
        mesh.quad(piece, 'paint', (0.06, 0.06, 0.07))


def church(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """A church: nave and a tower of about 26 m with clocks and a spire."""
    stone = np.array([0.95, 0.88, 0.76]) * rng.uniform(0.85, 1.05)
    mesh.box(spot, (3, -4.5, 0), (20, 4.5, 8), 'stonework', stone)
    ridge = [spot(3, 0, 13), spot(20, 0, 13)]
    for side in (-1, 1):
        eaves = [spot(3, side * 4.9, 7.8), spot(20, side * 4.9, 7.8)]
        mesh.quad([eaves[0], eaves[1], ridge[1], ridge[0]], 'tiles', (0.4, 0.3, 0.27))
        for x in range(5, 20, 4):
            window = [
                spot(x + u, side * 4.52, z)
                for u, z in ((0, 2.5), (1.3, 2.5), (1.3, 6.4), (0, 6.4))
            ]
            mesh.quad(window, 'pane_lit', (0.8, 0.7, 1.0))
    mesh.box(spot, (-3, -3, 0), (3, 3, 17), 'stonework', stone)
    for turn in range(4):
        face = spot.child(0, 0, turn * np.pi / 2)
        mesh.quad(
            [face(u, -3.05, z) for u, z in ((-1.2, 12.5), (1.2, 12.5), (1.2, 14.9), (-1.2, 14.9))],
            'clock',
        )
        mesh.quad(
            [face(u, -3.05, z) for u, z in ((-0.6, 8.5), (0.6, 8.5), (0.6, 11), (-0.6, 11))],
            'pane',
        )
    mesh.box(spot, (-3.3, -3.3, 17), (3.3, 3.3, 17.5), 'stonework', stone * 0.8)
    mesh.box(spot, (-3, -3, 17.5), (3, 3, 27), 'tiles', (0.3, 0.45, 0.4), shrink=0.02)
    door = [spot(-3.05, v, z) for v, z in ((1, 0), (-1, 0), (-1, 3.2), (1, 3.2))]
    mesh.quad(door, 'wood', (0.5, 0.35, 0.25))


def fountain(mesh: Mesh, spot: Spot) -> None:
    """A round basin with a column."""
    mesh.tube(spot, (0, 0), 2.4, 0, 0.7, 'stonework', sides=12)
    mesh.tube(spot, (0, 0), 2.1, 0.7, 0.72, 'paint', (0.3, 0.45, 0.5), sides=12)
    mesh.tube(spot, (0, 0), 0.5, 0, 2.2, 'stonework', sides=8, taper=0.6)
    mesh.tube(spot, (0, 0), 1.0, 2.2, 2.5, 'stonework', sides=10)
    mesh.tube(spot, (0, 0), 0.25, 2.5, 4.0, 'metal', (0.35, 0.5, 0.42), sides=6, taper=0.3)


def kiosk(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """A six-sided newspaper kiosk under a pointed roof."""
    tint = rng.uniform(0.15, 0.75, 3)
    mesh.tube(spot, (0, 0), 1.5, 0, 2.5, 'wood', tint, sides=6)
    mesh.tube(spot, (0, 0), 1.53, 1.1, 2.1, 'pane_lit', (1, 0.95, 0.8), sides=6)
    mesh.tube(spot, (0, 0), 2.0, 2.5, 4.1, 'tiles', tint * 0.7, sides=6, taper=0.04)


def shelter(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """A bus stop: glass walls, a bench, a lit poster."""
    mesh.box(spot, (0, 1.3, 0.2), (4, 1.36, 2.3), 'pane', (1.3, 1.4, 1.4))
    mesh.box(spot, (-0.1, -0.2, 2.35), (4.1, 1.5, 2.5), 'metal', (0.3, 0.4, 0.5))
    for x in (0, 3.9):
        mesh.box(spot, (x, 0, 0), (x + 0.1, 0.1, 2.35), 'metal', (0.3, 0.3, 0.3))
    mesh.box(spot, (0.8, 0.8, 0.45), (3, 1.2, 0.52), 'wood', (0.6, 0.4, 0.3))
    mesh.box(spot, (3.9, 0.1, 0.4), (4.05, 1.3, 2.2), 'poster', rng.uniform(0.5, 1, 3), GLOW)


def wall(mesh: Mesh, spot: Spot, length: float, height: float, texture: str, tint) -> None:
    """A garden wall or fence along x, cut into pieces of 3 m."""
    for x in np.arange(0, length, 3.0):
        mesh.box(spot, (x, 0, 0), (min(x + 3.0, length), 0.3, height), texture, tint)
    mesh.box(spot, (0, -0.06, height), (length, 0.36, height + 0.12), 'stonework', (0.8, 0.8, 0.8))
