# SPDX-License-Identifier: Apache-2.0
"""Candidates verified by local features: their order, the lead, what cannot be verified."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from conftest import change_place, line_of, places_along_x, unit_rows

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.confidence import probability
from ashtkd_ros.network.local_features import LocalShape, Look
from ashtkd_ros.recognition.matcher import Matcher, MatcherConfig
from ashtkd_ros.recognition.prior import Prior

GRID, L = (4, 5), 16
P = GRID[0] * GRID[1]
FIT = {'similarity': 3.1, 'margin': 9.1, 'offset': -2.3}
VERIFIED = {
    **FIT,
    'verified_similarity': 2.0,
    'verified_margin': 3.0,
    'verified_lead': 0.8,
    'verified_agreement': 4.0,
    'verified_offset': -2.5,
}


def features(seed: int, count: int) -> np.ndarray:
    """Random local features, int8 (count, P, L)."""
    rows = np.rint(127 * unit_rows(count * P, L, seed)).astype(np.int8)
    return rows.reshape(count, P, L)


LOOK = Look(np.array([1, 0, 0, 0], np.float32), features(50, 1)[0])


def alike(share: float, seed: int) -> np.ndarray:
    """Features (P, L) of which this share is the look's, at the same positions."""
    mixed = features(seed, 1)[0]
    same = np.random.default_rng(seed).permutation(P)[: round(share * P)]
    mixed[same] = LOOK.local[same]
    return mixed


def map_of(network, similarities, positions, local=None, with_poses: bool = True) -> PlaceMap:
    """Places along x with these similarities to LOOK; `local`: place → its features."""
    s = np.array(similarities, np.float32)
    rows = np.zeros((len(s), 4), np.float32)
    rows[:, 0], rows[:, 1] = s, np.sqrt(1 - s**2)
    network.local = LocalShape(GRID, L)
    features_of = None
    if local is not None:
        features_of = features(7, len(s))
        for place, its in local.items():
            features_of[place] = its
    return PlaceMap.build(rows, places_along_x(positions, with_poses), network, local=features_of)


SIMILARITIES, FAR = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0, 100, 200, 300, 400, 500]


def ids(matcher: Matcher, top_k: int = 6) -> list[int]:
    return [c.place.id for c in matcher.answer(LOOK, top_k).candidates]


def test_the_place_that_local_features_confirm_comes_first(fake_network):
    place_map = map_of(fake_network, SIMILARITIES, FAR, {3: alike(1, 3)})
    answer = Matcher(place_map).answer(LOOK, top_k=6)
    first = answer.candidates[0]
    assert (first.place.id, first.similarity) == (3, pytest.approx(0.6, abs=1e-6))
    assert first.margin == pytest.approx(-0.3, abs=1e-6)  # of the descriptors, as it was
    assert first.check.agreement == 1.0 and first.check.displacement == (0.0, 0.0)
    scores = [c.check.score for c in answer.candidates]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 6
    assert answer.verify_s > 0
    confidences = [c.confidence for c in answer.candidates]
    assert confidences == sorted(confidences, reverse=True)


def test_matches_are_shares_of_the_first_candidates_picture(fake_network):
    moved = np.roll(alike(1, 3).reshape(*GRID, L), (1, 2), (0, 1)).reshape(P, L)
    place_map = map_of(fake_network, SIMILARITIES, FAR, {3: moved})
    answer = Matcher(place_map).answer(LOOK)
    assert answer.candidates[0].check.displacement == (1 / 4, 2 / 5)
    image, place = answer.matches.image, answer.matches.place
    assert image.dtype == np.float32 and image.shape == place.shape and len(image) >= 3 * 3
    # x and y of the centres of positions; the map's picture shows the same further right, lower
    np.testing.assert_allclose(np.unique(image[:, 0]), [0.1, 0.3, 0.5], atol=1e-6)
    np.testing.assert_allclose(np.unique(image[:, 1]), [0.125, 0.375, 0.625], atol=1e-6)
    np.testing.assert_allclose(place - image, [[0.4, 0.25]] * len(image), atol=1e-6)


def test_without_verification_answers_are_the_descriptors_to_the_bit(fake_network):
    local = {3: alike(1, 3)}
    plain = Matcher(map_of(fake_network, SIMILARITIES, FAR)).answer(LOOK, 6)
    verified = map_of(fake_network, SIMILARITIES, FAR, local)
    off = Matcher(verified, MatcherConfig(verify_top=0)).answer(LOOK, 6)
    blind = Matcher(verified).answer(Look(LOOK.descriptor, None), 6)
    assert plain == off == blind
    assert plain.candidates == Matcher(verified).match(LOOK.descriptor, 6)
    assert [c.place.id for c in plain.candidates] == list(range(6))
    assert all(c.check is None for c in plain.candidates)
    assert plain.matches is None and plain.verify_s == 0.0


