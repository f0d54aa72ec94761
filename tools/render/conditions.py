# SPDX-License-Identifier: Apache-2.0
"""Light and weather: what the sun, the sky, the lamps and the air do in each condition."""

from __future__ import annotations

from dataclasses import dataclass

from ashtkd_ros.errors import VprError

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Condition:
    """Light in linear units (1 = white at full exposure), angles in degrees, lengths in metres."""

    sun: Rgb
    sun_azimuth: float
    sun_elevation: float
    zenith: Rgb
    horizon: Rgb
    ambient: Rgb
    glow_at_sun: Rgb = (0, 0, 0)  # colour that the sky takes on round the sun
    clouds: float = 0.4  # how visible clouds are, 0..1
    lamps: float = 0.0
    windows: float = 0.0
    headlights: float = 0.0
    fog: float = 0.0015  # extinction, 1/m
    wet: float = 0.0
    rain: int = 0  # streaks in a picture of 320 x 240
    exposure: float = 1.0
    noise: float = 1.5  # standard deviation in grey levels


CONDITIONS: dict[str, Condition] = {
    'day': Condition(
        sun=(1.7, 1.55, 1.35), sun_azimuth=215, sun_elevation=44,
        zenith=(0.35, 0.52, 0.85), horizon=(0.85, 0.93, 1.0), ambient=(0.85, 0.9, 0.98),
        exposure=0.95,
    ),
    'dusk': Condition(
        sun=(1.3, 0.68, 0.33), sun_azimuth=168, sun_elevation=13,
        zenith=(0.15, 0.22, 0.46), horizon=(0.5, 0.41, 0.43), ambient=(0.35, 0.35, 0.43),
        glow_at_sun=(0.9, 0.36, 0.1), lamps=2.2, windows=0.45, headlights=1.0,
        fog=0.0015, exposure=1.6, noise=1.5,
    ),
    'night': Condition(
        sun=(0, 0, 0), sun_azimuth=60, sun_elevation=40,
        zenith=(0.006, 0.008, 0.018), horizon=(0.03, 0.026, 0.03), ambient=(0.022, 0.024, 0.036),
        clouds=0.25, lamps=12.0, windows=0.42, headlights=12.0, fog=0.003,
        exposure=1.25, noise=5.0,
    ),
    'rain': Condition(
        sun=(0, 0, 0), sun_azimuth=60, sun_elevation=40,
        zenith=(0.34, 0.37, 0.42), horizon=(0.5, 0.53, 0.57), ambient=(0.55, 0.58, 0.63),
        clouds=0.9, windows=0.35, fog=0.008, wet=1.0, rain=320, exposure=1.1, noise=3.0,
    ),
    'fog': Condition(
        sun=(0, 0, 0), sun_azimuth=60, sun_elevation=40,
        zenith=(0.6, 0.63, 0.67), horizon=(0.68, 0.7, 0.73), ambient=(0.72, 0.75, 0.8),
        clouds=0.0, windows=0.3, fog=0.042, wet=0.15, noise=2.0,
    ),
}  # fmt: skip


def condition(name: str) -> Condition:
    """The condition of this name; VprError names the known ones."""
    if name not in CONDITIONS:
        raise VprError(f'unknown condition {name!r}: choose one of {", ".join(CONDITIONS)}')
    return CONDITIONS[name]
