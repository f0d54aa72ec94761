# SPDX-License-Identifier: Apache-2.0
"""The student: what its descriptors and salient maps are, its budget, its start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import line_of
from small_student import SMALL, small_student, torch

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import Embedder
from tools.training.networks.layers import NetworkOutput, count
from tools.training.networks.student import DSFormer, StudentConfig

F = torch.nn.functional


def test_descriptors_have_length_one_and_salient_maps_sum_to_one():
    images, small = torch.rand(3, 3, 64, 64), small_student()
    with torch.no_grad():
        descriptors = small(images)
        raw, sums, maps, local = small.describe(images)
    assert descriptors.shape == (3, 16) and local is None
    torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(F.normalize(raw, dim=1), descriptors)
    assert [m.shape for m in maps] == [(3, 3, s, s) for s in (8, 4, 4, 2)]
    assert [s.shape for s in sums] == [(3, 3 * c) for c in (32, 96, 32, 32)]
    for m in maps:
        assert (m >= 0).all()
        torch.testing.assert_close(m.sum(dim=(2, 3)), torch.ones(3, 3))


def test_full_student_keeps_its_budget():
    network = DSFormer()
    parameters, macs = count(network, torch.zeros(1, 3, 224, 224))
    assert network.config.dimensions == 256
    assert 1.0 < parameters <= 5.0
    assert 0.1 < macs <= 0.6


def test_count_is_right_for_a_layer_that_can_be_counted_by_hand():
    network = DSFormer(SMALL)
    raw = lambda images: network.project(torch.zeros(1, 3 * 192))  # noqa: E731
    network.describe = lambda images: NetworkOutput(raw(images), [], [])
    assert network.project.weight.numel() == 3 * 192 * 16
    image = torch.zeros(1, 3, 64, 64)
    assert count(network, image)[1] == pytest.approx(3 * 192 * 16 / 1e9)


def test_student_starts_from_the_values_of_mobilenetv2(shared: Path):
    path = shared / 'teachers' / 'mobilenetv2_trainable.npz'
    network = DSFormer(SMALL)
    network.load_mobilenetv2(path)
    state, arrays = network.state_dict(), np.load(path)
    pairs = {
        'stem.0.0.weight': 'conv0_weight',
        'stem.0.1.running_var': 'batchnorm0_running_var',
        'stem.6.layers.1.0.weight': 'linearbottleneck5_conv1_weight',
        'levels.0.0.layers.0.1.weight': 'linearbottleneck6_batchnorm0_gamma',
        'levels.0.6.layers.2.0.weight': 'linearbottleneck12_conv2_weight',
        'levels.0.6.layers.2.1.bias': 'linearbottleneck12_batchnorm2_beta',
    }
    for ours, theirs in pairs.items():
        np.testing.assert_array_equal(state[ours].numpy(), arrays[theirs].astype(np.float32))


@pytest.mark.parametrize('case', ['missing', 'garbage', 'cut', 'other arrays', 'other shapes'])
def test_bad_starting_weights_are_one_line(tmp_path: Path, case: str):
    path = tmp_path / 'start.npz'
    arrays = {'conv0_weight': np.zeros((3, 3))} if case == 'other shapes' else {'a': np.zeros(3)}
    if case != 'missing':
        np.savez(path, **arrays)
    if case == 'garbage':
        path.write_bytes(b'garbage' * 50)
    if case == 'cut':
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(VprError) as error:
        DSFormer(SMALL).load_mobilenetv2(path)
    assert line_of(error).startswith(f'{path}: not weights of a MobileNetV2')


def test_batch_statistics_and_a_frozen_stem_stay_in_training():
    network = DSFormer(SMALL)
    network.freeze(1)
    before = {k: v.clone() for k, v in network.state_dict().items() if 'running' in k}
    network.train()
    network(torch.rand(2, 3, 64, 64)).sum().backward()
    after = network.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    assert all(p.grad is None for p in network.stem.parameters())
    assert all(p.grad is not None for p in network.levels.parameters())


def test_an_exported_student_is_a_start(student: Path):
    whole, bound = DSFormer(StudentConfig(local=64)).eval(), DSFormer().eval()
    for network in (whole, bound):
        network.load_exported(student)
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        ours = whole(images).numpy()
        halves = bound.describe(images).descriptor, whole.describe(images).descriptor
    theirs = Embedder(student).run(images.numpy())
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    torch.testing.assert_close(*halves)  # training goes on from the half that it teaches


def test_another_file_is_no_start(student: Path, tmp_path: Path):
    (tmp_path / 'garbage.onnx').write_bytes(b'\xff' * 100)
    small = DSFormer(SMALL)
    for path in (tmp_path / 'gone.onnx', tmp_path / 'garbage.onnx', student):
        with pytest.raises(VprError) as error:
            small.load_exported(path)
        assert 'not an exported student of this shape' in line_of(error)


def test_a_smaller_student_sees_as_the_trained_one_below():
    whole, images = small_student(), torch.rand(2, 3, 64, 64)
    lower = whole.smaller(3, 64)
    assert len(lower.heads) == 3 and lower.project.in_features == 3 * (32 + 96 + 32)
    with torch.no_grad():
        ours, theirs = lower.describe(images), whole.describe(images)
    for a, b in zip([*ours.sums, *ours.maps], [*theirs.sums[:3], *theirs.maps[:3]], strict=True):
        torch.testing.assert_close(a, b)


def test_a_student_of_other_pixels_looks_at_the_same_quarters():
    whole = small_student()
    smaller, larger = whole.smaller(4, 32), whole.smaller(4, 128)
    with torch.no_grad():
        for network, size in ((smaller, 32), (larger, 128)):
            maps = network.describe(torch.full((1, 3, size, size), 0.5)).maps
            side = size // 8
            assert maps[0].shape == (1, 3, side, side)
            quarter = maps[0][0, 1, : side // 2, : side // 2].sum()
            assert quarter > 0.8  # the second map starts on the upper left
