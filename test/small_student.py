# SPDX-License-Identifier: Apache-2.0
"""Students of 64 x 64 pixels, for tests; skips them where there is no torch."""

from __future__ import annotations

from dataclasses import replace

from training_packages import torch

from tools.training.networks.student import DSFormer, StudentConfig

SMALL = StudentConfig(
    image_size=64,
    dimensions=16,
    vit_widths=(32, 32),
    vit_depths=(1, 1),
    head_channels=16,
    maps=3,
    local=0,
)
SMALL_WITH_LOCAL = replace(SMALL, local=8, free_dimensions=8, combined=20)
# Small products are slower on several threads, and the sums the same on every machine.
torch.set_num_threads(1)


def small_student(seed: int = 0, config: StudentConfig = SMALL) -> DSFormer:
    """The network with random weights; by default 16 dimensions and no local features."""
    torch.manual_seed(seed)
    return DSFormer(config).eval()
