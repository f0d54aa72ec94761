# SPDX-License-Identifier: Apache-2.0
"""PCA-whitening as a layer: what it does to vectors, and to a student."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import line_of
from small_student import SMALL_WITH_LOCAL, small_student, torch

from ashtkd_ros.errors import VprError
from tools.training.whitening import (
    describe_pictures,
    finish,
    start_layers,
    whitening_layer,
)

F = torch.nn.functional


def test_whitening_gives_unit_covariance():
    torch.manual_seed(0)
    vectors = torch.randn(500, 12) @ torch.randn(12, 12) + 3.0
    with torch.no_grad():
        white = whitening_layer(vectors, 5, power=1.0)(vectors)
    torch.testing.assert_close(torch.cov(white.T), torch.eye(5), atol=1e-3, rtol=0)
    torch.testing.assert_close(white.mean(0), torch.zeros(5), atol=1e-3, rtol=0)


def test_whitening_of_power_zero_only_turns():
    torch.manual_seed(0)
    matrix = whitening_layer(torch.randn(100, 6), 6, power=0.0).weight
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(6), atol=1e-5, rtol=0)


def test_too_few_vectors_are_refused():
    with pytest.raises(VprError) as error:
        whitening_layer(torch.randn(8, 12), 8)
    assert '8 pictures cannot give 8' in line_of(error)


def test_a_fitted_student_keeps_the_products_of_its_sums(views):
    network, jpegs = small_student(), [views.jpegs[row] for row in views.whole()]
    (sums,) = describe_pictures(network, jpegs, ('sums',))
    finish(network, views, power=0.0)
    (ours,) = describe_pictures(network, jpegs)
    centred = sums - sums.mean(0)
    assert ours.shape == (len(jpegs), 16)
    torch.testing.assert_close(ours.mean(0), torch.zeros(16), atol=1e-4, rtol=0)
    # 16 axes of sums over 64 coarse pictures hold all but the last of what there is
    theirs = centred @ centred.T
    assert (ours @ ours.T - theirs).norm() < 0.2 * theirs.norm()


def spread(rows: torch.Tensor) -> tuple[float, float]:
    """How far the mean of rows is from 0, and how much their numbers go together."""
    covariance = torch.cov(rows.T)
    apart = covariance - torch.diag(covariance.diagonal())
    largest = covariance.diagonal().max()
    return float(rows.mean(0).abs().max()), float(apart.abs().max() / largest)


def test_layers_start_in_closed_form(views):
    network, jpegs = (
        small_student(config=SMALL_WITH_LOCAL),
        [views.jpegs[r] for r in views.whole()],
    )
    start_layers(network, views, 64)
    names = ('sums', 'stacked', 'local', 'residuals', 'descriptor')
    sums, stacked, local, residuals, descriptor = describe_pictures(network, jpegs, names)
    with torch.no_grad():
        parts = [
            network.project(sums),
            network.local.project(stacked.float()).flatten(0, 1),
            network.combine.whiten(residuals),
        ]
    for rows in parts:
        mean, together = spread(rows)
        assert mean < 0.05 and together < 0.05
    torch.testing.assert_close(network.combine.centres.norm(dim=1), torch.ones(32))
    nearest = (local.float().flatten(0, 1) @ network.combine.centres.T).amax(1)
    assert nearest.mean() > 0.8
    energy = descriptor.square().sum(dim=0)
    assert (energy.diff() <= 0.1).all() and energy[:12].sum() > 0.7 * energy.sum()


def test_all_dimensions_keep_the_inner_products_of_both_halves(views):
    config = replace(SMALL_WITH_LOCAL, combined=24)
    network, jpegs = small_student(config=config), [views.jpegs[r] for r in views.whole()]
    start_layers(network, views, 64)
    names = ('sums', 'residuals', 'descriptor')
    sums, residuals, descriptor = describe_pictures(network, jpegs, names)
    with torch.no_grad():
        halves = network.combine.halves(F.normalize(network.project(sums), dim=1), residuals)
    torch.testing.assert_close(descriptor @ descriptor.T, halves @ halves.T, atol=1e-3, rtol=0)


def test_the_end_fits_all_but_the_local_layer_and_a_trained_one_is_kept_at_the_start(views):
    network = small_student(config=SMALL_WITH_LOCAL)
    local = network.local.project.weight.clone()
    start_layers(network, views, 64, new_local=False)
    assert torch.equal(network.local.project.weight, local)
    start_layers(network, views, 64)
    assert not torch.equal(network.local.project.weight, local)
    started = {k: v.clone() for k, v in network.state_dict().items()}
    with torch.no_grad():  # as if it had been trained
        for level in network.levels[1:]:
            level.merge.weight.add_(0.3 * torch.randn_like(level.merge.weight))
        network.local.project.weight.mul_(1 + 0.3 * torch.randn(8, 1))
    trained = network.local.project.weight.clone()
    finish(network, views)
    assert torch.equal(network.local.project.weight, trained)
    names = ('project.weight', 'combine.centres', 'combine.whiten.weight', 'combine.turn.weight')
    assert not any(torch.equal(network.state_dict()[n], started[n]) for n in names)
    once = {k: v.clone() for k, v in network.state_dict().items()}
    finish(network, views)
    assert all(torch.equal(v, once[k]) for k, v in network.state_dict().items())
