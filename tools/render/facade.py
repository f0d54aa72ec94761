# SPDX-License-Identifier: Apache-2.0
"""House fronts: brick, plaster, stone, boards or timber spot, with windows, doors, shops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.render.textures import Rng, finish, noise

PAINT = [
    (226, 212, 178), (214, 178, 112), (204, 142, 112), (176, 196, 206), (186, 204, 172),
    (228, 224, 216), (236, 206, 196), (168, 160, 150), (196, 92, 74), (120, 146, 160),
    (240, 222, 130), (150, 120, 96),
]  # fmt: skip
BRICK = [
    (158, 84, 66),
    (132, 68, 58),
    (176, 118, 84),
    (190, 160, 116),
    (112, 84, 78),
    (206, 190, 170),
]
TRIM = [(240, 238, 230), (92, 60, 44), (54, 70, 62), (60, 66, 84), (150, 40, 36), (216, 200, 160)]
IVY = [(66, 96, 44), (92, 110, 50), (130, 58, 40)]


@dataclass(frozen=True)
class Front:
    """What a front looks like; lengths in metres, colours RGB 0..255."""

    width: float
    floors: int
    style: str
    wall: tuple
    trim: tuple
    shutter: tuple | None
    columns: int
    window: tuple[float, float]
    panes: tuple[int, int]
    ground: str  # 'shop', 'door', 'garage', 'arch' or 'windows'
    floor_height: float = 3.0

    @property
    def height(self) -> float:
        """Height of the front up to the eaves, metres."""
        return self.floors * self.floor_height + 0.6


def random_front(rng: Rng, width: float, theme: str) -> Front:
    """A front of this width in a street's theme: 'old', 'brick', 'modern' or 'village'."""
    styles = {
        'old': ['plaster', 'plaster', 'timber', 'stone'],
        'brick': ['brick', 'brick', 'brick', 'stone'],
        'modern': ['panel', 'panel', 'plaster', 'brick'],
        'village': ['boards', 'timber', 'plaster', 'brick'],
    }[theme]
    style = str(rng.choice(styles))
    floors = int(
        rng.integers(*{'old': (2, 5), 'brick': (2, 4), 'modern': (3, 6), 'village': (1, 3)}[theme])
    )
    wide = style == 'panel'
    pane = float(rng.uniform(1.3, 2.4) if wide else rng.uniform(0.75, 1.25))
    grounds = (
        ['door', 'garage', 'windows']
        if theme == 'village'
        else ['shop', 'shop', 'door', 'arch', 'garage']
    )
    palette = BRICK if style == 'brick' else PAINT
    trim = TRIM[int(rng.integers(len(TRIM)))]
    shutter = (
        tuple(int(v) for v in rng.integers(30, 150, 3))
        if rng.random() < 0.35 and not wide
        else None
    )
    return Front(
        width, floors, style, palette[int(rng.integers(len(palette)))], trim, shutter,
        columns=max(1, int((width - 0.6) / (pane + rng.uniform(0.6, 1.3) + 0.9 * bool(shutter)))),
        window=(pane, float(rng.uniform(1.1, 1.9))),
        panes=(int(rng.integers(1, 4)), int(rng.integers(1, 4))),
        ground=str(rng.choice(grounds)),
        floor_height=float(rng.uniform(2.7, 3.4)),
    )  # fmt: skip


class Canvas:
    """A picture of a wall on which to draw in metres, origin at the lower left."""

    def __init__(self, width: float, height: float, size: int) -> None:
        self.size, self.sx, self.sy = size, size / width, size / height
        self.rgb = np.zeros((size, size, 3), dtype=np.float32)
        self.glow = np.zeros((size, size), dtype=np.uint8)
        x, y = np.arange(size) / self.sx, (size - 1 - np.arange(size)) / self.sy
        self.x, self.y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))

    def _window(self, x0, y0, x1, y1) -> tuple[slice, slice]:
        c = np.clip(np.round(np.array([x0, x1]) * self.sx), 0, self.size).astype(int)
        r = np.clip(np.round(self.size - np.array([y1, y0]) * self.sy), 0, self.size).astype(int)
        return slice(r[0], max(r[1], r[0] + 1)), slice(c[0], max(c[1], c[0] + 1))

    def rect(self, x0, y0, x1, y1, colour, glow: int = 0, fade: float = 0.0) -> None:
        """Rectangle of one colour, `fade` darker towards its top; it glows by `glow` of 255."""
        at = self._window(x0, y0, x1, y1)
        rows = self.rgb[at].shape[0]
        ramp = 1 - fade * np.linspace(1, 0, rows, dtype=np.float32)[:, None, None]
        self.rgb[at] = np.array(colour, dtype=np.float32) * ramp
        self.glow[at] = glow

    def shade(self, x0, y0, x1, y1, factor: float) -> None:
        """Darken or lighten a rectangle."""
        self.rgb[self._window(x0, y0, x1, y1)] *= factor


