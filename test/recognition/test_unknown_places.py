# SPDX-License-Identifier: Apache-2.0
"""Verified images of other places stay unknown, however small or dense the map is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import Look
from ashtkd_ros.recognition.matcher import Matcher, MatcherConfig
from ashtkd_ros.recognition.recogniser import MIN_CONFIDENCE, Recogniser
from ashtkd_ros.traverses.image_folder import read_source

COUNT = 40  # places along the first streets of the town; other images are of streets beyond


@pytest.fixture(scope='module')
def embedder(student: Path) -> Embedder:
    return Embedder(student)


@pytest.fixture(scope='module')
def looks(embedder: Embedder, town: Path) -> dict[str, list[Look]]:
    """Of the places, of the same at dusk, and of other streets at dusk."""
    day, dusk = (read_source(town / light) for light in ('day', 'dusk'))
    frames = {'map': day[:COUNT], 'same': dusk[:COUNT:3], 'other': dusk[65:105:2]}
    return {k: [embedder.describe(f.read()) for f in some] for k, some in frames.items()}


def mapped(
    embedder: Embedder, town: Path, looks: dict[str, list[Look]], count: int, denser: float, top
) -> Matcher:
    """A map of the first places, so many times as dense."""
    places = []
    for i, frame in enumerate(read_source(town / 'day')[:count]):
        pose = replace(frame.pose, x=frame.pose.x / denser, y=frame.pose.y / denser)
        places.append(Place(i, frame.stamp, frame.order, pose, frame.name))
    chosen = looks['map'][:count]
    place_map = PlaceMap.build(
        np.stack([look.descriptor for look in chosen]),
        places,
        embedder,
        local=np.stack([look.local for look in chosen]),
    )
    return Matcher(place_map, MatcherConfig() if top is None else MatcherConfig(verify_top=top))


def accepted(
    embedder: Embedder, town: Path, looks: dict[str, list[Look]], count: int, denser: float, top
) -> tuple[float, float]:
    """Shares of the same places and of other ones that are no unknown places."""
    matcher = mapped(embedder, town, looks, count, denser, top)
    same = looks['same'][: -(-count // 3)]
    return tuple(
        np.mean([matcher.answer(x, 1).candidates[0].confidence >= MIN_CONFIDENCE for x in some])
        for some in (same, looks['other'])
    )


@pytest.mark.parametrize(
    ('count', 'denser', 'top'),
    [(COUNT, 1, top) for top in (1, 3, 10, 20, 30)]
    + [(COUNT, denser, 30) for denser in (2, 4)]
    + [(count, 1, 30) for count in (3, 6, 12, 20)],
)
def test_not_many_more_than_by_the_descriptor_alone_are_taken_for_known(
    embedder, town, looks, count: int, denser: float, top: int
) -> None:
    _, by_descriptor = accepted(embedder, town, looks, count, denser, 0)
    same, other = accepted(embedder, town, looks, count, denser, top)
    assert same > 0.9 and other < by_descriptor + 0.3


def hand(rng: np.random.Generator) -> np.ndarray:
    return np.linspace(60, 130, 240)[:, None, None] * (1.0, 0.5, 0.4)


COVERS = {
    'in the dark': lambda rng: rng.normal(8, 6, (240, 320, 3)),
    'blinded': lambda rng: rng.normal(240, 12, (240, 320, 3)),
    'a hand': lambda rng: rng.normal(hand(rng), 6, (240, 320, 3)),
    'a lid': lambda rng: np.full((240, 320, 3), 45.0),
    'fog on the lens': lambda rng: rng.normal(
        np.linspace(90, 150, 320)[:, None], 3, (240, 320, 3)
    ),
}


@pytest.mark.parametrize('cover', COVERS)
def test_a_covered_camera_is_no_place(embedder, town, looks, cover: str):
    picture = COVERS[cover](np.random.default_rng(1)).clip(0, 255).astype(np.uint8)
    answer = mapped(embedder, town, looks, COUNT, 1, None).answer(embedder.describe(picture))
    assert answer.empty and not any(c.confidence for c in answer.candidates)


def test_a_picture_of_the_route_shows_something_by_night_too(embedder, town, looks):
    matcher = mapped(embedder, town, looks, COUNT, 1, None)
    assert not any(matcher.answer(look).empty for look in looks['same'] + looks['other'])
    rng = np.random.default_rng(0)
    for frame in read_source(town / 'day')[:COUNT:4]:
        night = rng.normal(frame.read() * 0.15, 4).clip(0, 255).astype(np.uint8)
        assert not matcher.answer(embedder.describe(night)).empty


def test_a_refused_picture_says_that_it_shows_nothing(embedder, town, looks):
    place_map = mapped(embedder, town, looks, COUNT, 1, None).map
    found = Recogniser(embedder, place_map).recognise(np.zeros((240, 320, 3), np.uint8))
    assert not found.accepted and 'shows nothing' in found.refusal
