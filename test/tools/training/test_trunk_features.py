# SPDX-License-Identifier: Apache-2.0
"""Features of frozen trunks on disk: computed once, whitened by whole pictures of all sets."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import line_of
from small_student import torch

from ashtkd_ros.errors import VprError
from tools.training import trunk_features as module
from tools.training.data.views import Views
from tools.training.networks.trunk import regional_gem
from tools.training.trunk_features import TrunkFeatures, trunk_features

F = torch.nn.functional
SIDE = 14


class FakeTrunk:
    """Six channels a position, of which one says ten times as much as all others; counts images.

    All are far from 0.
    """

    looked, side = 0, SIDE

    def __init__(self, *_):
        pass

    def features(self, images: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        FakeTrunk.looked += len(images)
        low = F.adaptive_avg_pool2d(images, self.side)
        feature_map = 5 + torch.cat([low * torch.tensor([10.0, 1, 1])[:, None, None], low**2], 1)
        return feature_map, regional_gem(feature_map)


class OwnDescriptor(FakeTrunk):
    """A network without a map."""

    def features(self, images: torch.Tensor) -> tuple[None, torch.Tensor]:
        return None, F.normalize(images.mean(dim=(2, 3)), dim=1)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('tools.training.data.views.SHARD', 4)
    monkeypatch.setattr('tools.training.networks.shared_trunk.FrozenTrunk', FakeTrunk)
    FakeTrunk.looked = 0


@pytest.fixture
def views(tmp_path: Path) -> Views:
    """Six pictures of noise, two views of each, four to a shard."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f'{i}.png' for i in range(6)]
    for path in paths:
        coarse = rng.integers(0, 256, (9, 9, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (56, 56)))
    views = Views(tmp_path / 'v', size=56)
    views.add(paths, 2)
    return views


def features_of(views: Views) -> TrunkFeatures:
    return trunk_features(views, Path('trunk.onnx'))


def images_of(views: Views, rows: list[int]) -> torch.Tensor:
    return torch.from_numpy(np.stack([views.image(r) for r in rows])).permute(0, 3, 1, 2) / 255


def test_only_what_is_missing_is_computed(views: Views, tmp_path: Path):
    first = features_of(views)
    assert first.maps.shape == (12, 6, SIDE, SIDE)
    assert first.whole.shape == (12, 6) and first.quarters.shape == (12, 24)
    looked, before = FakeTrunk.looked, first.maps[range(12)]
    features_of(views)
    assert FakeTrunk.looked == looked
    cv2.imwrite(str(tmp_path / 'new.png'), np.full((56, 56, 3), 9, np.uint8))
    views.add([tmp_path / 'new.png'], 2)
    again = features_of(views)
    assert FakeTrunk.looked == looked + 2 and len(again.whole) == 14
    np.testing.assert_array_equal(again.maps[range(12)], before)


@pytest.mark.parametrize('kind', ['whole', 'quarters', 'maps'])
def test_a_file_that_was_removed_is_made_again(views: Views, tmp_path: Path, kind: str):
    features_of(views)
    cv2.imwrite(str(tmp_path / 'new.png'), np.full((56, 56, 3), 9, np.uint8))
    views.add([tmp_path / 'new.png'], 2)
    whole = getattr(features_of(views), kind)[range(14)]
    next(views.folder.glob(f'*/0000.{kind}.npy')).unlink()
    np.testing.assert_array_equal(getattr(features_of(views), kind)[range(14)], whole)


def test_whitened_positions_have_length_1_and_no_channel_rules(views: Views):
    features = features_of(views)
    raw, _ = FakeTrunk().features(images_of(views, [0]))
    raw = raw.flatten(2)[0].T
    unit = F.normalize(raw, dim=1)
    assert (unit @ unit.T).mean() > 0.9  # nearly one direction: 5 and more in all channels
    centred = F.normalize(raw - raw.mean(0), dim=1)
    ruling = float((centred[:, 0] ** 2).mean())  # most is one channel's
    rows = torch.from_numpy(features.maps[range(12)]).float().flatten(2).transpose(1, 2)
    torch.testing.assert_close(rows.norm(dim=2), torch.ones(12, SIDE**2), atol=2e-3, rtol=0)
    rows = rows.flatten(0, 1)
    assert rows.mean(0).norm() < 0.2
    power = (rows**2).mean(0)
    assert ruling > 0.75 and power.max() < 0.8 * ruling
    assert power.sum() == pytest.approx(1.0, abs=0.01)