def paint_front(
    front: Front, rng: Rng, lit: Rng, size: int = 512, plain: bool = False
) -> np.ndarray:
    """The texture of a front; `rng` draws what stays, `lit` which windows are lit this time.

    plain: a side wall, with fewer windows and no shop.
    """
    canvas = Canvas(front.width, front.height, size)
    _wall(canvas, front, rng)
    chance = rng.random()
    if chance < 0.12:
        _mural(canvas, rng)
    pitch = front.width / front.columns
    for floor in range(front.floors):
        y = floor * front.floor_height
        if floor == 0 and not plain:
            _ground_floor(canvas, front, rng, lit)
            continue
        for k in range(front.columns):
            if plain and rng.random() < 0.45:
                continue
            w, h = front.window
            x = (k + 0.5) * pitch - w / 2
            _pane(
                canvas,
                front,
                (x, y + 0.95, x + w, y + 0.95 + min(h, front.floor_height - 1.2)),
                rng,
                lit,
            )
    if 0.12 < chance < 0.26:
        _ivy(canvas, rng)
    top = front.height
    canvas.rect(0, top - 0.32, front.width, top, np.array(front.trim) * 0.9, fade=0.25)
    canvas.shade(0, top - 0.5, front.width, top - 0.32, 0.6)
    canvas.shade(0, 0, front.width, 0.5, 0.72)
    return finish(canvas.rgb, canvas.glow)


def _wall(canvas: Canvas, front: Front, rng: Rng) -> None:
    x, y, size = canvas.x, canvas.y, canvas.size
    wall = np.array(front.wall, dtype=np.float32)
    shade = 1 + 0.07 * noise(rng, (size, size), 4)
    course = {'brick': (0.13, 0.36), 'stone': (0.5, 0.95), 'panel': (front.floor_height, 2.4)}
    if front.style in course:
        high, long = course[front.style]
        row = np.floor(y / high).astype(int)
        along = x / long + 0.5 * (row % 2) * (front.style != 'panel')
        spread = 0.2 if front.style == 'brick' else 0.09
        shade *= (1 + rng.uniform(-spread, spread, (61, 53)))[
            row % 61, np.floor(along).astype(int) % 53
        ]
        joint = (np.mod(y, high) < 0.025 + 0.02 * high) | (np.mod(along, 1) * long < 0.035)
        shade = np.where(joint, shade * (1.18 if front.style == 'brick' else 0.72), shade)
    elif front.style == 'boards':
        shade *= 0.8 + 0.28 * np.mod(y / 0.22, 1)
    shade = shade * (1 + 0.03 * rng.standard_normal((size, size)))
    canvas.rgb[:] = wall * shade[..., None].astype(np.float32)
    if front.style == 'timber':
        _beams(canvas, front)


def _beams(canvas: Canvas, front: Front) -> None:
    beam = np.array([70, 48, 36], dtype=np.float32)
    x, y, high = canvas.x, canvas.y, front.floor_height
    bay = front.width / max(2, front.columns)
    mask = (np.mod(y, high) < 0.2) | (np.mod(x + 0.1, bay) < 0.2)
    slope = np.mod(y, high) / high * bay
    odd = np.floor(x / bay).astype(int) % 2 == 0
    mask |= np.abs(np.mod(x, bay) - np.where(odd, slope, bay - slope)) < 0.11
    canvas.rgb[mask & (y > high)] = beam


def _mural(canvas: Canvas, rng: Rng) -> None:
    """A wall painting of large round and slanted shapes."""
    for _ in range(int(rng.integers(4, 8))):
        x, y = rng.uniform(0, canvas.x.max()), rng.uniform(0, canvas.y.max())
        across, up = canvas.x - x, canvas.y - y
        if rng.random() < 0.5:
            mask = across**2 + up**2 < rng.uniform(0.8, 2.2) ** 2
        else:
            angle = rng.uniform(0, np.pi)
            mask = np.abs(across * np.cos(angle) + up * np.sin(angle)) < rng.uniform(0.3, 1.0)
        canvas.rgb[mask] = canvas.rgb[mask] * 0.25 + 0.75 * rng.uniform(40, 230, 3)


