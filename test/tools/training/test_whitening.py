# SPDX-License-Identifier: Apache-2.0
"""PCA-whitening as a layer: what it does to vectors, and to a student."""

from __future__ import annotations

import pytest
from conftest import line_of
from small_student import small_student, torch

from ashtkd_ros.errors import VprError
from tools.training.whitening import describe_pictures, fit_projection, whitening_layer


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
    sums = torch.cat(describe_pictures(network, jpegs).sums, dim=1)
    fit_projection(network, views, power=0.0)
    centred, ours = sums - sums.mean(0), describe_pictures(network, jpegs).descriptor
    assert ours.shape == (len(jpegs), 16)
    torch.testing.assert_close(ours.mean(0), torch.zeros(16), atol=1e-4, rtol=0)
    # 16 axes of sums over 64 coarse pictures hold all but the last of what there is
    theirs = centred @ centred.T
    assert (ours @ ours.T - theirs).norm() < 0.2 * theirs.norm()
