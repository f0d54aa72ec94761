# SPDX-License-Identifier: Apache-2.0
"""A house: box with a painted front, roof, chimney, balconies, awnings and signs."""

from __future__ import annotations

import numpy as np

from tools.render.facade import Front, paint_front
from tools.render.mesh import GLOW, Mesh, Spot
from tools.render.textures import Rng, awning, sign

ROOF_TINTS = [
    (0.62, 0.3, 0.22),
    (0.5, 0.26, 0.2),
    (0.32, 0.33, 0.37),
    (0.42, 0.34, 0.28),
    (0.24, 0.25, 0.27),
]
WORDS = [
    'BAKERY', 'CAFE ROSA', 'PHARMACY', 'BOOKS', 'FLORIST', 'HOTEL ADLER', 'BANK', 'OPTIK',
    'PIZZERIA', 'BARBER', 'TOYS', 'MUSIC', 'BIKES', 'WINE', 'SHOES', 'TAILOR', 'POST', 'FISH',
    'CINEMA', 'LAUNDRY', 'ANTIQUES', 'TEA ROOM', 'KEBAB', 'GALLERY', 'TATTOO', 'PAPER', 'KEYS',
    'BUTCHER', 'FRUIT', 'TRAVEL', 'CHEESE', 'HAIR', 'PUB LION', 'SUSHI', 'DENTIST', 'LIBRARY',
    'RADIO', 'TOOLS', 'CLOCKS', 'HATS',
]  # fmt: skip


