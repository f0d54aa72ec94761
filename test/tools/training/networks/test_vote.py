# SPDX-License-Identifier: Apache-2.0
"""The score in torch is the score of the robot."""

from __future__ import annotations

import numpy as np
import pytest
from training_packages import torch

from ashtkd_ros.recognition.verification import verify
from tools.training.networks.vote import positions, vote


@pytest.mark.parametrize('grid', [(4, 4), (3, 5)])
def test_it_scores_as_the_verification_does(grid: tuple[int, int]):
    rng = np.random.default_rng(0)
    count = grid[0] * grid[1]
    local = rng.integers(-127, 128, (9, count, 16), dtype=np.int8)
    local[3, : count // 2] = local[0, : count // 2]
    similarity = rng.random(8, dtype=np.float32)
    expected = verify(local[0], local[1:], similarity, grid)
    query, candidates = (torch.from_numpy(x / np.float32(127)) for x in (local[0], local[1:]))
    scores = vote(query, candidates, torch.from_numpy(similarity), positions(grid))
    np.testing.assert_allclose(scores.numpy(), expected.scores, atol=1e-4)
    assert scores.argmax() == 2


def test_its_derivative_is_finite_where_candidates_are_the_same():
    features = torch.nn.functional.normalize(torch.randn(1, 9, 4), dim=2).expand(4, 9, 4)
    features = features.clone().requires_grad_()
    vote(features[0], features[1:], torch.zeros(3), positions((3, 3))).sum().backward()
    assert features.grad.isfinite().all()
