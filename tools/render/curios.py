# SPDX-License-Identifier: Apache-2.0
"""Things by which one remembers a street: stalls, statues, posters, flags, arches, flower beds."""

from __future__ import annotations

import cv2
import numpy as np

from tools.render import props
from tools.render.mesh import GLOW, LEAF, Mesh, Spot
from tools.render.path import Loop
from tools.render.textures import Rng, awning, finish

KERB_SIDE_M = 4.0  # from the centre line to the things at the kerb
WALL_SIDE_M = 5.0  # to the things along the house fronts


def scatter(mesh: Mesh, textures: dict[str, np.ndarray], loop: Loop, rng: Rng) -> None:
    """Something else every few metres on both pavements, and now and then across the road."""
    for number in range(12):
        textures[f'print{number}'] = _print(rng)
    for number in range(5):
        textures[f'cloth{number}'] = awning(rng, rng.uniform(30, 215, 3))
    makers = [
        column,
        stall,
        phone_box,
        statue,
        flower_bed,
        bench,
        billboard,
        flag,
        bins,
        bollards,
        parasol,
        scaffold,
    ]
    for side in (-1, 1):
        order: list = []
        s = float(rng.uniform(0, 5))
        while s < loop.length - 3:
            order = order or [makers[k] for k in rng.permutation(len(makers))]
            maker = order.pop()
            xy, heading = loop.at(s)
            away = KERB_SIDE_M if maker in (flower_bed, bollards, bins, flag) else WALL_SIDE_M
            spot = Spot(xy, heading, 0.12).child(0, side * away, 0 if side > 0 else np.pi)
            maker(mesh, spot, rng)
            s += float(rng.uniform(4.5, 8.5))
    crossing = [gate, pennants, banner, pennants, banner, bridge]
    for k, maker in enumerate(crossing):
        s = (k + rng.uniform(0.2, 0.8)) * loop.length / len(crossing)
        xy, heading = loop.at(s)
        maker(mesh, Spot(xy, heading), rng)


def _print(rng: Rng, size: int = 128) -> np.ndarray:
    """A poster: a bold ground, a few shapes, a line of text."""
    rgb = np.ones((size, size, 3), dtype=np.float32) * rng.uniform(30, 240, 3).astype(np.float32)
    for _ in range(int(rng.integers(2, 5))):
        colour = [float(v) for v in rng.uniform(20, 245, 3)]
        a, b = (tuple(int(v) for v in rng.integers(0, size, 2)) for _ in range(2))
        if rng.random() < 0.5:
            cv2.circle(rgb, a, int(rng.integers(10, 45)), colour, -1)
        else:
            cv2.rectangle(rgb, a, b, colour, -1)
    mask = np.zeros((size, size), dtype=np.uint8)
    word = ''.join(chr(65 + int(v)) for v in rng.integers(0, 26, int(rng.integers(3, 6))))
    cv2.putText(mask, word, (4, int(rng.integers(40, 120))), cv2.FONT_HERSHEY_DUPLEX, 1.3, 255, 3)
    rgb[mask > 0] = 250 if rgb.mean() < 130 else 20
    return finish(rgb, np.full((size, size), 60, dtype=np.uint8))


def _any_print(rng: Rng) -> str:
    return f'print{int(rng.integers(12))}'


def _sheet(mesh: Mesh, spot: Spot, x0, x1, y, z0, z1, texture, material=0) -> None:
    """An upright rectangle along x that faces the road (-y)."""
    mesh.quad(
        [spot(x0, y, z0), spot(x1, y, z0), spot(x1, y, z1), spot(x0, y, z1)],
        texture,
        material=material,
    )


