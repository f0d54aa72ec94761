# SPDX-License-Identifier: Apache-2.0
"""Local features are fitted to a finished student: the file, what is learned, bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from conftest import line_of, write_tiny_model
from small_student import SMALL, small_student, torch
from small_training import FakeTrunk

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import LocalShape
from tools.training import fit_local
from tools.training.export import metadata_of, write_onnx
from tools.training.fit_local import LocalOptions, fit
from tools.training.networks import local

onnx = pytest.importorskip('onnx')
FREE, CHANNELS, DIMENSIONS = 8, 6, 20
OPTIONS = LocalOptions(CHANNELS, DIMENSIONS, steps=0, pairs=24, batch=4, pictures=100)


@pytest.fixture(autouse=True)
def small_layers(monkeypatch: pytest.MonkeyPatch):
    """Students of 64 x 64 pixels and a layout-free half of 8 numbers."""
    monkeypatch.setattr(fit_local, 'StudentConfig', lambda **sizes: replace(SMALL, **sizes))
    monkeypatch.setattr(fit_local, 'FREE_DIMENSIONS', FREE)
    monkeypatch.setattr(local, 'FREE_DIMENSIONS', FREE)


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported student that was not trained; no two of its weights are the same."""
    path, network = tmp_path_factory.mktemp('student') / 'small.onnx', small_student()
    with torch.no_grad():
        for name, value in network.named_buffers():
            if name.endswith('running_mean'):
                value.copy_(0.1 * torch.randn_like(value))
        sums = torch.cat(network.describe(torch.rand(16, 3, 64, 64)).sums, dim=1)
        network.project.bias.sub_(network.project(sums).mean(0))  # as a whitening does
    write_onnx(network, path, metadata_of(network, 'small'))
    return path


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets of 20 pictures with much to see."""
    folder, rng = tmp_path_factory.mktemp('data'), np.random.default_rng(0)
    for name in ('walk', 'tilde_webcam'):
        (folder / name).mkdir()
        rows = ''
        for k in range(20):
            coarse = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / name / f'{k}.jpg'), cv2.resize(coarse, (96, 80)))
            rows += f'{k}.jpg,{k // 5},,{k}\n'
        (folder / name / 'index.csv').write_text('file,place,role,order\n' + rows)
    return folder


@pytest.fixture(scope='module')
def settings(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A settings file whose sets have no positives."""
    config = {
        'out': 'out',
        'views_folder': 'views',
        'sources': [{'kind': 'sets', 'path': str(data)}],
        'lesson': {'metric': 1.0},
        'schedule': {'steps': 1, 'places': 4, 'views': 4},
    }
    path = tmp_path_factory.mktemp('settings') / 'train.yaml'
    path.write_text(yaml.safe_dump(config))
    return path


def run(model: Path, data: Path, out: Path, settings: Path, *more: object) -> None:
    arguments = [model, '--data', data, '-o', out, '--config', settings, '--channels', CHANNELS]
    arguments += ['--dimensions', DIMENSIONS, '--steps', 2, *more]
    assert fit_local.main([str(a) for a in arguments]) == 0


def test_the_file_has_descriptors_and_local_features(
    model: Path, data: Path, settings: Path, tmp_path: Path, capsys
):
    before, out = model.read_bytes(), tmp_path / 'new' / 'fitted.onnx'
    run(model, data, out, settings)
    printed = capsys.readouterr().out
    assert 'loss' in printed and 'least cosine of local' in printed
    assert 'the confidence is not fitted' in printed
    assert model.read_bytes() == before and [*out.parent.iterdir()] == [out]
    embedder = Embedder(out, num_threads=1)
    assert (embedder.name, embedder.dimensions) == ('fitted', DIMENSIONS)
    assert embedder.local == LocalShape((4, 4), CHANNELS)
    about = {p.key: p.value for p in onnx.load(str(out)).metadata_props}
    assert json.loads(about['local']) == {'grid': [4, 4]}
    assert about['licence'] == 'Apache-2.0' and json.loads(about['preprocessing'])
    outputs = {o.name: o for o in onnx.load(str(out)).graph.output}
    assert list(outputs)[:2] == ['descriptor', 'local'] and 'salient3' in outputs


def test_the_same_seed_gives_the_same_network_and_the_body_stays(model: Path, data: Path):
    first, measured, files = fit(model, data, replace(OPTIONS, steps=3))
    again, others, _ = fit(model, data, replace(OPTIONS, steps=3))
    assert measured == others and len(files) == 40
    states = first.state_dict(), again.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = first.describe(images).descriptor, Embedder(model).run(images.numpy())
    ours = torch.nn.functional.normalize(ours, dim=1).numpy()
    assert ((ours * theirs).sum(axis=1) > 0.9999).all()


