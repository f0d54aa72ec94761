# SPDX-License-Identifier: Apache-2.0
"""A student of 64 x 64 pixels and 16 dimensions, for tests; skips them where there is no torch."""

from __future__ import annotations

from training_packages import torch

from tools.training.networks.student import DSFormer, StudentConfig

SMALL = StudentConfig(
    image_size=64, dimensions=16, vit_widths=(32, 32), vit_depths=(1, 1), head_channels=16, maps=3
)
# Small products are slower on several threads, and the sums the same on every machine.
torch.set_num_threads(1)


def small_student(seed: int = 0) -> DSFormer:
    """The network with random weights."""
    torch.manual_seed(seed)
    return DSFormer(SMALL).eval()
