# SPDX-License-Identifier: Apache-2.0
"""The teacher: an hourglass whose levels all speak."""

from __future__ import annotations

from small_student import torch

from tools.training.networks.apformer import APFormer, APFormerConfig


def test_levels_go_down_and_up_again_and_every_one_counts():
    torch.manual_seed(0)
    config = APFormerConfig(dimensions=16, widths=(32, 64), head_channels=16, maps=3)
    network = APFormer(24, 6, config)
    trunk = torch.rand(2, 24, 6, 6)
    raw, sums, maps, local, *_ = network.describe(trunk)
    assert raw.shape == (2, 16) and local is None
    assert [m.shape[2:] for m in maps] == [(6, 6), (6, 6), (3, 3), (6, 6)]
    assert [s.shape[1] for s in sums] == [3 * c for c in (24, 32, 64, 32)]
    for m in maps:
        torch.testing.assert_close(m.sum(dim=(2, 3)), torch.ones(2, 3))
    torch.testing.assert_close(network(trunk).norm(dim=1), torch.ones(2))
    raw.sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.up.parameters() if p.dim() > 1)
    assert network.up.lateral.weight.grad.any()


def test_the_trunks_scale_does_not_matter():
    network = APFormer(24, 6, APFormerConfig(dimensions=16, widths=(32, 32), maps=2)).eval()
    trunk = torch.rand(2, 24, 6, 6)
    torch.testing.assert_close(network(trunk), network(1000 * trunk))