def column(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """An advertising column."""
    for k in range(3):
        turned = spot.child(0, 0, k * 2 * np.pi / 3)
        _sheet(mesh, turned, -0.75, 0.75, -0.5, 0.4, 2.6, _any_print(rng))
    mesh.tube(spot, (0, 0), 0.62, 0, 2.9, 'stonework', rng.uniform(0.5, 0.9, 3), sides=9)
    mesh.tube(spot, (0, 0), 0.95, 2.9, 3.5, 'metal', rng.uniform(0.15, 0.5, 3), sides=9, taper=0.1)


def stall(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """A market stall with fruit under a striped roof."""
    cloth = f'cloth{int(rng.integers(5))}'
    for x in (-1.5, 1.4):
        mesh.box(spot, (x, -0.5, 0), (x + 0.08, -0.42, 2.2), 'wood', (0.6, 0.5, 0.4))
    roof = [
        spot(-1.8, -1.0, 2.05),
        spot(1.8, -1.0, 2.05),
        spot(1.8, 0.6, 2.7),
        spot(-1.8, 0.6, 2.7),
    ]
    mesh.quad(roof, cloth)
    mesh.box(spot, (-1.5, -0.5, 0), (1.5, 0.4, 0.8), 'wood', rng.uniform(0.4, 0.9, 3))
    for x in np.arange(-1.4, 1.3, 0.55):
        mesh.box(
            spot,
            (x, -0.45, 0.8),
            (x + 0.5, 0.3, 1.0),
            'leaves',
            rng.uniform(0.3, 1, 3) * [1, 0.9, 0.6],
        )


def phone_box(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """A telephone box or a ticket machine in a strong colour."""
    tint = rng.permutation(
        [rng.uniform(0.6, 0.85), rng.uniform(0.05, 0.3), rng.uniform(0.05, 0.3)]
    )
    mesh.box(spot, (-0.45, -0.45, 0), (0.45, 0.45, 2.4), 'wood', tint)
    mesh.box(spot, (-0.35, -0.47, 0.6), (0.35, 0.47, 2.0), 'pane_lit')


def statue(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """A figure on a pedestal."""
    bronze = np.array([0.3, 0.42, 0.36]) * rng.uniform(0.7, 1.4)
    mesh.box(
        spot,
        (-0.55, -0.55, 0),
        (0.55, 0.55, 1.3),
        'stonework',
        rng.uniform(0.6, 1, 3),
        shrink=0.85,
    )
    mesh.tube(spot, (0, 0), 0.36, 1.3, 2.6, 'paint', bronze, sides=7, taper=0.7)
    mesh.tube(spot, (0, 0), 0.17, 2.6, 3.0, 'paint', bronze, sides=7)
    arm = float(rng.uniform(-0.6, 0.6))
    mesh.box(spot, (arm, -0.1, 2.1), (arm + 0.7, 0.1, 2.3), 'paint', bronze)


def flower_bed(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """A stone trough with flowers of one colour."""
    long = float(rng.uniform(1, 2.2))
    mesh.box(spot, (-long, -0.3, 0), (long, 0.35, 0.45), 'stonework', rng.uniform(0.5, 0.9, 3))
    colour = rng.permutation([1.0, rng.uniform(0.2, 0.8), 0.2])
    for x in np.arange(-long + 0.1, long - 0.1, 0.22):
        z = 0.45 + rng.uniform(0.15, 0.5)
        tint = colour if rng.random() < 0.6 else (0.3, 0.5, 0.2)
        mesh.box(spot, (x, -0.2, 0.45), (x + 0.2, 0.25, z), 'plaster', tint, LEAF, shrink=0.6)


def bench(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """A bench by a small tree in a tub."""
    tint = rng.uniform(0.2, 0.9, 3)
    mesh.box(spot, (-1, 0, 0.42), (0.8, 0.4, 0.5), 'wood', tint)
    mesh.box(spot, (-1, 0.4, 0.5), (0.8, 0.46, 0.95), 'wood', tint)
    for x in (-0.9, 0.6):
        mesh.box(spot, (x, 0, 0), (x + 0.08, 0.4, 0.42), 'metal', (0.2, 0.2, 0.2))
    mesh.tube(spot, (1.5, 0.2), 0.35, 0, 0.6, 'brickwork', sides=8, taper=1.2)
    props.tree(mesh, spot.child(1.5, 0.2, z=0.4), rng, float(rng.uniform(2.0, 3.2)))


def billboard(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """A large poster on posts, square to the road or along it."""
    board = spot.child(0, 0.2, float(rng.choice([0, 0, 0.5, -0.5])))
    wide, low = float(rng.uniform(1.2, 1.9)), float(rng.uniform(0.6, 1.4))
    _sheet(mesh, board, -wide, wide, -0.03, low, low + wide * 1.3, _any_print(rng), GLOW)
    mesh.box(board, (-wide - 0.08, 0, 0), (-wide, 0.1, low + wide * 1.3), 'metal', (0.3, 0.3, 0.3))
    mesh.box(board, (wide, 0, 0), (wide + 0.08, 0.1, low + wide * 1.3), 'metal', (0.3, 0.3, 0.3))


def flag(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """A pole with a long flag."""
    mesh.tube(spot, (0, 0), 0.06, 0, 6.5, 'metal', (0.8, 0.8, 0.8), sides=5)
    turned = spot.child(0, 0, float(rng.uniform(0, 2 * np.pi)))
    _sheet(mesh, turned, 0.08, 1.2, 0, 3.6, 6.3, _any_print(rng))


def bins(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """Recycling bins in a row."""
    for k in range(int(rng.integers(2, 4))):
        tint = rng.permutation([0.6, 0.35, 0.1]) * rng.uniform(0.6, 1.2)
        mesh.box(spot, (0.95 * k, -0.3, 0.05), (0.95 * k + 0.8, 0.5, 1.2), 'plaster', tint)


def bollards(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """A row of posts with white heads."""
    tint = rng.uniform(0.1, 0.6, 3)
    for x in np.arange(-2.4, 2.5, 0.8):
        mesh.tube(spot, (x, 0), 0.09, 0, 0.85, 'metal', tint, sides=6)
        mesh.tube(spot, (x, 0), 0.1, 0.85, 1.0, 'metal', sides=6)


def parasol(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """A cafe table under a parasol."""
    tint = rng.uniform(0.2, 0.95, 3)
    mesh.tube(spot, (0, 0), 0.04, 0, 2.3, 'metal', sides=5)
    mesh.tube(spot, (0, 0), 1.5, 2.1, 2.7, 'plaster', tint, sides=8, taper=0.06)
    mesh.tube(spot, (0, 0), 0.5, 0.7, 0.76, 'wood', (0.7, 0.6, 0.5), sides=8)
    for x in (-0.8, 0.8):
        mesh.box(spot, (x - 0.2, -0.2, 0.4), (x + 0.2, 0.2, 0.46), 'wood', tint)
        mesh.box(spot, (x - 0.03, -0.2, 0), (x + 0.03, 0.2, 0.9), 'wood', tint)


def scaffold(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """A scaffold in front of a house, partly behind netting."""
    high = int(rng.integers(2, 4))
    for x in (-2.0, 0.0, 2.0):
        for y in (-0.3, 0.5):
            mesh.box(
                spot, (x, y, 0), (x + 0.06, y + 0.06, 2.0 * high + 0.8), 'metal', (0.6, 0.6, 0.62)
            )
    for k in range(1, high + 1):
        mesh.box(
            spot, (-2.1, -0.35, 2.0 * k), (2.1, 0.55, 2.0 * k + 0.07), 'wood', (0.8, 0.65, 0.4)
        )
        mesh.box(
            spot,
            (-2.0, -0.35, 2.0 * k + 0.95),
            (2.06, -0.31, 2.0 * k + 1.0),
            'metal',
            (0.6, 0.6, 0.62),
        )
    _sheet(mesh, spot, -2.0, 0.0, -0.36, 2.0, 4.0, _any_print(rng))


def gate(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """An old town gate: two towers and a wall with the road through it."""
    tint = np.array([0.85, 0.75, 0.62]) * rng.uniform(0.8, 1.1)
    for side in (-1, 1):
        mesh.tube(spot, (0, side * 5.2), 1.4, 0, 8, 'stonework', tint, sides=10)
        mesh.tube(
            spot, (0, side * 5.2), 1.8, 8, 11.5, 'tiles', (0.55, 0.27, 0.2), sides=10, taper=0.04
        )
    mesh.box(spot, (-0.8, -4.5, 4.6), (0.8, 4.5, 7.0), 'stonework', tint)
    for y in np.arange(-4.2, 4.2, 1.2):
        mesh.box(spot, (-0.8, y, 7.0), (0.8, y + 0.6, 7.7), 'stonework', tint * 0.95)


def bridge(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """A glazed footbridge between the houses on both sides."""
    tint = rng.uniform(0.3, 0.9, 3)
    mesh.box(spot, (-1.2, -6.5, 4.4), (1.2, 6.5, 4.9), 'plaster', tint)
    mesh.box(spot, (-1.1, -6.5, 4.9), (1.1, 6.5, 6.4), 'pane_lit', (0.9, 1, 1))
    mesh.box(spot, (-1.3, -6.5, 6.4), (1.3, 6.5, 6.8), 'plaster', tint)
    for y in np.arange(-6, 6.1, 1.5):
        mesh.box(spot, (-1.15, y, 4.9), (1.15, y + 0.15, 6.4), 'plaster', tint)


def pennants(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """Three strings of small flags across the road."""
    colours = rng.uniform(0.1, 1, (3, 3))
    for x in (-1.5, 0.0, 1.5):
        for k, y in enumerate(np.arange(-5.2, 5.2, 0.62)):
            z = 4.4 + 0.035 * y**2
            points = [
                spot(x, y + 0.48, z),
                spot(x, y, z),
                spot(x, y + 0.24, z - 0.7),
                spot(x, y + 0.24, z - 0.7),
            ]
            mesh.quad(points, 'plaster', colours[k % 3])


def banner(mesh: Mesh, spot: Spot, rng: Rng) -> None:
    """A cloth with a print across the road between two masts."""
    for y in (-4.2, 4.2):
        mesh.tube(spot, (0, y), 0.08, 0, 6.2, 'metal', (0.5, 0.5, 0.5), sides=5)
    text = _any_print(rng)
    points = [spot(0, 4.1, 4.5), spot(0, -4.1, 4.5), spot(0, -4.1, 6.1), spot(0, 4.1, 6.1)]
    mesh.quad(points, text, uv=[[0, 0], [3, 0], [3, 1], [0, 1]])