def test_the_whitening_is_learned_on_whole_pictures_of_all_sets(views: Views, monkeypatch):
    """Not on the first batch: its views may be of one set."""
    fitted = []

    def noted(vectors: torch.Tensor, dimensions: int):
        fitted.append(vectors)
        return layer(vectors, dimensions)

    layer = module.whitening_layer
    monkeypatch.setattr(module, 'whitening_layer', noted)
    monkeypatch.setattr(module, '_FITTED_ON', 3)
    features_of(views)
    (vectors,) = fitted
    assert vectors.shape == (3 * SIDE**2 / 4, 6)
    rows = views.whole()[::2]
    wanted, _ = FakeTrunk().features(images_of(views, rows))
    wanted = wanted.flatten(2).transpose(1, 2).flatten(0, 1)
    gaps = (
        torch.cdist(vectors, wanted, compute_mode='donot_use_mm_for_euclid_dist').min(dim=1).values
    )
    assert gaps.max() < 1e-3


@pytest.mark.parametrize('rows', [[11, 0, 5, 5], range(3, 9), 7])
def test_rows_of_all_shards_come_in_the_order_asked_for(views: Views, rows):
    whole = features_of(views).whole
    together = np.concatenate([np.array(a) for a in whole._arrays])
    np.testing.assert_array_equal(whole[rows], together[rows])


def test_a_trunk_of_another_grid_and_one_without_a_map_have_no_maps(views: Views, monkeypatch):
    monkeypatch.setattr(FakeTrunk, 'side', 7)
    features = features_of(views)
    assert features.maps is None and features.quarters.shape == (12, 24)
    monkeypatch.setattr('tools.training.networks.shared_trunk.FrozenTrunk', OwnDescriptor)
    features = trunk_features(views, Path('descriptor.onnx'))
    assert features.maps is None is features.quarters and features.whole.shape == (12, 3)


def test_what_one_trunk_sees_is_not_taken_for_anothers(views: Views, tmp_path: Path):
    trunks = [tmp_path / name / 'trunk.onnx' for name in ('a', 'b')]
    for trunk in trunks:
        trunk.parent.mkdir()
        trunk.write_bytes(trunk.parent.name.encode())
    trunk_features(views, tmp_path / 'gone' / 'trunk.onnx')  # as one whose hash is not recorded
    looked = FakeTrunk.looked
    for _ in range(2):
        trunk_features(views, trunks[0])
    with pytest.raises(VprError) as error:
        trunk_features(views, trunks[1])
    assert 'another network named trunk.onnx' in line_of(error)
    assert FakeTrunk.looked == looked


def test_a_damaged_file_is_one_line(views: Views):
    features_of(views)
    file = views.folder / 'trunk' / '0001.maps.npy'
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(VprError) as error:
        features_of(views)
    assert '0001.maps.npy: is damaged; remove it' in line_of(error)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_named_when_they_are_read(views: Views, value: float):
    features_of(views)
    file = views.folder / 'trunk' / '0001.maps.npy'
    rows = np.load(file)
    rows[2, 3, 4, 5] = value
    np.save(file, rows)
    maps = features_of(views).maps
    assert np.isfinite(maps[[0, 4, 5, 7]]).all()
    with pytest.raises(VprError) as error:
        maps[[0, 6]]
    assert '0001.maps.npy: is damaged; remove it' in line_of(error)


def test_pictures_that_cannot_be_read_leave_no_gap(views: Views, tmp_path: Path):
    """Four of them fill a shard of their own, without a row."""
    bad = [tmp_path / f'bad{i}.png' for i in range(2)]
    for path in bad:
        path.write_bytes(b'damaged')
    views.add(bad, 2)
    assert any(not len(rows) for rows in views.shards.values())
    assert len(features_of(views).maps) == len(features_of(views).whole) == 12


def test_one_picture_is_enough(tmp_path: Path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((56, 56, 3), 9, np.uint8))
    views = Views(tmp_path / 'w', size=56)
    views.add([tmp_path / 'a.png'], 1)
    assert np.isfinite(features_of(views).maps[[0]]).all()
