# SPDX-License-Identifier: Apache-2.0
"""Local features: where a position of a map goes, and the half that has no layout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_student import SMALL_WITH_LOCAL, small_student, torch

from tools.training.networks.local import CENTRES, LayoutFree, LocalHead
from tools.training.networks.student import DSFormer

F = torch.nn.functional
SIDE, CHANNELS, BOUND, FREE = 4, 8, 16, 24


def free_half(dimensions: int) -> LayoutFree:
    """The layer with random weights; with all dimensions its axes are a rotation."""
    torch.manual_seed(0)
    layer = LayoutFree(BOUND, CHANNELS, FREE, dimensions)
    with torch.no_grad():
        layer.centres.copy_(F.normalize(torch.randn(CENTRES, CHANNELS), dim=1))
        rotation, _ = torch.linalg.qr(torch.randn(BOUND + FREE, BOUND + FREE))
        layer.turn.weight.copy_(rotation[:dimensions])
    return layer.eval()


def random_halves(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Layout-bound halves (count, BOUND) and local features (count, P, CHANNELS)."""
    torch.manual_seed(1)
    bound, local = torch.randn(count, BOUND), torch.randn(count, SIDE**2, CHANNELS)
    return F.normalize(bound, dim=1), F.normalize(local, dim=2)


def test_each_position_of_a_finer_map_goes_to_the_cell_that_covers_it():
    head = LocalHead((4 * 3, 5), SIDE, CHANNELS)
    for row, column, channel in ((0, 0, 0), (5, 2, 1), (7, 7, 2)):
        fine, coarse = torch.zeros(1, 3, 8, 8), torch.zeros(1, 5, 4, 4)
        fine[0, channel, row, column] = 2.0
        stacked = head.stacked([fine, coarse])
        assert stacked.shape == (1, 16, 17)
        where = row // 2 * SIDE + column // 2, channel * 4 + row % 2 * 2 + column % 2
        assert stacked[0].nonzero().tolist() == [list(where)] and stacked.max() == 1.0


def test_positions_of_the_grid_are_row_major_and_each_level_has_length_one():
    head = LocalHead((4 * 3, 5), SIDE, CHANNELS)
    fine, coarse = torch.randn(2, 3, 8, 8), torch.randn(2, 5, 4, 4)
    stacked = head.stacked([fine, coarse])
    for part in stacked.split([12, 5], dim=2):
        torch.testing.assert_close(part.norm(dim=2), torch.ones(2, 16))
    expected = F.normalize(coarse[:, :, 2, 3], dim=1)
    torch.testing.assert_close(stacked[:, 2 * SIDE + 3, 12:], expected)
    torch.testing.assert_close(head(stacked).norm(dim=2), torch.ones(2, 16))


def test_a_grid_of_its_own_has_as_many_positions_whatever_the_pictures_size():
    head = LocalHead((4 * 3, 5), SIDE, CHANNELS, grid=3)
    assert head.side == 3
    for side in (3, 4, 6):
        fine, coarse = torch.randn(2, 3, 2 * side, 2 * side), torch.randn(2, 5, side, side)
        stacked = head.stacked([fine, coarse])
        assert stacked.shape == (2, 9, 17)
        seen = F.interpolate(coarse, (3, 3), mode='bilinear')[:, :, 2, 0]
        torch.testing.assert_close(stacked[:, 6, 12:], F.normalize(seen, dim=1))


def test_halves_have_their_shares_of_the_length():
    bound, local = random_halves(5)
    layer = free_half(20)
    whole = layer.halves(bound, layer.residuals(local))
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(whole[:, :BOUND], bound * 0.6**0.5)
    assert whole[:, BOUND:].square().sum(dim=1).tolist() == pytest.approx([0.4] * 5, abs=1e-5)


def test_the_layout_free_half_does_not_ask_where_a_feature_stands():
    layer, (bound, local) = free_half(20), random_halves(5)
    mixed = local[:, torch.randperm(SIDE**2)]
    whole, again, other = (
        layer.halves(bound, layer.residuals(x)) for x in (local, mixed, local.flip(0))
    )
    torch.testing.assert_close(again, whole)
    assert (other - whole)[:, BOUND:].abs().max() > 1e-2


def test_a_turn_to_all_axes_keeps_every_inner_product():
    layer, (bound, local) = free_half(BOUND + FREE), random_halves(6)
    with torch.no_grad():
        residuals = layer.residuals(local)
        halves, turned = layer.halves(bound, residuals), layer(bound, residuals)
    torch.testing.assert_close(turned @ turned.T, halves @ halves.T, atol=1e-5, rtol=0)
    assert (turned - halves).abs().max() > 1e-2
    layer.turn.weight = torch.nn.Parameter(layer.turn.weight[:20])
    cut = layer(bound, residuals)
    torch.testing.assert_close(cut, F.normalize(turned[:, :20], dim=1))


def test_residuals_are_sums_over_the_nearest_centres():
    layer, (_, local) = free_half(20), random_halves(1)
    expected = np.zeros((CENTRES, CHANNELS))
    centres = layer.centres.detach().numpy().astype(float)
    for feature in local[0].numpy().astype(float):
        shares = np.exp(15 * centres @ feature)
        expected += (shares / shares.sum())[:, None] * (feature - centres)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = layer.residuals(local).detach().numpy().reshape(CENTRES, CHANNELS)
    np.testing.assert_allclose(found, expected / CENTRES**0.5, atol=1e-4)


def test_features_of_zeros_give_numbers():
    layer, zeros = free_half(20), torch.zeros(2, SIDE**2, CHANNELS)
    assert torch.isfinite(layer(torch.zeros(2, BOUND), layer.residuals(zeros))).all()
    head = LocalHead((4 * 3, 5), SIDE, CHANNELS)
    stacked = head.stacked([torch.zeros(1, 3, 8, 8), torch.zeros(1, 5, 4, 4)])
    assert torch.isfinite(stacked).all()


def test_a_student_with_local_features_gives_a_vector_local_features_and_its_maps():
    network, images = small_student(config=SMALL_WITH_LOCAL), torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        descriptor, local, *maps = network(images, True)
        alone = network(images)
    assert descriptor.shape == (3, 20) and local.shape == (3, 16, CHANNELS) and len(maps) == 4
    for rows in (descriptor, local):
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(rows.shape[:-1]))
    torch.testing.assert_close(alone, descriptor)


def test_local_features_belong_to_a_place_of_the_picture():
    # A change in the upper left corner moves the features there more than those far from it.
    torch.manual_seed(0)
    network = DSFormer(replace(SMALL_WITH_LOCAL, vit_widths=(), vit_depths=())).eval()
    image = torch.rand(1, 3, 64, 64)
    changed = image.clone()
    changed[..., :12, :12] = 1 - changed[..., :12, :12]
    with torch.no_grad():
        before, after = (network.describe(x).local[0] for x in (image, changed))
    moved = (before - after).norm(dim=1).reshape(SIDE, SIDE)
    assert moved.argmax() == 0 and moved[0, 0] > 5 * moved[3, 3]