def test_candidates_beyond_verify_top_stay_behind_in_their_order(fake_network):
    place_map = map_of(fake_network, SIMILARITIES, FAR, {4: alike(1, 4), 2: alike(0.8, 2)})
    assert ids(Matcher(place_map))[:2] == [4, 2]
    three = Matcher(place_map, MatcherConfig(verify_top=3))
    found = three.answer(LOOK, 6).candidates
    assert [c.place.id for c in found][0] == 2 and [c.place.id for c in found][3:] == [3, 4, 5]
    assert [c.check is not None for c in found] == [True] * 3 + [False] * 3
    assert [c.place.id for c in three.answer(LOOK, 1).candidates] == [2]
    assert ids(Matcher(place_map, MatcherConfig(verify_top=50)))[0] == 4
    assert ids(Matcher(place_map, MatcherConfig(verify_top=1))) == list(range(6))


def test_only_the_features_of_the_first_candidates_are_read(fake_network, monkeypatch):
    place_map = map_of(fake_network, SIMILARITIES, FAR, {})
    asked, rows = [], place_map.local.rows
    monkeypatch.setattr(place_map.local, 'rows', lambda at: asked.append(list(at)) or rows(at))
    Matcher(place_map, MatcherConfig(verify_top=2)).answer(LOOK)
    Matcher(place_map, MatcherConfig(verify_top=0)).answer(LOOK)
    assert asked == [[0, 1]]


def lead(network, local: dict, positions, with_poses: bool = True, **config) -> float:
    """Of the first candidate, where all descriptors are equally similar."""
    place_map = map_of(network, [0.5] * len(positions), positions, local, with_poses)
    first = Matcher(place_map, MatcherConfig(**config)).answer(LOOK).candidates[0]
    assert first.place.id in local
    return first.check.lead


def test_neighbouring_keyframes_support_each_other(fake_network):
    # Places 2 and 3 show the same. As neighbours they are one place, far apart they are rivals.
    twins, near = dict.fromkeys((2, 3), alike(0.9, 3)), [0, 90, 100, 103, 300, 400]
    assert lead(fake_network, twins, near) > 0.8
    assert lead(fake_network, twins, near, neighbour_m=1.0) == pytest.approx(0, abs=0.2)
    assert lead(fake_network, twins, FAR) == pytest.approx(0, abs=0.2)
    assert lead(fake_network, twins, FAR, False, neighbour_frames=1) > 0.8
    assert lead(fake_network, twins, near, False, neighbour_frames=0) == pytest.approx(0, abs=0.2)


def test_the_lead_is_that_of_summed_support(fake_network):
    positions = [0, 5, 100, 200]
    place_map = map_of(fake_network, [0.5] * 4, positions, {0: alike(0.6, 1), 1: alike(0.5, 2)})
    found = {c.place.id: c.check for c in Matcher(place_map).answer(LOOK).candidates}
    best = max(check.score for check in found.values())
    support = {i: np.exp(2 * (check.score - best)) for i, check in found.items()}
    for i, group in ((0, (0, 1)), (1, (0, 1)), (2, (2,)), (3, (3,))):
        inside = sum(support[j] for j in group)
        outside = sum(support.values()) - inside
        # More than three near ones to seven elsewhere have much support by chance.
        outside *= max(1.0, len(group) / (4 - len(group)) * 7 / 3)
        expected = np.log((inside + 1e-4) / (outside + 1e-4)) / 2
        assert found[i].lead == pytest.approx(expected, abs=1e-3)
        assert found[i].rivals == 4 - len(group)


def test_places_of_another_drive_are_no_neighbours_without_poses(fake_network):
    place_map = map_of(
        fake_network, [0.5] * 4, range(4), {1: alike(0.9, 1), 2: alike(0.9, 1)}, False
    )
    together = Matcher(place_map, MatcherConfig(neighbour_frames=1)).answer(LOOK).candidates[0]
    change_place(place_map, 2, traverse=1)
    apart = Matcher(place_map, MatcherConfig(neighbour_frames=1)).answer(LOOK).candidates[0]
    assert together.check.lead > 0.8 > abs(apart.check.lead) + 0.6


def test_one_place_and_a_map_of_neighbours_have_a_finite_lead(fake_network):
    with warnings.catch_warnings(), np.errstate(all='raise', under='ignore'):
        warnings.simplefilter('error')
        for positions in ([0], [0, 1, 2]):
            local = dict.fromkeys(range(len(positions)), alike(0.9, 1))
            assert 1 < lead(fake_network, local, positions) < 10


