# SPDX-License-Identifier: Apache-2.0
"""The student: what its descriptors and salient maps are, its budget, its start."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import line_of
from small_student import SMALL, SMALL_WITH_LOCAL, small_student, torch

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import Embedder
from tools.training.export import metadata_of, write_onnx
from tools.training.networks.layers import NetworkOutput, count
from tools.training.networks.student import DSFormer, StudentConfig

F = torch.nn.functional


def test_descriptors_have_length_one_and_salient_maps_sum_to_one():
    images, small = torch.rand(3, 3, 64, 64), small_student()
    with torch.no_grad():
        descriptors = small(images)
        raw, sums, maps, local, *_ = small.describe(images)
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


@pytest.mark.parametrize(
    'case', ['missing', 'garbage', 'cut', 'other arrays', 'other shapes', 'texts', 'pipe']
)
def test_bad_starting_weights_are_one_line(tmp_path: Path, case: str):
    path = tmp_path / 'start.npz'
    arrays = {'other shapes': np.zeros((3, 3)), 'texts': np.array(['conv'])}
    arrays = {'conv0_weight': arrays[case]} if case in arrays else {'a': np.zeros(3)}
    if case == 'pipe':
        os.mkfifo(path)
    elif case != 'missing':
        np.savez(path, **arrays)
    if case == 'garbage':
        path.write_bytes(b'garbage' * 50)
    if case == 'cut':
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(VprError) as error:
        DSFormer(SMALL).load_mobilenetv2(path)
    assert line_of(error).startswith(f'{path}: not weights of a MobileNetV2')
    assert line_of(error).endswith('; correct `start`, the path of its .npz')


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


def _blocks_of(student: Path) -> int:
    import onnx

    return sum(node.name.endswith('/qkv/MatMul') for node in onnx.load(str(student)).graph.node)


@pytest.mark.parametrize('more', [-1, 1])
def test_a_student_of_other_blocks_is_no_start(student: Path, more: int):
    network = DSFormer(StudentConfig(vit_depths=(_blocks_of(student) + more,)))
    with pytest.raises(VprError) as error:
        network.load_exported(student)
    assert 'more or fewer transformer blocks' in line_of(error)


def test_an_exported_student_is_a_start(student: Path):
    blocks = StudentConfig(vit_depths=(_blocks_of(student),))
    network, images = DSFormer(blocks).eval(), torch.rand(2, 3, 224, 224)
    assert network.load_exported(student)
    with torch.no_grad():
        ours = network(images).numpy()
    np.testing.assert_allclose(ours, Embedder(student).run(images.numpy()), atol=1e-5)


def test_a_start_without_local_features_says_so(tmp_path: Path):
    bound, path = small_student(), tmp_path / 'bound.onnx'
    network = small_student(1, SMALL_WITH_LOCAL)
    for name, value in [*bound.named_buffers(), *network.named_buffers()]:
        if name.endswith('running_mean'):  # the exporter writes equal weights once
            value.copy_(0.1 * torch.randn_like(value))
    write_onnx(bound, path, metadata_of(bound, 'bound'))
    assert not network.load_exported(path) and not DSFormer(SMALL).load_exported(path)
    whole = tmp_path / 'whole.onnx'
    write_onnx(network, whole, metadata_of(network, 'whole'))
    assert small_student(2, SMALL_WITH_LOCAL).load_exported(whole)


def test_heads_can_start_anew_without_the_rest():
    network = small_student(config=SMALL_WITH_LOCAL)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    network.restart_heads()
    changed = {k for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {f'heads.{i}.attention.weight' for i in range(4)}


def test_smaller_images_have_fewer_positions_and_the_same_layout():
    network = small_student(config=SMALL_WITH_LOCAL)
    ramp = torch.linspace(-1, 1, 4)
    head, level = network.heads[1], network.levels[1]
    with torch.no_grad():
        head.place.copy_((2 * ramp[:, None] - ramp).flatten().expand(3, 16))
        level.position.copy_(ramp.repeat(4)[None, :, None].expand_as(level.position))
        level.blocks = torch.nn.Sequential()
        level.merge.weight.zero_()
        large, small = (network.describe(torch.rand(2, 3, size, size)) for size in (64, 32))
        head.attention.weight.zero_()
        looks = [head(torch.rand(1, 96, side, side))[1][0, 0] for side in (4, 2)]
        columns = level(torch.rand(1, 96, 2, 2)) - level.merge.bias[:, None, None]
    assert large.descriptor.shape == small.descriptor.shape == (2, 20)
    assert large.local.shape == (2, 16, 8) and small.local.shape == (2, 4, 8)
    assert [m.shape[2] for m in small.maps] == [4, 2, 2, 1]
    assert looks[1].flatten().argsort().tolist() == [1, 0, 3, 2]  # low on the left, high below
    pooled = F.avg_pool2d(looks[0][None], 2)[0] * 4
    torch.testing.assert_close(looks[1], pooled, atol=0.1, rtol=0)
    assert (columns[..., 0] < -0.4).all() and (columns[..., 1] > 0.4).all()


def test_new_heads_look_at_what_is_there_as_much_as_at_where_it_is():
    network = small_student()
    with torch.no_grad():
        maps = network.describe(torch.rand(8, 3, 64, 64)).maps
    for head, salient in zip(network.heads, maps, strict=True):
        assert head.place.max() <= 1.0
        tokens = torch.nn.functional.layer_norm(torch.randn(500, head.channels), [head.channels])
        assert 0.5 < head.attention(tokens).std() < 2.0
        half = salient.shape[2] // 2
        assert salient[:, 1, :half, :half].sum(dim=(1, 2)).mean() < 0.7


def test_another_file_is_no_start(student: Path, tmp_path: Path):
    (tmp_path / 'garbage.onnx').write_bytes(b'\xff' * 100)
    small, gone, garbage = DSFormer(SMALL), tmp_path / 'gone.onnx', tmp_path / 'garbage.onnx'
    expected = {gone: 'cannot be read', garbage: 'not a model', student: 'not an exported student'}
    for path, why in expected.items():
        with pytest.raises(VprError) as error:
            small.load_exported(path)
        assert why in line_of(error)


def test_a_smaller_student_sees_as_the_trained_one_below():
    whole, images = small_student(), torch.rand(2, 3, 64, 64)
    lower = whole.smaller(3, 64)
    assert len(lower.heads) == 3 and lower.project.in_features == 3 * (32 + 96 + 32)
    with torch.no_grad():
        ours, theirs = lower.describe(images), whole.describe(images)
    for a, b in zip([*ours.sums, *ours.maps], [*theirs.sums[:3], *theirs.maps[:3]], strict=True):
        torch.testing.assert_close(a, b)


def test_a_student_of_fewer_blocks_has_the_first_ones_of_the_trained_one():
    config = replace(SMALL, vit_widths=(32,), vit_depths=(3,))
    whole = DSFormer(config).eval()
    fewer = whole.smaller(3, 64, blocks=1)
    assert fewer.config.vit_depths == (1,) and len(fewer.levels[1].blocks) == 1
    assert whole.smaller(3, 64, blocks=5).config.vit_depths == (3,)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        below = [network.describe(images) for network in (fewer, whole)]
        whole.levels[1].blocks = whole.levels[1].blocks[:1]
        torch.testing.assert_close(below[0].sums[2], whole.describe(images).sums[2])
    torch.testing.assert_close(below[0].sums[1], below[1].sums[1])
    assert not torch.allclose(below[0].sums[2], below[1].sums[2])


def test_a_student_of_other_pixels_looks_at_the_same_quarters():
    whole = small_student()
    smaller, larger = whole.smaller(4, 32), whole.smaller(4, 128)
    with torch.no_grad():
        for network, size in ((smaller, 32), (larger, 128)):
            maps = network.describe(torch.full((1, 3, size, size), 0.5)).maps
            side = size // 8
            assert maps[0].shape == (1, 3, side, side)
            quarter = maps[0][0, 1, : side // 2, : side // 2].sum()
            assert quarter > 0.4  # the second map starts on the upper left
