# SPDX-License-Identifier: Apache-2.0
"""The filter on simulated drives: what it must recover, what it must not believe."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.places import Place
from ashtkd_ros.recognition.place_graph import PlaceGraph
from ashtkd_ros.recognition.sequence_filter import Belief, Evidence, SequenceFilter

SPACING, DIMENSIONS, CANDIDATES = 2.0, 64, 20


def route(count: int, traverse: int = 0, first: int = 0, poses: bool = False) -> list[Place]:
    """Places along x, 2 m apart."""
    return [
        Place(first + i, float(i), i, Pose(SPACING * i, 0, 0) if poses else None, f'{i}',
              traverse=traverse)
        for i in range(count)
    ]  # fmt: skip


class Camera:
    """Images at places of a route: some answers are wrong, and one spot looks the same twice."""

    def __init__(self, count: int, seed: int = 0, right: float = 0.7):
        self.rng, self.count, self.right = np.random.default_rng(seed), count, right
        self._waves = self.rng.normal(size=DIMENSIONS)
        self._phases = self.rng.uniform(0, 2 * np.pi, DIMENSIONS)
        self.stamp = 0.0

    def look(self, at: float, dt: float = 0.5, moved: float | None = None) -> Evidence:
        """At `at`, a place or between two; off the map where it is not finite."""
        self.stamp += dt
        x = at if math.isfinite(at) else 1e4 * self.rng.normal()
        descriptor = np.cos(self._waves * x + self._phases)
        descriptor = (descriptor / np.linalg.norm(descriptor)).astype(np.float32)
        ids = self.rng.permutation(self.count)[:CANDIDATES]
        scores = self.rng.normal(0, 0.3, CANDIDATES)
        trust = float(self.rng.uniform(0.05, 0.3))
        if math.isfinite(at) and self.rng.random() < self.right:
            true = int(round(at)) % self.count
            ids[0], scores[0], trust = true, 2.0, float(self.rng.uniform(0.5, 0.9))
            ids[1:][ids[1:] == true] = (true + self.count // 2) % self.count
        return Evidence(self.stamp, descriptor, ids, scores, trust, moved_m=moved)


def drive(places: SequenceFilter, camera: Camera, route_: Iterable[float]) -> list[Belief]:
    return [places.step(camera.look(at)) for at in route_]


def hits(beliefs: list[Belief], truth: Iterable[float], count: int) -> np.ndarray:
    """Whether the best place is within one of the true one, bool (n,); a ring of places."""
    gap = np.array([b.rows[0] - at for b, at in zip(beliefs, truth, strict=True)]) % count
    return np.minimum(gap, count - gap) <= 1.0


@pytest.mark.parametrize('speed', [1.0, 0.3, 3.0, -1.0])
def test_it_follows_where_single_images_are_wrong(speed: float):
    truth = [150 + speed * k for k in range(60)]
    places = SequenceFilter(route(400), 10)
    found = drive(places, Camera(400), truth)
    assert hits(found, truth, 400)[8:].mean() >= 0.98
    assert found[-1].lost < 0.05


def test_a_robot_that_stands_still_does_not_grow_more_certain():
    places, camera = SequenceFilter(route(300), 10), Camera(300)
    before = drive(places, camera, range(100, 110))[-1]
    for _ in range(300):  # 30 s
        after = places.step(camera.look(109, dt=0.1))
    assert after.rows[0] == before.rows[0]
    np.testing.assert_allclose(after.probabilities, before.probabilities)


@pytest.mark.parametrize('moved', [None, 0.0])
@pytest.mark.parametrize('confidence', [0.2, 0.4, 0.6])
def test_the_noise_of_a_camera_that_stands_still_is_no_new_witness(confidence: float, moved):
    places, camera = SequenceFilter(route(300, poses=True), 10), Camera(300, right=1.0)
    seen, rng = camera.look(109), np.random.default_rng(1)
    drive(places, camera, range(75, 90))
    for k in range(300):
        descriptor = seen.descriptor + rng.normal(0, 0.3 / 8, DIMENSIONS)
        descriptor = (descriptor / np.linalg.norm(descriptor)).astype(np.float32)
        scores = seen.scores + rng.normal(0, 0.1, CANDIDATES)
        stamp = camera.stamp + k / 10
        given = (stamp, descriptor, seen.rows, scores, confidence)
        after = places.step(Evidence(*given, moved_m=moved))
    assert after.rows[0] == 109
    assert after.probabilities[np.abs(after.rows - 109) <= 1].sum() < 0.95


@pytest.mark.parametrize('noise', [0.03, 0.15, 0.28])
def test_so_little_noise_leaves_the_belief_as_it_was(noise: float):
    """1 - similarity of two such images: 0.001, 0.02 and 0.08; moving on counts at once."""
    places, camera = SequenceFilter(route(300), 10), Camera(300, right=1.0)
    rng = np.random.default_rng(1)
    drive(places, camera, range(75, 90))
    seen, lost = replace(camera.look(89), confidence=0.6), []
    for k in range(60):
        descriptor = seen.descriptor + rng.normal(0, noise / DIMENSIONS**0.5, DIMENSIONS)
        descriptor = (descriptor / np.linalg.norm(descriptor)).astype(np.float32)
        at = camera.stamp + k / 10
        lost.append(places.step(replace(seen, stamp=at, descriptor=descriptor)).lost)
    assert max(lost[10:]) - min(lost[10:]) < 0.01
    camera.stamp += 6
    assert drive(places, camera, range(90, 100))[-1].rows[0] == 99


def test_a_slow_robot_counts():
    """Each image differs a little from the one before, and more from those before that."""
    places, camera = SequenceFilter(route(300), 10), Camera(300, right=1.0)
    one, other = camera.look(50), camera.look(51)
    counted = []
    for k in range(40):
        share = k / 40
        descriptor = (1 - share) * one.descriptor + share * other.descriptor
        descriptor = (descriptor / np.linalg.norm(descriptor)).astype(np.float32)
        places.step(replace(one, stamp=k / 10, descriptor=descriptor))
        counted.append(places._counted is descriptor)
    assert sum(counted) >= 4


def test_a_robot_that_stood_and_was_carried_off_to_stand_is_found():
    found = []
    for seed in range(20):
        places, camera = SequenceFilter(route(300), 10), Camera(300, seed, right=1.0)
        rng = np.random.default_rng(seed)
        for at in (50, 200):
            for _ in range(30 if at == 50 else 10):
                seen = camera.look(at)
                noisy = seen.descriptor + rng.normal(0, 0.3 / 8, DIMENSIONS)
                noisy = (noisy / np.linalg.norm(noisy)).astype(np.float32)
                belief = places.step(replace(seen, descriptor=noisy))
        found.append(abs(belief.rows[0] - 200) <= 1)
    assert np.mean(found) >= 0.95


def test_a_robot_that_is_set_down_off_the_map_to_stand_is_lost():
    """However like each other its images are, they are not of the place that is believed."""
    places, camera = SequenceFilter(route(300), 10), Camera(300, right=1.0)
    assert drive(places, camera, range(75, 90))[-1].lost < 0.01
    seen = replace(camera.look(math.nan), confidence=0.5)
    found = [places.step(replace(seen, stamp=camera.stamp + k / 10)).lost for k in range(100)]
    assert found[0] < 0.1 < 0.3 < found[9]
    np.testing.assert_allclose(found[10:], found[9])  # ten answers are not ten witnesses


def test_another_picture_of_the_spot_says_nothing_else():
    """The map has two traverses of a road; the robot stands where they look alike."""
    places = SequenceFilter([*route(300, 0, 0, True), *route(300, 1, 300, True)], 10)
    camera = Camera(300, right=1.0)
    drive(places, camera, range(75, 90))
    seen = camera.look(89)
    before = places.step(seen)
    seen.rows[0] = 389
    for k in range(9):
        after = places.step(replace(seen, stamp=camera.stamp + k / 10))
    np.testing.assert_allclose(after.probabilities, before.probabilities)


def test_what_shows_nothing_counts_each_time():
    places, camera = SequenceFilter(route(300), 10), Camera(300, right=1.0)
    assert drive(places, camera, range(100, 110))[-1].lost < 0.1
    dark = camera.look(109)
    for k in range(12):
        nothing = replace(dark, stamp=dark.stamp + k, confidence=0.0, empty=True)
        belief = places.step(nothing)
    assert belief.lost > 0.5


def test_the_first_image_counts_for_about_what_it_is_alone():
    places = SequenceFilter(route(300), 10)
    seen = Camera(300, right=1.0).look(100)
    seen.scores[0] = 5.0  # far ahead of the others
    sure = Evidence(0.0, seen.descriptor, seen.rows, seen.scores, 0.97)
    first = places.step(sure)
    near = np.abs(first.rows - 100) <= 1
    assert first.probabilities[near].sum() > 0.6 and first.lost < 0.1
    doubtful = Evidence(0.0, seen.descriptor, seen.rows, seen.scores, 0.05)
    assert SequenceFilter(route(300), 10).step(doubtful).lost > 0.5


@pytest.mark.parametrize('length', [2, 3, 10])
def test_off_the_map_it_is_lost_however_little_it_remembers(length: int):
    camera, places = Camera(117), SequenceFilter(route(117), length)
    drive(places, camera, range(20, 40))
    for _ in range(40):
        seen = camera.look(math.inf)
        found = places.step(Evidence(seen.stamp, seen.descriptor, seen.rows, seen.scores, 0.05))
    assert found.lost > 0.5


def test_reversing_and_turning_back_are_followed():
    truth = [*range(100, 130), *range(130, 90, -1), *range(90, 120)]
    found = drive(SequenceFilter(route(300), 10), Camera(300), truth)
    assert hits(found, truth, 300)[8:].mean() >= 0.95


def test_twenty_places_that_are_skipped_cost_a_few_images():
    truth = [*range(100, 120), *range(140, 170)]
    found = hits(drive(SequenceFilter(route(300), 10), Camera(300), truth), truth, 300)
    assert found[30:].mean() >= 0.95


def test_a_loop_may_be_driven_again():
    truth = [k % 40 for k in range(120)]
    found = hits(drive(SequenceFilter(route(40), 10), Camera(40), truth), truth, 40)
    assert found[8:].mean() >= 0.95


def test_two_traverses_of_one_road_are_one_graph():
    """The answers are now of one traverse, now of the other."""
    both = route(200, poses=True) + route(200, traverse=1, first=200, poses=True)
    linked, apart = SequenceFilter(both, 10), SequenceFilter(both, 10)
    assert (linked.graph.links >= 0).any(axis=1).all()
    apart.graph.links[:] = -1
    camera, rng, right = Camera(200), np.random.default_rng(5), []
    for at in range(40, 90):
        seen = camera.look(at)
        ids = seen.rows + 200 * rng.integers(0, 2, len(seen.rows))
        seen = Evidence(seen.stamp, seen.descriptor, ids, seen.scores, seen.confidence)
        found = [places.step(seen) for places in (linked, apart)]
        right.append([f.probabilities[np.abs(f.rows % 200 - at) <= 2].sum() for f in found])
        assert abs(found[0].rows[0] % 200 - at) <= 1
    with_links, without = np.mean(right[10:], axis=0)
    assert with_links > without + 0.1


def test_a_kidnapped_robot_is_found_within_ten_images():
    found = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        camera, places = Camera(500, seed), SequenceFilter(route(500), 10)
        start, other = rng.integers(20, 450, 2)
        drive(places, camera, range(start, start + 15))
        there = list(range(other, other + 10))
        found += hits(drive(places, camera, there), there, 500).any()
        # and it stays there
        found -= not hits([places.belief()], there[-1:], 500).all()
    assert found >= 190


def test_off_the_map_it_is_lost_and_finds_back():
    camera, places = Camera(300), SequenceFilter(route(300), 10)
    drive(places, camera, range(50, 70))
    away = drive(places, camera, [math.inf] * 30)
    assert np.mean([b.lost for b in away[15:]]) > 0.5
    back = list(range(70, 90))
    assert hits(drive(places, camera, back), back, 300)[10:].all()


def test_a_robot_that_is_lost_is_not_found_by_one_image_in_a_large_map_either():
    camera, places = Camera(10_000), SequenceFilter(route(10_000), 30)
    for _ in range(40):
        places.step(replace(camera.look(math.inf), confidence=0.0))
        sure = replace(camera.look(77), confidence=0.95)
        assert copy.deepcopy(places).step(sure).lost > 0.5


@pytest.mark.parametrize('dt', [-1.0, 60.0])
def test_a_stamp_that_goes_back_and_a_long_pause_begin_anew(dt: float):
    camera, places = Camera(300), SequenceFilter(route(300), 10)
    drive(places, camera, range(50, 80))
    far = np.arange(200, 220)
    odd = Evidence(camera.stamp + dt, camera.look(200).descriptor, far, np.arange(20.0), 0.9)
    fresh = SequenceFilter(route(300), 10).step(odd)
    again = places.step(odd)
    np.testing.assert_array_equal(again.rows, fresh.rows)
    np.testing.assert_array_equal(again.probabilities, fresh.probabilities)


def test_odometry_helps_where_images_say_little():
    truth = np.cumsum([0.0, *np.random.default_rng(3).uniform(0, 4, 80)]) + 50
    right = {}
    for with_odometry in (False, True):
        camera = Camera(400, right=0.4)
        places = SequenceFilter(route(400, poses=True), 10)
        steps = np.diff(truth, prepend=truth[0]) * SPACING
        found = [
            places.step(camera.look(at, moved=step if with_odometry else None))
            for at, step in zip(truth, steps, strict=True)
        ]
        right[with_odometry] = hits(found, truth, 400)[10:].mean()
    assert right[True] > right[False] + 0.05


@pytest.mark.parametrize('moved', [math.nan, math.inf, 1e9])
def test_odometry_that_jumps_is_not_believed(moved: float):
    truth = range(100, 130)
    places, camera = SequenceFilter(route(300, poses=True), 10), Camera(300)
    found = [places.step(camera.look(at, moved=moved)) for at in truth]
    assert hits(found, truth, 300)[8:].mean() >= 0.95


def test_probabilities_are_of_the_whole_and_few_places_are_kept():
    places, camera = SequenceFilter(route(20000), 10), Camera(20000, right=0.3)
    for belief in drive(places, camera, range(100, 140)):
        assert belief.probabilities.sum() + belief.lost == pytest.approx(1, abs=1e-6)
        assert len(belief.rows) <= 200 and (np.diff(belief.probabilities) <= 0).all()


def test_a_map_of_one_place():
    places = SequenceFilter(route(1), 10)
    seen = Evidence(0.0, np.float32([1.0]), np.array([0]), np.array([1.0]), 0.9)
    assert places.step(seen).rows.tolist() == [0]


@pytest.mark.parametrize('spacing', [0.5, 1.0, 2.0])
@pytest.mark.parametrize('traverses', [2, 4])
def test_every_traverse_of_a_road_leads_to_every_other(spacing: float, traverses: int):
    places = [
        Place(200 * t + i, float(i), i, Pose(spacing * i, 0.3 * t, 0), f'{i}', traverse=t)
        for t in range(traverses)
        for i in range(200)
    ]
    graph = SequenceFilter(places, 10).graph
    assert (graph.links >= 0).any(axis=1).all()
    reached, last = {50}, set()
    while reached != last:
        last = set(reached)
        reached |= {int(j) for i in last for j in graph.links[i] if j >= 0}
    assert {i // 200 for i in reached} == set(range(traverses))
    for i in range(len(places)):
        for j in graph.links[i][graph.links[i] >= 0]:
            assert abs(places[i].pose.x - places[j].pose.x) <= 4.0


def test_coordinates_of_a_country_and_roads_in_both_directions():
    there = [Place(i, float(i), i, Pose(5e6 + 2 * i, -4e5, 0), f'{i}') for i in range(60)]
    back = [
        Place(
            60 + i, 100.0 + i, i, Pose(5e6 + 2 * (59 - i), -4e5, 0, 0, 0, 1, 0), f'{i}', traverse=1
        )
        for i in range(60)
    ]
    graph = SequenceFilter([*there, *back], 10).graph
    assert (graph.links == -1).all(), 'the other direction shows something else'


def test_images_that_are_always_far_apart_are_a_sequence_too():
    truth = range(100, 125)
    places, camera = SequenceFilter(route(300), 10), Camera(300)
    found = [places.step(camera.look(at, dt=15.0)) for at in truth]
    assert hits(found, truth, 300)[8:].mean() >= 0.9 and found[-1].lost < 0.2


def test_places_that_were_dropped_do_not_move_those_apart_that_stay():
    whole = route(100, poses=True)
    kept = [place for place in whole if not 30 <= place.order < 70]
    other = [replace(place, traverse=1) for place in route(20, first=200, poses=True)]
    spacing = PlaceGraph([*kept, *other], 10.0).spacing
    np.testing.assert_allclose(spacing, SPACING)
    uneven = [Place(n, float(n), n, Pose(x, 0, 0), f'{n}') for n, x in enumerate((0, 0, 0, 9))]
    np.testing.assert_allclose(PlaceGraph(uneven, 10.0).spacing, 3.0)