def test_local_features_that_cannot_be_read_leave_the_descriptors_answer(
    fake_network, monkeypatch
):
    place_map = map_of(fake_network, SIMILARITIES, FAR, {3: alike(1, 3)})
    matcher, rows = Matcher(place_map), place_map.local.rows
    assert ids(matcher)[0] == 3 and matcher.fault == ''

    def gone(_):
        raise VprError('local.npy: cannot be read any more (it is cut off); load the map again')

    monkeypatch.setattr(place_map.local, 'rows', gone)
    plain = Matcher(place_map, MatcherConfig(verify_top=0)).answer(LOOK, 6)
    assert matcher.answer(LOOK, 6) == plain
    assert matcher.fault.startswith('local.npy: cannot be read any more')
    monkeypatch.setattr(place_map.local, 'rows', rows)
    assert ids(matcher)[0] == 3 and matcher.fault == ''


def test_where_few_places_are_elsewhere_no_image_that_is_like_none_is_trusted(fake_network):
    """A lead over few places says little: an image from elsewhere has one, too."""
    fake_network.confidence = {**VERIFIED, 'verified_lead': 8.0, 'limited': 1.0}
    for elsewhere, similarity, trusted in ((29, 0.3, False), (29, 0.6, True), (31, 0.3, True)):
        similarities = [similarity, *(10 * [0.2]), *(elsewhere * [0.1])]
        positions = [*np.linspace(0, 9, 11), *(100 * np.arange(1, 1 + elsewhere))]
        place_map = map_of(fake_network, similarities, positions, {0: alike(1, 3)})
        best = Matcher(place_map).answer(LOOK).candidates[0]
        assert best.check.rivals >= 10 and (best.confidence > 0.9) == trusted


def test_confidence_is_by_what_is_known_of_the_candidate(fake_network):
    fake_network.confidence = VERIFIED
    many = [0.9, *np.linspace(0.8, 0.4, 30)]
    place_map = map_of(fake_network, many, 100 * np.arange(31), {0: alike(1, 3)})
    for top, least in ((20, 19), (20, 20), (0, 0)):
        config = MatcherConfig(verify_top=top, least_rivals=least)
        best = Matcher(place_map, config).answer(LOOK).candidates[0]
        x = plain = 3.1 * 0.9 + 9.1 * 0.1 - 2.3
        if least == 19:  # as many as there are; with fewer than asked for the lead says nothing
            x = 2.0 * 0.9 + 3.0 * 0.1 + 0.8 * best.check.lead + 4.0 * best.check.agreement - 2.5
            assert x > plain
        assert best.confidence == pytest.approx(1 / (1 + np.exp(-x)), abs=1e-5)
    # of few places elsewhere any image is unlike: local features cannot make the answer surer
    few = map_of(fake_network, many[:-2], 100 * np.arange(29), {0: alike(1, 3)})
    best = Matcher(few, MatcherConfig(verify_top=20)).answer(LOOK).candidates[0]
    assert best.confidence == pytest.approx(1 / (1 + np.exp(-plain)), abs=1e-5)
    # A model whose confidence was not fitted to verified answers
    fake_network.confidence = FIT
    place_map = map_of(fake_network, SIMILARITIES, FAR, {0: alike(1, 3)})
    best = Matcher(place_map).answer(LOOK).candidates[0]
    expected = probability({'similarity': best.similarity, 'margin': best.margin}, FIT)
    assert best.check is not None and best.confidence == pytest.approx(expected, abs=1e-9)


def test_a_map_of_neighbours_trusts_no_image_that_is_like_nothing(fake_network):
    """There is no place elsewhere that could lose, so that the lead says nothing."""
    fake_network.confidence = VERIFIED
    for positions in ([0], [0, 1, 2]):
        similarities = [0.2, 0.19, 0.18][: len(positions)]
        best = (
            Matcher(map_of(fake_network, similarities, positions, {})).answer(LOOK).candidates[0]
        )
        known = {'similarity': best.similarity, 'margin': best.margin}
        assert best.check.lead > 1  # and would be worth more than all the rest
        assert best.confidence == pytest.approx(probability(known, VERIFIED)) and (
            best.confidence < 0.3
        )


def test_a_query_of_nan_is_refused_before_anything_is_verified(fake_network, monkeypatch):
    place_map = map_of(fake_network, SIMILARITIES, FAR, {})
    monkeypatch.setattr(place_map.local, 'rows', lambda _: pytest.fail('verified'))
    with pytest.raises(VprError) as error:
        Matcher(place_map).answer(Look(np.full(4, np.nan, np.float32), LOOK.local))
    assert 'the descriptor' in line_of(error)


