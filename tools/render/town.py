# SPDX-License-Identifier: Apache-2.0
"""A small town by seed: a loop of streets, houses, a park, landmarks, lamps, parked cars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.render import curios, props
from tools.render.facade import random_front
from tools.render.house import HouseBuilder
from tools.render.mesh import GROUND, Faces, Mesh, Spot
from tools.render.path import Loop, offset_polygon, town_loop
from tools.render.textures import Rng, clock, finish, leaves, road, slabs, speckled, tiles

ROAD_HALF_M = 3.3
PAVEMENT_M = 2.3
STREET_HALF_M = ROAD_HALF_M + PAVEMENT_M
KERB_M = 0.12
ROAD_TILE_M = 8.0
SQUARE_CORNERS = (0, 3, 5, 8)  # of the loop, where two streets meet at about 90 degrees
THEMES = ('old', 'brick', 'modern', 'village')


@dataclass
class Town:
    """Faces, textures uint8 (h, w, 4) by name, lamps float64 (l, 3) in metres."""

    loop: Loop
    faces: Faces
    textures: dict[str, np.ndarray]
    lamps: np.ndarray


def build_town(town_seed: int, drive_seed: int, texture_px: int = 512) -> Town:
    """The town of this seed, with the parked cars and lit windows of this drive."""
    rng = np.random.default_rng([town_seed, 2])
    varying = np.random.default_rng([town_seed, drive_seed, 3])
    loop, mesh = town_loop(town_seed), Mesh()
    textures = _common_textures(rng)
    houses = HouseBuilder(mesh, textures, rng, varying, texture_px)
    _ground(mesh, loop, rng)
    _inner_side(houses, loop, rng)
    _outer_side(houses, loop, rng)
    lamps = _street_furniture(mesh, loop, rng)
    curios.scatter(mesh, textures, loop, rng)
    _cars(mesh, loop, varying)
    return Town(loop, mesh.faces(), textures, lamps)


def _common_textures(rng: Rng) -> dict[str, np.ndarray]:
    flat = np.ones((8, 8, 3), dtype=np.float32)
    pane = flat * [58, 68, 80]
    out = {
        f'road_{kind}': road(rng, kind)
        for kind in ('plain', 'edged', 'zebra', 'patched', 'cobble')
    }
    out |= {
        'pavement': slabs(rng, (158, 154, 148), 8, 5),
        'square': slabs(rng, (164, 150, 132), 12, 12),
        'grass': speckled(rng, (88, 112, 58)),
        'leaves': leaves(rng, (92, 124, 56)),
        'bark': speckled(rng, (88, 72, 58), 64),
        'tiles': tiles(rng, (225, 225, 225)),
        'plaster': speckled(rng, (235, 235, 235), 128),
        'stonework': slabs(rng, (205, 200, 190), 16, 8),
        'brickwork': slabs(rng, (160, 88, 70), 16, 8, joint=1.2),
        'wood': slabs(rng, (210, 205, 200), 10, 2, 128),
        'rail': finish(
            np.where(np.arange(64)[None, :, None] % 8 < 3, 235.0, 90.0).repeat(64, 0).repeat(3, 2)
        ),
        'metal': finish(flat * 230),
        'paint': finish(flat * 250),
        'pane': finish(pane),
        'pane_lit': finish(pane + 30, np.full((8, 8), 200, np.uint8)),
        'lamp': finish(flat * 240, np.full((8, 8), 255, np.uint8)),
        'poster': speckled(rng, (200, 170, 160), 128, 2, 70, 2),
        'clock': clock(),
    }
    out['poster'][..., 3] = 170
    return out


def _ground(mesh: Mesh, loop: Loop, rng: Rng) -> None:
    """Carriageway, kerbs and pavements along the loop in pieces of 2 m, a plane under it all."""
    count = int(loop.length / 2)
    arc = np.linspace(0, loop.length, count + 1)
    xy, heading = loop.at(arc)
    left = np.stack([-np.sin(heading), np.cos(heading)], axis=1)
    kinds = rng.choice(['plain', 'edged', 'patched', 'plain'], size=count // 12 + 1)
    cobbled = int(rng.integers(0, count - 20))
    zebras = set(rng.choice(count // 4, 4, replace=False).tolist())
    for k in range(count):
        kind = 'cobble' if cobbled <= k < cobbled + 18 else str(kinds[k // 12])
        kind = 'zebra' if k // 4 in zebras else kind
        v = arc[k : k + 2] / ROAD_TILE_M
        if kind == 'zebra':  # the crossing is painted once on four pieces of road
            v = np.array([k % 4, k % 4 + 1]) / 4
        ends = (xy[k], left[k], v[0]), (xy[k + 1], left[k + 1], v[1])
        _strip(mesh, ends, (ROAD_HALF_M, -ROAD_HALF_M), (0, 0), f'road_{kind}')
        ends = (xy[k], left[k], arc[k] / 2), (xy[k + 1], left[k + 1], arc[k + 1] / 2)
        for side in (-1, 1):
            a, b = side * ROAD_HALF_M, side * STREET_HALF_M
            _strip(mesh, ends, (a, b), (KERB_M, KERB_M), 'pavement')
            _strip(mesh, ends, (a, a), (0, KERB_M), 'stonework', 0.1)
    for x in range(-120, 120, 12):
        for y in range(-120, 120, 12):
            texture = 'grass' if max(abs(x + 6) - 42, abs(y + 6) - 30) > 18 else 'square'
            corners = [(x, y), (x + 12, y), (x + 12, y + 12), (x, y + 12)]
            points = [(*corner, -0.06) for corner in corners]
            mesh.quad(points, texture, material=GROUND, uv=[[0, 0], [4, 0], [4, 4], [0, 4]])


def _strip(mesh: Mesh, ends, offsets, heights, texture: str, across: float = 1.0) -> None:
    """A piece of street between two ends (point, its left, texture y), offsets to the left."""
    (p, n, v0), (q, m, v1) = ends
    (a, b), (za, zb) = offsets, heights
    points = [(*(p + n * a), za), (*(q + m * a), za), (*(q + m * b), zb), (*(p + n * b), zb)]
    uv = [[0, v0], [0, v1], [across, v1], [across, v0]]
    mesh.quad(points, texture, material=GROUND, uv=uv, normal=(0, 0, 1))


def _edges(corners: np.ndarray):
    """Start, yaw and length of each edge of a polygon."""
    for k, start in enumerate(corners):
        step = corners[(k + 1) % len(corners)] - start
        yield k, start, float(np.arctan2(step[1], step[0])), float(np.hypot(*step))


def _widths(rng: Rng, length: float) -> list[float]:
    """Front widths that fill a length, about 5 to 12 m each."""
    widths = []
    while length - sum(widths) > 16:
        widths.append(float(rng.uniform(5, 11.5)))
    rest = length - sum(widths)
    return widths + ([rest] if rest < 11 else [rest * 0.45, rest * 0.55])


def _inner_side(houses: HouseBuilder, loop: Loop, rng: Rng) -> None:
    """Houses round the block inside the loop; now and then a garden gap."""
    themes = rng.permutation(THEMES * 3)
    for k, start, yaw, length in _edges(offset_polygon(loop.corners, STREET_HALF_M)):
        spot = Spot(start, yaw)
        # At the block's corners the first house begins behind the last one of the street before.
        skip = 7.0 if k in SQUARE_CORNERS else 0.0
        x = skip
        for width in _widths(rng, length - skip):
            if rng.random() < 0.12 and 5 < width < 9:
                _garden(houses.mesh, spot.child(x, 0), width, rng)
            else:
                front = random_front(rng, width, str(themes[k]))
                houses.build(spot.child(x, float(rng.choice([0, 0, 0.4]))), front, 7.0)
            x += width


def _garden(mesh: Mesh, spot: Spot, width: float, rng: Rng) -> None:
    """A gap between houses: wall or hedge, trees behind."""
    if rng.random() < 0.5:
        props.hedge(mesh, spot, width, rng)
    else:
        props.wall(
            mesh, spot, width, float(rng.uniform(0.9, 2.0)), 'brickwork', rng.uniform(0.7, 1.2, 3)
        )
    for _ in range(2):
        place = spot.child(float(rng.uniform(1, width - 1)), float(rng.uniform(2, 6)))
        props.tree(mesh, place, rng, float(rng.uniform(5, 9)))


def _outer_side(houses: HouseBuilder, loop: Loop, rng: Rng) -> None:
    """Houses outside the loop, two side streets, a park with the church, a row behind all that."""
    corners = offset_polygon(loop.corners, -STREET_HALF_M)
    themes = rng.permutation(THEMES * 3)
    park = int(rng.choice([0, 2, 5, 7]))
    crossings = [
        int(c) for c in rng.choice([k for k in range(len(corners)) if k != park], 2, replace=False)
    ]
    for k, start, yaw, length in _edges(corners):
        end = start + length * np.array([np.cos(yaw), np.sin(yaw)])
        spot = Spot(end, yaw + np.pi)  # seen from the street: x to the right, y away from it
        if k == park:
            _park(houses.mesh, spot, length, rng)
            continue
        x = 0.0
        for n, width in enumerate(_widths(rng, length)):
            if k in crossings and n == 1:
                _side_street(houses, spot.child(x, 0), rng, str(themes[k]))
                x += width
                continue
            front = random_front(rng, width, str(themes[k]))
            houses.build(spot.child(x, float(rng.choice([0, 0, 0.5, 1.2]))), front, 9.0)
            x += width
    for _, start, yaw, length in _edges(offset_polygon(loop.corners, -(STREET_HALF_M + 26))):
        end = start + length * np.array([np.cos(yaw), np.sin(yaw)])
        x = 0.0
        for width in _widths(rng, length):
            if rng.random() < 0.75:
                houses.build(
                    Spot(end, yaw + np.pi).child(x, 0),
                    random_front(rng, width, 'old'),
                    8,
                    detail=False,
                )
            x += width + 1


def _side_street(houses: HouseBuilder, spot: Spot, rng: Rng, theme: str) -> None:
    """An opening between the houses: a lane of 18 m and a tree, seen from the loop."""
    for y in range(0, 18, 6):
        points = [
            spot(0.4, y, -0.02),
            spot(5.6, y, -0.02),
            spot(5.6, y + 6, -0.02),
            spot(0.4, y + 6, -0.02),
        ]
        houses.mesh.quad(points, 'road_cobble', material=GROUND, normal=(0, 0, 1))
    props.tree(houses.mesh, spot.child(2.5, 20), rng, 8.0)
    props.wall(houses.mesh, spot.child(0, 18.5), 6.0, 1.4, 'stonework', rng.uniform(0.6, 1, 3))


def _park(mesh: Mesh, spot: Spot, length: float, rng: Rng) -> None:
    """A lawn with a low wall, trees, fountain, kiosk and the church behind."""
    for x in np.arange(0, length, 6):
        for y in (1.5, 9.5, 17.5):
            end = min(x + 6, length)
            points = [
                spot(x, y, 0.03),
                spot(end, y, 0.03),
                spot(end, y + 8, 0.03),
                spot(x, y + 8, 0.03),
            ]
            uv = [[0, 0], [2, 0], [2, 2.6], [0, 2.6]]
            mesh.quad(points, 'grass', material=GROUND, uv=uv, normal=(0, 0, 1))
    props.wall(mesh, spot.child(0, 0.6), length * 0.45, 0.6, 'stonework', (0.8, 0.75, 0.7))
    props.church(mesh, spot.child(length * 0.3, 15, float(rng.uniform(-0.3, 0.3))), rng)
    props.fountain(mesh, spot.child(length * 0.72, 6))
    props.kiosk(mesh, spot.child(length * 0.92, 2.5), rng)
    for x in np.arange(2, length - 1, 5.5):
        props.tree(
            mesh,
            spot.child(x + rng.uniform(-1, 1), rng.uniform(2.5, 9)),
            rng,
            float(rng.uniform(5, 10)),
        )


def _street_furniture(mesh: Mesh, loop: Loop, rng: Rng) -> np.ndarray:
    """Lamps on both sides in turn, some rows of trees, bus shelters; returns the lamps (l, 3)."""
    lamps = []
    count = round(loop.length / 17)
    for k in range(count):
        xy, heading = loop.at(k * loop.length / count + rng.uniform(-1.5, 1.5))
        side = 1 if k % 2 else -1
        spot = Spot(xy, heading, KERB_M).child(
            0, side * (ROAD_HALF_M + 0.4), 0 if side < 0 else np.pi
        )
        lamps.append(props.lamp(mesh, spot))
    for _ in range(3):
        start, side = rng.uniform(0, loop.length), rng.choice([-1, 1])
        height = rng.uniform(4.5, 7)
        for s in np.arange(start, start + 24, rng.uniform(6, 8)):
            xy, heading = loop.at(s)
            spot = Spot(xy, heading, KERB_M).child(0, side * (STREET_HALF_M - 1.4))
            props.tree(mesh, spot, rng, float(height * rng.uniform(0.9, 1.1)))
    for s in rng.uniform(0, loop.length, 2):
        xy, heading = loop.at(s)
        props.shelter(mesh, Spot(xy, heading + np.pi, KERB_M).child(0, ROAD_HALF_M + 0.5), rng)
    return np.array(lamps)


def _cars(mesh: Mesh, loop: Loop, rng: Rng) -> None:
    """Parked cars, half on the pavement, other ones at other places for every drive."""
    s = 0.0
    while s < loop.length - 6:
        s += float(rng.uniform(9, 34))
        side = int(rng.choice([-1, 1]))
        xy, heading = loop.at(s)
        spot = Spot(xy, heading).child(0, side * (ROAD_HALF_M + 0.25), 0 if side < 0 else np.pi)
        props.car(mesh, spot, rng)