class HouseBuilder:
    """Builds houses into a mesh; it keeps the textures and the draw of shop names."""

    def __init__(
        self, mesh: Mesh, textures: dict[str, np.ndarray], rng: Rng, lit: Rng, size: int
    ) -> None:
        self.mesh, self.textures, self.rng, self.lit, self.size = mesh, textures, rng, lit, size
        self._names = [str(word) for word in rng.permutation(WORDS)]
        self._count = 0

    def build(self, spot: Spot, front: Front, depth: float, detail: bool = True) -> None:
        """House whose front runs from the frame's origin along its x; `depth` metres deep (y)."""
        name = f'front{self._count}'
        self._count += 1
        self.textures[name] = paint_front(front, self.rng, self.lit, self.size if detail else 128)
        self.textures[name + 's'] = paint_front(
            front, self.rng, self.lit, self.size // 2 if detail else 64, True
        )
        w, h = front.width, front.height
        corners = [(0, 0), (w, 0), (w, depth), (0, depth)]
        for k in range(4):
            (x0, y0), (x1, y1) = corners[k], corners[(k + 1) % 4]
            texture = name if k == 0 else name + 's'
            self.mesh.quad(
                [spot(x0, y0, 0), spot(x1, y1, 0), spot(x1, y1, h), spot(x0, y0, h)], texture
            )
        self._roof(spot, front, depth)
        if detail:
            self._balconies(spot, front)
            if front.ground == 'shop':
                self._shop(spot, front, name)

    def _roof(self, spot: Spot, front: Front, depth: float) -> None:
        rng, mesh, w, h = self.rng, self.mesh, front.width, front.height
        tint = np.array(ROOF_TINTS[int(rng.integers(len(ROOF_TINTS)))]) * rng.uniform(0.85, 1.2)
        kinds = (
            ['flat'] if front.style == 'panel' else ['eaves', 'eaves', 'gable', 'hip', 'mansard']
        )
        kind = str(rng.choice(kinds))
        if kind == 'flat':
            top = (w + 0.1, depth + 0.1, h + 0.45)
            mesh.box(spot, (-0.1, -0.1, h), top, 'plaster', (0.55, 0.55, 0.55))
        elif kind == 'mansard':
            top = (w + 0.2, depth + 0.2, h + 2.4)
            mesh.box(spot, (-0.2, -0.2, h), top, 'tiles', tint, shrink=0.8)
        else:
            self._pitched_roof(spot, front, depth, kind, tint)
        if kind == 'mansard' or (kind == 'eaves' and rng.random() < 0.5):
            self._dormers(spot, w, h, tint, front)
        y = depth * 0.5
        for _ in range(int(rng.integers(0, 3))):
            x = float(rng.uniform(0.8, max(0.9, w - 1.4)))
            mesh.box(spot, (x, y, h), (x + 0.7, y + 0.6, h + 4.2), 'brickwork')

    def _pitched_roof(self, spot: Spot, front: Front, depth: float, kind: str, tint) -> None:
        """Two slopes and two ends; the ridge runs along the street, or away from it ('gable')."""
        w, h, over = front.width, front.height, 0.35
        low = [spot(x, y, h) for x in (-over, w + over) for y in (-over, depth + over)]
        low = [low[0], low[2], low[3], low[1]]  # round the house, from the front's left
        if kind == 'gable':
            top = h + w * self.rng.uniform(0.4, 0.6)
            a, b = spot(w / 2, -over, top), spot(w / 2, depth + over, top)
            slopes, ends = [(1, 2, b, a), (3, 0, a, b)], [(0, 1, a), (2, 3, b)]
        else:
            top = h + self.rng.uniform(2.0, 3.6)
            inset = min(w, depth) * 0.4 if kind == 'hip' else -over
            a, b = spot(inset, depth / 2, top), spot(w - inset, depth / 2, top)
            slopes, ends = [(0, 1, b, a), (2, 3, a, b)], [(1, 2, b), (3, 0, a)]
        for i, j, p, q in slopes:
            uv = [[0, 0], [2, 0], [2, 1], [0, 1]]
            self.mesh.quad([low[i], low[j], p, q], 'tiles', tint, uv=uv)
        wall = ('tiles', tint) if kind == 'hip' else ('plaster', np.array(front.wall) / 255)
        for i, j, p in ends:
            uv = [[0, 0], [1, 0], [0.5, 1], [0.5, 1]]
            self.mesh.quad([low[i], low[j], p, p], *wall, uv=uv)

    def _dormers(self, spot: Spot, width: float, z: float, tint, front: Front) -> None:
        count = max(1, int(width / 3.4))
        for k in range(count):
            x = (k + 0.5) * width / count - 0.6
            self.mesh.box(
                spot, (x, 0.35, z), (x + 1.2, 2.4, z + 1.6), 'plaster', np.array(front.trim) / 255
            )
            points = [spot(x + 0.2, 0.33, z + 0.5), spot(x + 1, 0.33, z + 0.5)]
            points += [spot(x + 1, 0.33, z + 1.4), spot(x + 0.2, 0.33, z + 1.4)]
            self.mesh.quad(points, 'pane_lit' if self.lit.random() < 0.3 else 'pane')
            self.mesh.box(spot, (x - 0.15, 0.2, z + 1.6), (x + 1.35, 2.4, z + 1.8), 'tiles', tint)

    def _balconies(self, spot: Spot, front: Front) -> None:
        if front.floors < 3 or self.rng.random() < 0.55:
            return
        pitch = front.width / front.columns
        chosen = self.rng.random(front.columns) < 0.6
        tint = self.rng.uniform(0.2, 0.9, 3)
        for floor in range(1, front.floors):
            for k in np.flatnonzero(chosen):
                x0, x1 = k * pitch + 0.2, (k + 1) * pitch - 0.2
                z = floor * front.floor_height + 0.15
                self.mesh.box(spot, (x0, -0.9, z), (x1, 0, z + 0.15), 'plaster', (0.7, 0.7, 0.7))
                self.mesh.box(spot, (x0, -0.92, z + 0.15), (x1, -0.86, z + 0.95), 'rail', tint)

    def _shop(self, spot: Spot, front: Front, name: str) -> None:
        rng, w, z = self.rng, front.width, front.floor_height
        text = self._names.pop() if self._names else f'SHOP {self._count}'
        ground = rng.uniform(20, 235, 3)
        ink = (245, 240, 225) if ground.mean() < 125 else (30, 26, 30)
        self.textures[name + 't'] = sign(rng, text, ground, ink)
        half = min(w - 0.6, 5.0) / 2
        x0, x1 = w / 2 - half, w / 2 + half
        board = [
            spot(x, -0.12, h)
            for x, h in [(x0, z - 0.72), (x1, z - 0.72), (x1, z + 0.1), (x0, z + 0.1)]
        ]
        self.mesh.quad(board, name + 't')
        if rng.random() < 0.55:
            self.textures[name + 'a'] = awning(rng, rng.uniform(30, 210, 3))
            reach = float(rng.uniform(0.9, 1.5))
            cloth = [spot(0.3, -reach, z - 1.0), spot(w - 0.3, -reach, z - 1.0)]
            cloth += [spot(w - 0.3, -0.05, z - 0.45), spot(0.3, -0.05, z - 0.45)]
            self.mesh.quad(cloth, name + 'a')
        if rng.random() < 0.6:
            x = float(rng.choice([0.5, w - 0.6]))
            side = [
                spot(x, -1.0, z + 0.3),
                spot(x, -0.1, z + 0.3),
                spot(x, -0.1, z + 1.0),
                spot(x, -1.0, z + 1.0),
            ]
            self.mesh.quad(side, name + 't', material=GLOW)