def test_a_dense_map_leaves_half_of_the_verified_to_rivals(fake_network):
    """40 pictures of one place come before those of any other."""
    positions = [*np.linspace(0, 5, 40), *range(100, 1300, 60)]
    similarities = np.linspace(0.9, 0.3, 60)
    place_map = map_of(fake_network, similarities, positions, {3: alike(0.9, 3)})
    found = Matcher(place_map).answer(LOOK, 60).candidates
    checked = sorted(c.place.id for c in found if c.check is not None)
    assert checked == [*range(15), *range(40, 55)]
    assert found[0].place.id == 3 and found[0].check.rivals == 15
    few = map_of(fake_network, similarities[:45], positions[:45], {3: alike(0.9, 3)})
    found = Matcher(few).answer(LOOK, 45).candidates
    assert sum(c.check is not None for c in found) == 30 and found[0].check.rivals == 5


def test_a_prior_that_covers_a_dense_map_leaves_the_answers_as_they_are(fake_network):
    fake_network.confidence = VERIFIED
    positions, similarities = np.linspace(0, 30, 120), np.linspace(0.9, 0.3, 120)
    matcher = Matcher(map_of(fake_network, similarities, positions, {0: alike(0.6, 3)}))
    plain = matcher.answer(LOOK, 64)
    assert plain.candidates[0].check.rivals == 15
    for radius in (40.0, 1e6):
        found = matcher.answer(LOOK, 64, prior=Prior(0.0, 0.0, radius))
        assert found.candidates == plain.candidates


def test_neighbours_outside_of_a_prior_leave_its_places_verified(fake_network):
    """20 pictures outside of the prior, next to it, look more like the image than all within."""
    positions = [*np.full(20, 4.0), *np.full(20, 0.0), *range(100, 1300, 60)]
    similarities = np.linspace(0.9, 0.3, 60)
    matcher = Matcher(map_of(fake_network, similarities, positions, {25: alike(0.6, 3)}))
    found = matcher.answer(LOOK, 64, prior=Prior(0.0, 0.0, 2.0)).candidates
    assert found[0].place.id == 25 and found[0].check.rivals == 15
    assert sum(c.check is not None for c in found) == 15


def test_rivals_that_are_there_anyway_change_nothing(fake_network):
    positions, similarities = [0, 1, 2, *range(100, 4000, 60)], np.linspace(0.9, 0.3, 68)
    found = Matcher(map_of(fake_network, similarities, positions, {})).answer(LOOK, 60).candidates
    assert sorted(c.place.id for c in found if c.check is not None) == list(range(30))


def test_a_prior_that_is_ignored_changes_nothing(fake_network):
    similarities, local = np.linspace(0.9, 0.3, 60), {3: alike(0.9, 3)}
    place_map = map_of(fake_network, similarities, np.zeros(60), local, with_poses=False)
    for row in range(40):
        change_place(place_map, row, label='hall')
    matcher = Matcher(place_map)
    found = matcher.answer(LOOK, 60, prior=Prior(0.0, 0.0, 10.0)).candidates
    assert found == matcher.answer(LOOK, 60).candidates
    assert found[0].place.id == 3 and found[0].check.rivals == 15


def test_what_looks_another_way_is_a_rival(fake_network):
    place_map = map_of(fake_network, SIMILARITIES, [0, 1, 500, 600, 700, 800])
    for degrees, rival in ((0, 0.7), (44, 0.7), (-44, 0.7), (46, 0.8), (180, 0.8)):
        half = np.radians(degrees) / 2
        pose = Pose(1.0, 0.0, 0.0, qz=float(np.sin(half)), qw=float(np.cos(half)))
        change_place(place_map, 1, pose=pose, label='kitchen')
        change_place(place_map, 0, label='kitchen')
        best = Matcher(place_map).answer(LOOK).candidates[0]
        assert best.margin == pytest.approx(0.9 - rival, abs=1e-6)
    down = float(np.sqrt(0.5))  # both look at the ground, so where is ahead says nothing
    change_place(place_map, 0, pose=Pose(0, 0, 0, qy=down, qw=down))
    change_place(place_map, 1, pose=Pose(1, 0, 0, qx=-down, qz=down, qw=0))
    assert Matcher(place_map).answer(LOOK).candidates[0].margin == pytest.approx(0.2, abs=1e-6)
    change_place(place_map, 0, pose=Pose(0, 0, 0))
    change_place(place_map, 1, pose=Pose(1, 0, 0, qz=1, qw=0))
    assert Matcher(place_map).answer(LOOK).candidates[0].margin == pytest.approx(0.1, abs=1e-6)
    change_place(place_map, 1, geo=(48.0, 11.0))  # a receiver that does not know its heading
    assert Matcher(place_map).answer(LOOK).candidates[0].margin == pytest.approx(0.2, abs=1e-6)
    change_place(place_map, 1, geo=None, id=0)  # another picture of the same place
    assert Matcher(place_map).answer(LOOK).candidates[0].margin == pytest.approx(0.2, abs=1e-6)
