# SPDX-License-Identifier: Apache-2.0
"""Descriptors and similarities of four queries and six database views; a plugin of pytest."""

from __future__ import annotations

import pytest
from small_losses import D_PLACE, Q_PLACE, unit
from small_student import torch

from tools.training.losses.ranking import same_place


@pytest.fixture
def query() -> torch.Tensor:
    return unit(4)


@pytest.fixture
def database() -> torch.Tensor:
    return unit(6, seed=1)


@pytest.fixture
def teachers() -> torch.Tensor:
    """Similarities of three teachers (3, 4, 6)."""
    return torch.stack([unit(4, seed=2 + k) @ unit(6, seed=9 + k).T for k in range(3)]).detach()


@pytest.fixture
def positive() -> torch.Tensor:
    return same_place(Q_PLACE, D_PLACE)