def _ivy(canvas: Canvas, rng: Rng) -> None:
    """Creepers that cover part of the front, windows' edges included."""
    size = canvas.size
    cover = (
        noise(rng, (size, size), 3, 5) - 0.5 * canvas.y / canvas.y.max() + rng.uniform(0.1, 0.4)
    )
    leaf = (0.75 + 0.5 * rng.random((size // 4, size // 4))).repeat(4, 0).repeat(4, 1)[..., None]
    mask = (cover > 0.15) & (canvas.glow == 0)
    canvas.rgb[mask] = (np.array(IVY[int(rng.integers(len(IVY)))]) * leaf)[mask]


def _pane(canvas: Canvas, front: Front, box, rng: Rng, lit: Rng, spot: float = 0.09) -> None:
    """One window: surround, sill, glass with curtains or light, bars and shutters."""
    x0, y0, x1, y1 = box
    if front.shutter:
        for a, b in ((x0 - 0.5, x0 - 0.06), (x1 + 0.06, x1 + 0.5)):
            canvas.rect(a, y0, b, y1, front.shutter, fade=0.2)
    canvas.rect(x0 - spot, y0 - spot, x1 + spot, y1 + 1.4 * spot, front.trim)
    canvas.rect(x0 - 0.16, y0 - 0.18, x1 + 0.16, y0 - spot, np.array(front.trim) * 0.8)
    on = lit.random() < 0.45
    glow = int(lit.integers(90, 240)) if on else 0
    glass = np.array([52, 62, 74]) + rng.uniform(-14, 26)
    canvas.rect(x0, y0, x1, y1, glass, glow, fade=0.45)
    if rng.random() < 0.5:
        cloth = rng.uniform(130, 215) * np.array([1, 0.97, 0.9])
        part = (x1 - x0) * rng.uniform(0.15, 0.32)
        for a, b in ((x0, x0 + part), (x1 - part, x1)):
            canvas.rect(a, y0, b, y1, cloth, glow // 2, fade=0.3)
    columns, rows = front.panes
    bar = 0.05
    for k in range(1, columns):
        x = x0 + (x1 - x0) * k / columns
        canvas.rect(x - bar / 2, y0, x + bar / 2, y1, front.trim)
    for k in range(1, rows):
        y = y0 + (y1 - y0) * k / rows
        canvas.rect(x0, y - bar / 2, x1, y + bar / 2, front.trim)
    canvas.shade(x0, y1 - 0.12, x1, y1, 0.6)


def _ground_floor(canvas: Canvas, front: Front, rng: Rng, lit: Rng) -> None:
    width, high = front.width, front.floor_height
    door = float(rng.uniform(0.5, max(0.6, width - 1.8)))
    wood = rng.uniform(30, 150, 3)
    if front.ground == 'shop':
        wood = np.array(front.trim) * 0.75
        canvas.rect(0.25, 0, width - 0.25, high - 0.05, wood, fade=0.2)
        panes = max(1, int(width / rng.uniform(1.8, 3.2)))
        for k in range(panes):
            x = 0.45 + k * (width - 0.9) / panes
            _display(canvas, (x, 0.5, x + (width - 0.9) / panes - 0.18, high - 0.75), rng, lit)
    elif front.ground in ('garage', 'arch'):
        x = float(rng.uniform(0.4, max(0.5, width - 3.2)))
        colour = (34, 32, 34) if front.ground == 'arch' else wood
        canvas.rect(x - 0.15, 0, x + 2.75, 2.55, front.trim)
        canvas.rect(x, 0, x + 2.6, 2.4, colour, fade=0.3)
        for k in range(5 if front.ground == 'garage' else 0):
            canvas.shade(x, 0.42 * k + 0.36, x + 2.6, 0.42 * k + 0.42, 0.65)
        door = x + 3.3 if x < width / 2 else x - 1.9
    if front.ground != 'shop':
        pitch = width / front.columns
        for k in range(front.columns):
            x = (k + 0.5) * pitch - front.window[0] / 2
            busy = -1.0 if front.ground in ('door', 'windows') else 3.1
            if abs(x + front.window[0] / 2 - door - 0.5) > max(1.1, busy):
                _pane(canvas, front, (x, 0.95, x + front.window[0], 2.35), rng, lit)
    if 0 <= door <= width - 1:
        canvas.rect(door - 0.12, 0, door + 1.12, 2.4, front.trim)
        canvas.rect(door, 0, door + 1.0, 2.1, wood, fade=0.25)
        canvas.rect(door + 0.2, 1.3, door + 0.8, 1.85, (60, 66, 70), int(lit.choice([0, 120])))


def _display(canvas: Canvas, box, rng: Rng, lit: Rng) -> None:
    """A shop window: dark glass with coloured goods, often lit."""
    x0, y0, x1, y1 = box
    glow = int(lit.choice([0, 150, 210, 250]))
    canvas.rect(x0, y0, x1, y1, np.array([70, 76, 80]) + rng.uniform(-20, 30), glow, fade=0.35)
    for _ in range(int(rng.integers(3, 9))):
        x, y = rng.uniform(x0, max(x0, x1 - 0.35)), y0 + rng.uniform(0, 0.55) * (y1 - y0)
        w, h = rng.uniform(0.15, 0.5), rng.uniform(0.15, 0.6)
        canvas.rect(x, y, min(x + w, x1), min(y + h, y1), rng.uniform(40, 235, 3), glow // 2)
