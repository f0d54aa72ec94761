# SPDX-License-Identifier: Apache-2.0
"""What a student is shown: views drawn anew; which of their positions its teachers saw too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from small_student import torch

from tools.training.config import Schedule
from tools.training.data.batch import Batch, Targets
from tools.training.data.correspondence import Correspondence, FixedCameras
from tools.training.data.datasets import Entry, StudentViews, TrainingData, TrunkMaps
from tools.training.data.places import TrainingPlaces
from tools.training.data.views import Views

CLEAN = Schedule(steps=20, places=6, views=4, clean_query=1.0, clean_database=1.0)


class Seen:
    """A teacher whose descriptor of a view is its row."""

    scale = 0.0, 0.5

    def outputs(self, rows: list[int]) -> Targets:
        return Targets(torch.tensor(rows)[:, None].float() + 1, None)

    vectors = outputs


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """Ten places of a picture, a camera of two, ten pictures of unknown place.

    A picture's red tells where a point lies from left to right, its green from top to bottom.
    """
    folder, places = tmp_path_factory.mktemp('data'), TrainingPlaces()
    across, down = np.meshgrid(np.linspace(0, 255, 96), np.linspace(0, 255, 64))
    paths = [folder / f'{i}.png' for i in range(22)]
    for i, path in enumerate(paths):
        bgr = np.stack([np.full_like(across, 10 * i), down, across], axis=-1)
        cv2.imwrite(str(path), bgr.round().astype(np.uint8))
    taken = places.take(paths, 'd')
    for i in taken[:10]:
        places.add([i], 'd', f'd/{i}')
    places.add(taken[10:12], 'cam', 'cam', still=True)
    for i in taken[12:]:
        places.add([i], 'pool', 'pool', known=False)
    views = Views(folder / 'views', size=64)
    views.add([p.path for p in places.pictures], 3)
    return TrainingData(places, views, 3, Correspondence())


def batch_of(data: TrainingData, schedule: Schedule, step: int = 0, size: int = 64) -> Batch:
    """The whole batch of a step."""
    images = StudentViews(data, schedule, size, [Seen()])
    entries = data.batches(schedule)[step]
    return images.batch(torch.stack([images[e] for e in entries]), entries)


def test_an_image_is_a_function_of_seed_step_and_number(data: TrainingData):
    shown = StudentViews(data, replace(CLEAN, clean_query=0.0), 64)
    entry = Entry(3, 5, 0, 0, 0, query=True)
    image = shown[entry]
    assert image.shape == (3, 64, 64) and image.dtype == torch.float32
    assert image.min() >= 0 and image.max() <= 1
    assert torch.equal(StudentViews(data, replace(CLEAN, clean_query=0.0), 64)[entry], image)
    other_seed = StudentViews(data, replace(CLEAN, clean_query=0.0, seed=1), 64)
    for other in (
        shown[entry._replace(step=4)],
        shown[entry._replace(number=6)],
        other_seed[entry],
    ):
        assert not torch.equal(other, image)
    assert torch.equal(shown[entry._replace(view=2)], image)  # which is the teachers' alone


def test_every_step_shows_another_part_of_a_picture(data: TrainingData):
    shown = StudentViews(data, CLEAN, 32)
    images = torch.stack([shown[Entry(step, 0, 0, 0, 0, False)] for step in range(200)])
    left, right = images[:, 0, :, 1].mean(1), images[:, 0, :, -2].mean(1)
    whole = ((left < 0.06) & (right > 0.94)).float().mean()
    assert 0.2 < whole < 0.6  # by the fixed views, which are drawn by the name of the picture
    widths = (right - left)[(right - left) < 0.85]
    assert widths.min() < 0.6 and widths.std() > 0.07
    assert len({image.numpy().tobytes() for image in images}) > 60  # those drawn freely


def test_shares_of_clean_images_are_kept(data: TrainingData):
    clean, half = (
        StudentViews(data, replace(CLEAN, clean_query=share), 32) for share in (1.0, 0.5)
    )
    entries = [Entry(step, 0, 0, 0, 0, query=True) for step in range(200)]
    same = np.mean([torch.equal(clean[e], half[e]) for e in entries])
    assert 0.4 < same < 0.65  # few degraded ones are left as they are


def test_images_grow_in_the_course_of_a_training(data: TrainingData):
    schedule = replace(CLEAN, steps=4, sizes=((0.5, 32), (0.5, 64)))
    for step, size in ((0, 32), (1, 32), (2, 64), (3, 64)):
        batch = batch_of(data, schedule, step)
        positions = (size // 16) ** 2
        assert batch.inputs.shape == (24, 3, size, size)
        assert batch.target_partners.shape == (24, positions)
        assert batch.matches.partners.shape[1] == positions
        assert batch.matches.of_targets.shape[1] == 16  # the teachers' views keep theirs


def colours(image: torch.Tensor | np.ndarray, side: int) -> np.ndarray:
    """float (P, 2): red and green of each cell: where in the picture it lies."""
    array = np.asarray(image, np.float32)
    array = array.transpose(1, 2, 0) if array.shape[0] == 3 else array / 255
    return cv2.resize(array, (side, side), interpolation=cv2.INTER_AREA)[..., :2].reshape(-1, 2)


@pytest.mark.parametrize('size', [32, 64])
def test_partners_show_the_same_points(data: TrainingData, size: int):
    """Of target views, of pairs of views, and of pairs of target views, for two sizes."""
    found = 0
    for step in range(4):
        batch, side = batch_of(data, replace(CLEAN, pairs=100), step, size), size // 16
        rows = [int(r) - 1 for r in batch.targets[0].descriptor[:, 0]]
        targets = [colours(data.views.image(row), 4) for row in rows]
        images = [colours(image, side) for image in batch.inputs]
        pairs = list(zip(images, targets, batch.target_partners, [0.5 / 4] * 24, strict=True))
        numbers = list(
            zip(batch.matches.first.tolist(), batch.matches.second.tolist(), strict=True)
        )
        for (i, j), at, of in zip(
            numbers, batch.matches.partners, batch.matches.of_targets, strict=True
        ):
            pairs += [
                (images[i], images[j], at, 0.5 / side),
                (targets[i], targets[j], of, 0.5 / 4),
            ]
        for first, second, partners, cell in pairs:
            at = np.flatnonzero(partners >= 0)
            gap = np.abs(first[at] - second[partners[at]])
            assert (gap < 1.3 * cell + 0.06).all()  # half a cell of a view of 1.1 at most
            found += len(at)
    assert found > 500


def test_what_teachers_say_of_the_very_part_is_known_of_some_views(data: TrainingData):
    known, others = [], 0
    for step in range(8):
        batch = batch_of(data, CLEAN, step)
        known += batch.has_as_seen.tolist()
        for k in batch.has_as_seen.nonzero()[:, 0].tolist():
            row = int(batch.as_seen[0].descriptor[k, 0]) - 1
            shown = data.views.image(row).transpose(2, 0, 1) / 255
            assert np.abs(batch.inputs[k].numpy() - shown).max() < 1e-6
            others += row + 1 != int(batch.targets[0].descriptor[k, 0])
    assert 0.5 < np.mean(known) < 0.7 and others > 20


def test_pairs_are_of_a_query_and_the_database_and_of_one_picture(data: TrainingData):
    batch = batch_of(data, replace(CLEAN, pairs=100))
    first, second = batch.matches.first, batch.matches.second
    assert len(first) > 10 and batch.query[first].all() and not batch.query[second].any()
    assert torch.equal(batch.pictures[first], batch.pictures[second])
    assert (batch.places[first] == -1).any() and (batch.places[first] >= 0).any()
    assert ((batch.matches.partners >= 0).float().mean(1) >= 0.05).all()
    few = batch_of(data, replace(CLEAN, pairs=3)).matches
    assert len(few.first) == len(few.partners) == len(few.of_targets) == 3
    none = batch_of(data, replace(CLEAN, pairs=0)).matches
    assert none.first.shape == (0,) and none.partners.shape == none.of_targets.shape == (0, 16)
    assert {x.dtype for x in (*few, *none, batch.target_partners)} == {torch.int64}


def test_pictures_of_a_still_camera_match_each_other(data: TrainingData):
    paths = [str(data.places.pictures[i].path) for i in (10, 11)]
    known = replace(data, scenes=Correspondence([FixedCameras(dict.fromkeys(paths, 'cam'))]))
    schedule = replace(CLEAN, places=1, unlabelled=0.0, domains=('cam',), pairs=100)
    across = []
    for each in (data, known):
        batches = [batch_of(each, schedule, step) for step in range(10)]
        pairs = [b.pictures[torch.stack(b.matches[:2])] for b in batches]
        across.append(sum(int((a != b).sum()) for a, b in pairs))
    assert across[0] == 0 and across[1] > 10
    for step in range(10):  # where only some count, half are of two pictures
        first, second = batch_of(known, replace(schedule, pairs=2), step).matches[:2]
        pictures = batch_of(known, schedule, step).pictures
        assert (pictures[first] != pictures[second]).any()


def test_teachers_say_of_other_views_than_their_own_pair(data: TrainingData):
    """The two branches of a picture have targets of different views, at every step others."""
    drawn = set()
    for step in range(10):
        batch = batch_of(data, CLEAN, step)
        rows = batch.targets[0].descriptor[:, 0].long() - 1
        assert [data.views.seen(r).picture for r in rows] == [
            str(data.places.pictures[p].path) for p in batch.pictures
        ]
        for picture in batch.pictures[batch.places >= 0].unique():
            if picture < 10:
                mine = batch.pictures == picture
                assert not set(rows[mine & batch.query].tolist()) & set(
                    rows[mine & ~batch.query].tolist()
                )
        drawn |= set(rows.tolist())
    assert len(drawn) > 40


def test_batches_of_unknown_places_are_drawn_by_share(data: TrainingData):
    for share, expected in ((0.0, 0), (0.5, 12)):
        batch = batch_of(data, replace(CLEAN, unlabelled=share))
        assert (batch.places == -1).sum() == expected


def test_similarities_are_measured_in_each_teachers_own_deviations(data: TrainingData):
    rng = torch.Generator().manual_seed(0)
    vectors = [torch.randn(len(data.views.rows), 8, generator=rng) for _ in range(2)]
    scales = (0.0, 0.5), (0.3, 0.02)
    teachers = [
        SimpleNamespace(descriptors=v.half().numpy(), scale=scale)
        for v, scale in zip(vectors, scales, strict=True)
    ]
    described = data.descriptors(teachers).astype(np.float32)
    whole = [data.row(i) for i in range(22)]
    expected = sum(
        v[whole] @ v[whole].T / (2 * scale[1]) for v, scale in zip(vectors, scales, strict=True)
    )
    np.testing.assert_allclose(described @ described.T, expected, rtol=1e-2, atol=0.5)
    assert data.descriptors([]) is None


def test_an_apformer_is_guided_by_another_view_than_it_sees(data: TrainingData):
    count = len(data.views.rows)
    maps = np.arange(count, dtype=np.float16)[:, None, None, None] * np.ones((1, 2, 4, 4))
    shown = TrunkMaps(data, maps.astype(np.float16), [Seen()])
    entries = data.batches(CLEAN)[0]
    batch = shown.batch(torch.stack([shown[e] for e in entries]), entries)
    own, guides = batch.inputs[:, 0, 0, 0].long(), batch.targets[0].descriptor[:, 0].long() - 1
    assert (own != guides).all()
    for row, other, partners in zip(own, guides, batch.target_partners, strict=True):
        assert data.views.seen(row).picture == data.views.seen(other).picture
        first, second = (colours(data.views.image(r), 4) for r in (row, other))
        at = np.flatnonzero(partners >= 0)
        assert (np.abs(first[at] - second[partners[at]]) < 0.25).all()
    assert len(batch.matches.first) == 0


def test_a_picture_may_go_when_its_views_are_made(data: TrainingData, tmp_path: Path):
    path = tmp_path / 'a.png'
    cv2.imwrite(str(path), np.full((40, 50, 3), 90, np.uint8))
    places = TrainingPlaces()
    places.add(places.take([path], 'd'), 'd', 'd')
    views = Views(tmp_path / 'v', size=64)
    views.add([path.resolve()], 1)
    path.unlink()
    image = StudentViews(TrainingData(places, views, 1), CLEAN, 64)[Entry(0, 0, 0, 0, 0, True)]
    assert abs(float(image.mean()) * 255 - 90) < 1


def test_groups_tell_which_places_may_be_the_same(data: TrainingData):
    places = TrainingPlaces(pictures=data.places.pictures)
    for i in range(6):
        places.add([i], 'tours', f'tours/{i // 3}', (0.0,), np.inf)
    for i in range(12, 22):
        places.add([i], 'pool', 'pool', known=False)
    some = replace(data, places=places)
    batch = batch_of(some, replace(CLEAN, places=4, unlabelled=0.5))
    for place, group in zip(batch.places.tolist(), batch.groups.tolist(), strict=True):
        assert group == (-1 if place < 0 else place // 3)
    assert set(batch.groups.tolist()) == {-1, 0, 1}
