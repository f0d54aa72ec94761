# SPDX-License-Identifier: Apache-2.0
"""Light on what the rasteriser saw: sun, shadows, sky, lamps, headlights, fog, rain, noise."""

from __future__ import annotations

import cv2
import numpy as np

from tools.render.conditions import Condition
from tools.render.mesh import GLOW, GROUND, LEAF
from tools.render.raster import Pixels, Rasteriser
from tools.render.textures import noise
from tools.render.town import Town

LAMP_RGB = np.array([1.0, 0.72, 0.4], dtype=np.float32)
WINDOW_RGB = np.array([1.0, 0.68, 0.32], dtype=np.float32)
SHADOW_PX, SHADOW_M = 1536, 190.0
LAMP_REACH_M = 45.0  # from the camera; farther lamps light nothing
LAMP_RADIUS_M = 14.0


class Shader:
    """Turns pixels of a town into pictures in one condition; `seed` moves the clouds."""

    def __init__(self, town: Town, raster: Rasteriser, condition: Condition, seed: int) -> None:
        self.condition, self.lamps = condition, town.lamps
        p = town.faces.points.astype(np.float64)
        plane = np.cross(p[:, 2] - p[:, 0], p[:, 3] - p[:, 1])
        plane /= np.linalg.norm(plane, axis=1, keepdims=True) + 1e-12
        self._plane = np.column_stack([plane, (plane * p.mean(axis=1)).sum(axis=1)]).astype(
            np.float32
        )
        self._normal = town.faces.normal
        self._material = town.faces.material
        self._linear = ((np.arange(256) / 255) ** 2.2).astype(np.float32)
        rng = np.random.default_rng([seed, 4])
        self._clouds = noise(rng, (512, 512), 4, 5)
        self._skyline = 0.06 + 0.05 * noise(rng, (8, 1024), 8, 4)[0]
        azimuth, elevation = np.radians(condition.sun_azimuth), np.radians(condition.sun_elevation)
        flat = np.cos(elevation)
        self._sun = np.array(
            [flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], np.float32
        )
        self._shadow = self._shadow_map(raster) if any(condition.sun) else None

    def picture(self, pixels: Pixels, position, yaw: float, hfov_deg: float, rng) -> np.ndarray:
        """RGB uint8 (h/2, w/2, 3) of pixels (h, w) seen from position (3,) along yaw (radians)."""
        rays = _rays(pixels.face.shape, yaw, hfov_deg)
        origin = np.asarray(position, dtype=np.float32)
        image = self._sky(rays)
        hit = pixels.face >= 0
        face, ray = pixels.face[hit], rays[hit]
        depth = self._depth(face, ray, origin)
        points = origin + ray * depth[:, None]
        colour = self._surface(pixels, hit, face, ray, points, origin, yaw)
        veil = np.exp(-self.condition.fog * depth)[:, None]
        image[hit] = colour * veil + np.array(self.condition.horizon, np.float32) * (1 - veil)
        if self.condition.wet:
            self._reflect(image, hit, self._material[face] == GROUND, ray, points)
        return self._camera(image, rng)

    def depth(self, pixels: Pixels, position, yaw: float, hfov_deg: float) -> np.ndarray:
        """Metres along the optical axis, float32 (h/2, w/2) of pixels (h, w); 0: the sky."""
        face = pixels.face[1::2, 1::2]
        hit, rays = face >= 0, _rays(face.shape, yaw, hfov_deg)
        depth = np.zeros(face.shape, np.float32)
        depth[hit] = self._depth(face[hit], rays[hit], np.asarray(position, np.float32))
        return depth

    def _depth(self, face: np.ndarray, ray: np.ndarray, origin: np.ndarray) -> np.ndarray:
        """Where rays (n, 3) meet the planes of faces (n,), along the optical axis, (n,)."""
        plane = self._plane[face]
        slope = _dot(plane[:, :3], ray)
        slope = np.where(np.abs(slope) < 1e-4, 1e-4, slope)
        return np.clip((plane[:, 3] - plane[:, :3] @ origin) / slope, 0.1, 400)

    def _surface(self, pixels, hit, face, ray, points, origin, yaw) -> np.ndarray:
        """Light that each hit pixel sends out, float32 (n, 3)."""
        c = self.condition
        albedo = self._linear[pixels.albedo[hit]]
        glow = pixels.glow[hit].astype(np.float32)[:, None] / 255
        normal, material = self._normal[face], self._material[face]
        away = (_dot(normal, ray) > 0) & (material != LEAF)
        normal = np.where(away[:, None], -normal, normal)
        up = 0.5 + 0.5 * normal[:, 2:]
        # A street is a canyon: low down less of the sky is seen.
        open_sky = np.clip(0.5 + 0.06 * points[:, 2:], 0.5, 1)
        light = np.array(c.ambient, np.float32) * (0.45 + 0.55 * up) * open_sky
        if self._shadow is not None:
            facing = normal @ self._sun
            facing = np.where(material == LEAF, 0.4 + 0.6 * facing, facing)
            direct = np.clip(facing, 0, 1) * self._sunlit(points + 0.12 * normal)
            light = light + np.array(c.sun, np.float32) * direct[:, None]
        if c.lamps:
            light = light + LAMP_RGB * self._lamplight(points, normal, material, origin)
        if c.headlights:
            light = light + c.headlights * _headlights(points, normal, origin, yaw)
        if c.wet:
            albedo = (
                albedo * np.where(material == GROUND, 1 - 0.5 * c.wet, 1 - 0.15 * c.wet)[:, None]
            )
        shine = np.where(material == GLOW, c.lamps * 0.35, c.windows)[:, None]
        return albedo * light + glow * shine * WINDOW_RGB * (0.35 + albedo)

    def _lamplight(self, points, normal, material, origin) -> np.ndarray:
        """Light of the street lamps near the camera, (n, 1)."""
        total = np.zeros(len(points), dtype=np.float32)
        for lamp in self.lamps.astype(np.float32):
            if np.hypot(*(lamp[:2] - origin[:2])) > LAMP_REACH_M:
                continue
            near = np.flatnonzero(
                (np.abs(points[:, 0] - lamp[0]) < LAMP_RADIUS_M)
                & (np.abs(points[:, 1] - lamp[1]) < LAMP_RADIUS_M)
            )
            gap = lamp - points[near]
            square = _dot(gap, gap)
            far = np.sqrt(square)
            facing = np.clip(_dot(gap, normal[near]) / far, 0, 1)
            facing = np.where(material[near] == LEAF, 0.5, facing)
            cone = np.clip(gap[:, 2] / far + 0.25, 0, 1)
            fade = np.clip(2 - square * (2 / LAMP_RADIUS_M**2), 0, 1)
            total[near] += self.condition.lamps * facing * cone * fade / (0.5 + 0.25 * square)
        return total[:, None]

    def _shadow_map(self, raster: Rasteriser) -> np.ndarray:
        """Distance from the sun's camera to what it sees first, float32 (SHADOW_PX, SHADOW_PX)."""
        forward = -self._sun.astype(np.float64)
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        self._basis = np.stack([right, np.cross(right, forward), forward]).astype(np.float32)
        eye = -200 * forward
        face = raster.orthographic(SHADOW_PX, SHADOW_M, eye, forward)
        grid = ((np.arange(SHADOW_PX) + 0.5) / SHADOW_PX - 0.5) * SHADOW_M
        across, down = np.meshgrid(grid.astype(np.float32), -grid.astype(np.float32))
        start = across[..., None] * self._basis[0] + down[..., None] * self._basis[1]
        start -= 200 * self._basis[2]
        plane = self._plane[np.maximum(face, 0)]
        slope = plane[..., :3] @ self._basis[2]
        slope = np.where(np.abs(slope) < 1e-3, 1e-3, slope)
        depth = (plane[..., 3] - np.einsum('ijk,ijk->ij', plane[..., :3], start)) / slope
        return np.where(face >= 0, depth, 1e6).astype(np.float32)

    def _sunlit(self, points: np.ndarray) -> np.ndarray:
        """How much of the sun reaches points (n, 3): 0..1, softened over four texels."""
        across, up, along = self._basis @ points.T
        x = (across / SHADOW_M + 0.5) * SHADOW_PX - 0.5
        y = (0.5 - up / SHADOW_M) * SHADOW_PX - 0.5
        lit = np.zeros(len(points), dtype=np.float32)
        for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            column = np.clip(np.floor(x).astype(np.int32) + dx, 0, SHADOW_PX - 1)
            row = np.clip(np.floor(y).astype(np.int32) + dy, 0, SHADOW_PX - 1)
            weight = np.abs(1 - dx - (x - np.floor(x))) * np.abs(1 - dy - (y - np.floor(y)))
            lit += weight * (self._shadow[row, column] > along + 200 - 0.25)
        return lit

    def _sky(self, rays: np.ndarray) -> np.ndarray:
        """Sky with clouds and a skyline of hills, float32 (h, w, 3)."""
        c = self.condition
        unit = rays / np.sqrt(np.einsum('ijk,ijk->ij', rays, rays))[..., None]
        height = np.clip(unit[..., 2], 0, 1)[..., None]
        zenith, horizon = np.array(c.zenith, np.float32), np.array(c.horizon, np.float32)
        sky = horizon + (zenith - horizon) * np.sqrt(height)
        to_sun = np.clip(unit @ self._sun, 0, 1)[..., None]
        sky = sky + np.array(c.glow_at_sun, np.float32) * to_sun**6 * (1 - height)
        if c.clouds:
            plane = rays[..., :2] / (rays[..., 2:] + 0.25) * 90
            at = np.floor(plane).astype(np.int32) % 512
            cover = np.clip(self._clouds[at[..., 1], at[..., 0]] * 1.6, 0, 1)[..., None]
            cloud = (
                np.array(c.ambient, np.float32) * 1.15 + np.array(c.glow_at_sun, np.float32) * 0.3
            )
            sky = sky + (cloud - sky) * cover * c.clouds * np.clip(height * 6, 0, 1)
        azimuth = np.arctan2(unit[..., 1], unit[..., 0])
        hill = self._skyline[((azimuth / (2 * np.pi)) * 1024).astype(np.int32) % 1024]
        far = horizon * 0.62 + zenith * 0.1
        return np.where((unit[..., 2] < hill)[..., None], far, sky).astype(np.float32)

    def _reflect(self, image, hit, ground, ray, points) -> None:
        """Wet ground mirrors what stands above it: the upper half of the picture, smeared."""
        mirror = cv2.blur(np.ascontiguousarray(image[::-1]), (3, 15))[hit][ground]
        distance = np.sqrt(_dot(ray[ground], ray[ground]))
        grazing = (1 - np.clip(-ray[ground, 2] / distance, 0, 1)) ** 3
        at = np.floor(points[ground, :2] * 24).astype(np.int32) % 512
        puddle = np.clip(0.55 + 0.6 * self._clouds[at[:, 1], at[:, 0]], 0.15, 1)
        share = (self.condition.wet * (0.06 + 0.6 * grazing) * puddle)[:, None]
        colours = image[hit]
        colours[ground] = colours[ground] * (1 - share) + mirror * share
        image[hit] = colours

    def _camera(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Halve, bloom, rain streaks, exposure, gamma, vignette and noise."""
        c = self.condition
        height, width = image.shape[0] // 2, image.shape[1] // 2
        image = cv2.resize(np.minimum(image, 5), (width, height), interpolation=cv2.INTER_AREA)
        bright = cv2.GaussianBlur(np.maximum(image - 0.7, 0), (0, 0), width / 60)
        image = image + 0.5 * bright
        if c.rain:
            image = image + _streaks(c.rain, (height, width), rng)[..., None] * np.mean(c.horizon)
        out = (1 - np.exp(-1.25 * c.exposure * image)) ** (1 / 2.2) * 255
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        out = out * (1 - 0.09 * (x**2 + y**2))[..., None]
        out = out + c.noise * rng.standard_normal((height, width, 3))
        return np.clip(out, 0, 255).astype(np.uint8)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row-wise dot product of (n, 3) arrays, (n,); einsum is faster than a sum of axis 1."""
    return np.einsum('ij,ij->i', a, b)


def _rays(shape, yaw: float, hfov_deg: float) -> np.ndarray:
    """Directions of the pixels, float32 (h, w, 3); their part along the optical axis is 1."""
    height, width = shape
    half = np.tan(np.radians(hfov_deg) / 2)
    u = (np.arange(width) + 0.5) / width * 2 - 1
    v = (1 - (np.arange(height) + 0.5) / height * 2) * height / width
    right, up = np.meshgrid(u * half, v * half)
    c, s = np.cos(yaw), np.sin(yaw)
    return np.stack([c + s * right, s - c * right, up], axis=2).astype(np.float32)


def _headlights(points, normal, origin, yaw: float) -> np.ndarray:
    """Light of the camera car's dipped beams, (n, 3)."""
    to = points - origin + np.array([0, 0, 0.8], np.float32)
    far = np.sqrt(_dot(to, to)) + 1e-3
    ahead = (to[:, 0] * np.cos(yaw) + to[:, 1] * np.sin(yaw)) / far
    beam = np.clip((ahead - 0.86) / 0.12, 0, 1) * np.clip(1.2 - to[:, 2] / far * 12, 0.1, 1)
    facing = np.clip(-_dot(to, normal) / far, 0, 1)
    light = beam * facing / (8 + 0.12 * far**2)
    return light[:, None] * np.array([1.0, 0.95, 0.85], dtype=np.float32)


def _streaks(count: int, shape, rng: np.random.Generator) -> np.ndarray:
    """Falling drops as short bright lines, float32 (h, w)."""
    height, width = shape
    layer = np.zeros(shape, dtype=np.uint8)
    slant = rng.normal(0, 1.5)
    for _ in range(int(count * height * width / 76800)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        long = rng.uniform(4, 14) * height / 240
        ends = ((int(x), int(y)), (int(x + slant * long / 10), int(y + long)))
        cv2.line(layer, *ends, int(rng.uniform(12, 100)), 1, cv2.LINE_AA)
    return layer.astype(np.float32) / 255