def test_the_loss_falls_with_training(model: Path, data: Path):
    losses = [fit(model, data, replace(OPTIONS, steps=n))[1]['loss'] for n in (1, 80)]
    assert losses[1] < min(losses[0] / 2, np.log(4 * 16))  # below that of a guess


def test_the_loss_is_that_of_the_right_partner_among_all(model: Path):
    torch.manual_seed(0)
    head = fit_local.load_finished(model, OPTIONS).local
    stacked, partners = torch.randn(3, 2, 16, 256), torch.randint(-1, 16, (3, 16))
    with torch.no_grad():
        found = float(fit_local.match_loss(head, stacked, partners))
        rows = torch.nn.functional.normalize(head.project(stacked), dim=3).double()
    losses = []
    for pair in range(3):
        for here, there in enumerate(partners[pair].tolist()):
            alike = (rows[:, 1].flatten(0, 1) @ rows[pair, 0, here] / 0.07).exp()
            if there >= 0:
                losses.append(-float((alike[16 * pair + there] / alike.sum()).log()))
    assert len(losses) < 48 and found == pytest.approx(np.mean(losses), rel=1e-4)


def test_without_steps_the_layer_is_the_start(model: Path, data: Path):
    network, measured, files = fit(model, data, OPTIONS)
    assert measured == {}
    images = fit_local.pictures_of(files, 64)
    with torch.no_grad():
        _, levels = network.describe_levels(images)
        rows = network.local.stacked(levels).flatten(0, 1)
        spread = torch.cov(network.local.project(rows).T)
    apart = spread - torch.diag(spread.diagonal())
    assert apart.abs().max() < 0.05 * spread.diagonal().max()  # principal axes
    assert network.local.project(rows).mean(0).abs().max() < 0.05
    trained, _, _ = fit(model, data, replace(OPTIONS, steps=1))
    assert not torch.equal(trained.local.project.weight, network.local.project.weight)


def test_the_start_at_a_teacher_explains_its_map(
    model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
):
    options = replace(OPTIONS, channels=4, teacher=Path('trunk.onnx'))
    network = fit_local.load_finished(model, options)

    class Own(FakeTrunk):
        """What the student sees itself."""

        has_map = True

        def features(self, images: torch.Tensor):
            maps = network.local.stacked(network.describe_levels(images)[1])
            return maps[..., ::2].transpose(1, 2).unflatten(2, (4, 4)), None

    class Noise(Own):
        def features(self, images: torch.Tensor):
            return torch.randn(len(images), 6, 4, 4), None

    explained = []
    for trunk in (Own, Noise):
        monkeypatch.setattr(fit_local, 'FrozenTrunk', trunk)
        fitted, measured, _ = fit(model, data, options)
        explained.append(measured['explained'])
        assert fitted.local.project.weight.shape[0] == 4
    assert explained[0] > 0.7 and explained[1] < 0.55  # noise: 256 numbers for 640 positions


def test_all_dimensions_keep_the_inner_products_of_both_halves(model: Path, data: Path):
    network, _, files = fit(model, data, replace(OPTIONS, dimensions=16 + FREE))
    images = fit_local.pictures_of(files, 64)
    with torch.no_grad():
        outputs = network.describe(images)
        bound = torch.nn.functional.normalize(outputs.descriptor, dim=1)
        halves = network.combine.halves(bound, outputs.local)
        whole = network(images)
    torch.testing.assert_close(whole @ whole.T, halves @ halves.T, atol=1e-4, rtol=0)
    energy = whole.square().sum(dim=0)
    assert (energy.diff() <= 0.1).all()  # the first numbers tell most
    assert energy[:12].sum() > 0.7 * energy.sum()


def test_a_model_that_has_local_features_is_fitted_anew(
    model: Path, data: Path, settings: Path, tmp_path: Path
):
    once, again, other = (tmp_path / f'{name}.onnx' for name in ('once', 'again', 'other'))
    run(model, data, once, settings)
    run(once, data, again, settings)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    first, second = (Embedder(path, num_threads=1).describe(picture) for path in (once, again))
    assert first.descriptor @ second.descriptor > 0.999
    assert np.abs(first.local.astype(int) - second.local).max() <= 4
    run(once, data, other, settings, '--channels', 4, '--dimensions', 12)
    assert Embedder(other, num_threads=1).local == LocalShape((4, 4), 4)


def refusal(*arguments: object) -> str:
    """The line that refuses them; nothing is written."""
    out = arguments[2]
    with pytest.raises(VprError) as error:
        run(*arguments)
    assert not out.is_file()
    return line_of(error)


def test_bad_input_is_one_line_before_the_work(
    model: Path, data: Path, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fit_local, 'stacked_maps', lambda *_: pytest.fail('began'))
    out, gone = tmp_path / 'out.onnx', tmp_path / 'gone'
    (tmp_path / 'garbage.onnx').write_bytes(b'\xff' * 100)
    other = write_tiny_model(tmp_path / 'tiny.onnx')
    assert 'gone' in refusal(gone, data, out, settings)
    assert 'garbage.onnx' in refusal(tmp_path / 'garbage.onnx', data, out, settings)
    assert 'not an exported student of three levels' in refusal(other, data, out, settings)
    assert 'holds no set' in refusal(model, gone, out, settings)
    assert 'gone' in refusal(model, data, out, gone)
    assert 'gone' in refusal(model, data, out, settings, '--teacher', gone)
    assert 'has no output "map"' in refusal(model, data, out, settings, '--teacher', model)
    for option, number, expected in (
        ('--channels', 1, 'from 2 to 256 numbers, not 1'),
        ('--channels', 257, 'from 2 to 256 numbers, not 257'),
        ('--dimensions', 25, 'from 2 to 24 numbers, not 25'),
        ('--dimensions', 1, 'from 2 to 24 numbers, not 1'),
    ):
        assert expected in refusal(model, data, out, settings, option, number)
    monkeypatch.setattr(fit_local, 'stacked_maps', lambda *_: pytest.fail('began'))
    assert 'no such file' in refusal(model, data, out, settings, '--teacher', gone)
    assert 'no output "map"' in refusal(model, data, out, settings, '--teacher', other)
    monkeypatch.setattr(fit_local, 'FREE_DIMENSIONS', 40)
    assert 'has 40 pictures; give more than 40' in refusal(model, data, out, settings)


def test_a_student_of_another_shape_is_one_line(
    model: Path, data: Path, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    larger = replace(SMALL, vit_widths=(48, 32))
    monkeypatch.setattr(fit_local, 'StudentConfig', lambda **sizes: replace(larger, **sizes))
    line = refusal(model, data, tmp_path / 'out.onnx', settings)
    assert 'not an exported student of this shape' in line
    three = replace(SMALL, vit_widths=(32,), vit_depths=(1,))
    monkeypatch.setattr(fit_local, 'StudentConfig', lambda **sizes: replace(three, **sizes))
    assert 'of three levels' in refusal(model, data, tmp_path / 'out.onnx', settings)


def test_what_cannot_be_written_is_one_line_before_the_work(
    model: Path, data: Path, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fit_local, 'load_finished', lambda *_: pytest.fail('began'))
    (tmp_path / 'file').write_text('')
    assert 'file' in refusal(model, data, tmp_path / 'file' / 'out.onnx', settings)
    theirs = write_tiny_model(tmp_path / 'theirs.onnx', {'name': 'theirs'})
    with pytest.raises(VprError) as error:
        run(model, data, theirs, settings)
    assert 'theirs.onnx: exists' in line_of(error)


def test_a_damaged_picture_is_named(model: Path, data: Path, settings: Path, tmp_path: Path):
    broken = tmp_path / 'data' / 'walk'
    broken.mkdir(parents=True)
    for file in (data / 'walk').iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / '7.jpg').write_bytes(b'no picture')
    assert 'walk/7.jpg' in refusal(model, broken.parent, tmp_path / 'out.onnx', settings)


def test_a_model_whose_local_features_differ_is_not_written(
    model: Path, data: Path, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    exported = fit_local.write_onnx

    def another(network, path: Path, metadata: dict[str, str]) -> None:
        weight = network.local.project.weight.data
        keep = weight.clone()
        weight.copy_(weight + 0.5 * weight.std() * torch.randn_like(weight))
        exported(network, path, metadata)
        weight.copy_(keep)

    monkeypatch.setattr(fit_local, 'write_onnx', another)
    monkeypatch.setattr(fit_local, 'check_parity', lambda *_: 1.0)
    line = refusal(model, data, tmp_path / 'out.onnx', settings)
    assert 'its local features differ from numpy' in line
