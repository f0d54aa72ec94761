# SPDX-License-Identifier: Apache-2.0
"""Export: the exported network is the trained one with its whitening and metadata."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import line_of
from small_student import SMALL, SMALL_WITH_LOCAL, small_student, torch

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import LocalShape
from tools.training import calibrate, export
from tools.training.config import read_config
from tools.training.data.views import Views
from tools.training.networks.student import StudentConfig
from tools.training.run_folder import start_folder
from tools.training.whitening import describe_pictures, finish, start_layers

onnx = pytest.importorskip('onnx')


def run_of(config: StudentConfig, folder: Path, views: Views) -> Path:
    """The folder of a student that was not trained; no two of its weights are the same."""
    settings = {'student': asdict(config), 'views_folder': str(views.folder), 'sources': []}
    settings['schedule'] = {'steps': 5}
    start_folder(folder, settings)
    network = small_student(config=config)
    for name, value in network.named_buffers():
        if name.endswith('running_mean'):
            value.copy_(0.1 * torch.randn_like(value))
    start_layers(network, views, 64)
    state = network.state_dict()
    parts = {'network': state, 'average': state, 'optimiser': {}, 'step': 5}
    torch.save(parts, folder / 'checkpoint.pt')
    return folder


@pytest.fixture
def run(tmp_path: Path, views: Views) -> Path:
    return run_of(SMALL, tmp_path / 'run', views)


def test_exported_network_is_the_trained_one_whitened(
    run: Path, tmp_path: Path, views: Views, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export, 'Views', lambda _: views)
    known = {'similarity': np.linspace(0, 1, 40), 'margin': np.linspace(-0.1, 0.4, 40)}
    samples = calibrate.Samples(known, np.arange(40) > 15)
    monkeypatch.setattr(calibrate, 'collect', lambda *_, **__: samples)
    numbers = {'similarity': 0.0, 'margin': 9.0, 'offset': -1.0, 'limited': 1.0}
    monkeypatch.setattr(calibrate, 'fitted', lambda *_: numbers)
    out = tmp_path / 'models' / 'small.onnx'
    measured = export.export(run, tmp_path, out, export.Wanted())
    assert measured['least cosine'] > 0.9999

    trained, _ = export.load_student(run)
    finish(trained, views)
    (fitted,) = describe_pictures(trained, views.jpegs)
    expected = torch.nn.functional.normalize(fitted, dim=1).numpy()
    embedder = Embedder(out, num_threads=1)
    images = [cv2.imdecode(j, cv2.IMREAD_COLOR)[..., ::-1] for j in views.jpegs]
    np.testing.assert_allclose(embedder.embed_batch(images), expected, atol=2e-3)
    np.testing.assert_allclose(embedder.embed(images[0]), expected[0], atol=2e-3)

    assert (embedder.name, embedder.dimensions) == ('small', 16)
    assert embedder.preprocessing.size == (64, 64)
    assert embedder.confidence == numbers and numbers.items() <= measured.items()
    properties = {p.key: p.value for p in onnx.load(str(out)).metadata_props}
    assert properties['licence'] == 'Apache-2.0' and json.loads(properties['preprocessing'])


def test_without_revisits_the_confidence_is_the_similarity(
    run: Path, tmp_path: Path, views: Views, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.setattr(export, 'Views', lambda _: views)
    out = tmp_path / 'small.onnx'
    measured = export.export(run, tmp_path, out, export.Wanted())
    assert list(measured) == ['M parameters', 'GMAC', 'least cosine']
    assert 'the confidence is not fitted' in capsys.readouterr().out
    assert Embedder(out, num_threads=1).confidence == {}


def test_a_students_file_is_complete(
    tmp_path: Path, views: Views, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export, 'Views', lambda _: views)
    run, out = run_of(SMALL_WITH_LOCAL, tmp_path / 'run', views), tmp_path / 'whole.onnx'
    measured = export.export(run, tmp_path, out, export.Wanted())
    assert measured['least cosine'] > 0.9999 and measured['least cosine of local'] > 0.99
    embedder = Embedder(out, num_threads=1)
    assert (embedder.name, embedder.dimensions) == ('whole', 20)
    assert embedder.local == LocalShape((4, 4), 8)
    about = {p.key: p.value for p in onnx.load(str(out)).metadata_props}
    assert json.loads(about['local']) == {'grid': [4, 4]}
    outputs = [o.name for o in onnx.load(str(out)).graph.output]
    assert outputs == ['descriptor', 'local', *(f'salient{i}' for i in range(4))]
    again = small_student(1, SMALL_WITH_LOCAL)
    assert again.load_exported(out)  # it is a start of another training


def test_more_blocks_than_the_run_has_are_one_line(
    tmp_path: Path, views: Views, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export, 'Views', lambda _: views)
    run = run_of(SMALL_WITH_LOCAL, tmp_path / 'run', views)
    with pytest.raises(VprError) as error:
        export.export(run, tmp_path, tmp_path / 'm.onnx', export.Wanted(blocks=2))
    assert f'--blocks 2: {run} has 1 in a level' in line_of(error)


@pytest.mark.parametrize(('levels', 'pixels', 'grid'), [(3, 32, (2, 2)), (3, 0, (4, 4))])
def test_smaller_students_keep_their_local_features(
    tmp_path: Path, views: Views, monkeypatch: pytest.MonkeyPatch, levels, pixels, grid
):
    monkeypatch.setattr(export, 'Views', lambda _: views)
    run, out = run_of(SMALL_WITH_LOCAL, tmp_path / 'run', views), tmp_path / 'small.onnx'
    measured = export.export(run, tmp_path, out, export.Wanted(levels=levels, pixels=pixels))
    assert measured['least cosine of local'] > 0.99
    assert Embedder(out, num_threads=1).local == LocalShape(grid, 8)


def test_a_model_whose_local_features_differ_is_not_written(
    tmp_path: Path, views: Views, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export, 'Views', lambda _: views)
    exported = export.write_onnx

    def another(network, path: Path, metadata: dict[str, str]) -> None:
        weight = network.local.project.weight.data
        keep = weight.clone()
        weight.copy_(weight + 0.5 * weight.std() * torch.randn_like(weight))
        exported(network, path, metadata)
        weight.copy_(keep)

    monkeypatch.setattr(export, 'write_onnx', another)
    monkeypatch.setattr(export, 'check_parity', lambda *_: 1.0)
    run, out = run_of(SMALL_WITH_LOCAL, tmp_path / 'run', views), tmp_path / 'small.onnx'
    with pytest.raises(VprError) as error:
        export.export(run, tmp_path, out, export.Wanted())
    assert 'its local features differ from numpy' in line_of(error) and not out.exists()


def test_a_model_of_another_origin_is_not_replaced(run: Path, tmp_path: Path, monkeypatch):
    out = tmp_path / 'other.onnx'
    other = onnx.helper.make_model(onnx.helper.make_graph([], 'other', [], []))
    for data in (other.SerializeToString(), b'preprocessing licence'):
        out.write_bytes(data)
        monkeypatch.setattr(export, 'load_student', lambda _: pytest.fail('began'))
        with pytest.raises(VprError) as error:
            export.export(run, tmp_path, out, export.Wanted())
        assert 'other.onnx: exists' in line_of(error) and out.read_bytes() == data


def test_too_few_pictures_to_whiten_export_nothing(
    run: Path, tmp_path: Path, views: Views, monkeypatch: pytest.MonkeyPatch
):
    few = SimpleNamespace(jpegs=views.jpegs, whole=lambda: list(range(16)))
    monkeypatch.setattr(export, 'Views', lambda _: few)
    with pytest.raises(VprError) as error:
        export.export(run, tmp_path, tmp_path / 'm.onnx', export.Wanted())
    assert 'whitened dimensions' in line_of(error) and not (tmp_path / 'm.onnx').exists()


def test_export_that_differs_from_torch_is_refused(tmp_path: Path, views: Views):
    path, small = tmp_path / 'm.onnx', small_student()
    preprocessing = {'size': [64, 64], 'mean': [0] * 3, 'std': [1] * 3, 'colour_order': 'RGB'}
    export.write_onnx(small, path, {'preprocessing': json.dumps(preprocessing)})
    assert export.check_parity(small, path, views.jpegs[:4]) > 0.9999
    with pytest.raises(VprError) as error:
        export.check_parity(small_student(seed=7), path, views.jpegs[:4])
    assert 'differs from torch' in line_of(error)


def test_a_folder_without_a_run_is_one_line(tmp_path: Path):
    no_steps = 'student: {}\nviews_folder: v\nsources: []\nschedule: {steps: many}'
    for text in (None, '', 'a: [', no_steps, no_steps.replace('{steps: many}', '[]')):
        if text is not None:
            (tmp_path / 'config.yaml').write_text(text)
        with pytest.raises(VprError) as error:
            export.load_student(tmp_path)
        assert 'holds no run' in line_of(error)
    for spoil in (lambda path: path.write_text('[' * 50_000), os.mkfifo):
        (tmp_path / 'config.yaml').unlink()
        spoil(tmp_path / 'config.yaml')
        with pytest.raises(VprError, match='holds no run'):
            export.load_student(tmp_path)


def test_a_training_that_stopped_half_way_is_not_exported(run: Path):
    state = torch.load(run / 'checkpoint.pt', weights_only=True)
    torch.save({**state, 'step': 4}, run / 'checkpoint.pt')
    with pytest.raises(VprError) as error:
        export.load_student(run)
    assert f'{run}: its training stopped at step 4 of 5; go on' in line_of(error)


def test_a_checkpoint_of_another_network_is_one_line(run: Path):
    state = torch.load(run / 'checkpoint.pt', weights_only=True)
    first = next(iter(state['average']))
    for weights in ({}, None, {**state['average'], first: torch.zeros(1)}):
        torch.save({**state, 'average': weights}, run / 'checkpoint.pt')
        with pytest.raises(VprError) as error:
            export.load_student(run)
        assert 'checkpoint.pt: holds no network of the settings' in line_of(error)


def test_a_run_with_settings_of_another_version_is_one_line(run: Path):
    file = run / 'config.yaml'
    text = file.read_text()
    for change in (('maps: 3', 'maps: 0'), ('maps: 3', 'maps: 3\n  later: 1')):
        file.write_text(text.replace(*change))
        with pytest.raises(VprError) as error:
            export.load_student(run)
        assert line_of(error).startswith(f'{file}: {change[1].split()[-2]} ')


def test_a_student_taught_on_may_keep_a_share_of_what_it_started_from(
    tmp_path: Path, views: Views, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export, 'Views', lambda _: views)
    config = replace(SMALL_WITH_LOCAL, vit_widths=(32,), vit_depths=(1,))
    run = run_of(config, tmp_path / 'run', views)
    file, start = tmp_path / 'start.onnx', small_student(config=config)
    with torch.no_grad():  # equal weights are exported once
        for p in start.parameters():
            p.add_(0.01 * torch.randn_like(p))
    export.write_onnx(start, file, {})
    start.load_exported(file)  # as a training does: batch normalisation is folded
    text = (run / 'config.yaml').read_text()
    (run / 'config.yaml').write_text(f'{text}start: {file}\n')
    state = torch.load(run / 'checkpoint.pt', weights_only=True)
    taught = {k: v + 1.0 if v.is_floating_point() else v for k, v in start.state_dict().items()}
    torch.save({**state, 'average': taught}, run / 'checkpoint.pt')
    for share in (0.0, 0.25, 1.0):
        network, _ = export.load_student(run, share)
        for ours, before in zip(network.parameters(), start.parameters(), strict=True):
            torch.testing.assert_close(ours - before, torch.full_like(ours, 1 - share))


def test_a_student_that_started_from_no_student_has_nothing_to_keep(run: Path):
    with pytest.raises(VprError) as error:
        export.load_student(run, 0.5)
    assert 'leave --keep-start out' in line_of(error)


def test_training_and_export_are_two_commands_a_lesson(root: Path):
    """The first starts from what is in ../shared, the second from the student that ships."""
    starts = {'student': 'mobilenetv2_trainable.npz', 'second': 'models/ashtkd_student.onnx'}
    for name, start in starts.items():
        file = root / 'config' / 'train' / f'{name}.yaml'
        settings, lines = read_config(file), file.read_text().splitlines()
        assert str(settings.start).endswith(start)
        commands = [line.split() for line in lines if 'python -m tools.training' in line]
        assert [c[c.index('-m') + 1] for c in commands] == [
            'tools.training.train',
            'tools.training.export',
        ]
        assert str(settings.out / 'student') in commands[1]


def test_a_network_of_nan_is_not_exported(
    run: Path, tmp_path: Path, views: Views, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export, 'Views', lambda _: views)
    load = export.load_student

    def broken(folder: Path, keep_start: float):
        network, pictures = load(folder, keep_start)
        with torch.no_grad():
            next(iter(network.parameters())).fill_(float('nan'))
        return network, pictures

    monkeypatch.setattr(export, 'load_student', broken)
    out = tmp_path / 'models' / 'small.onnx'
    with pytest.raises(VprError) as error:
        export.export(run, tmp_path, out, export.Wanted())
    assert 'small' in line_of(error) or 'not finite' in line_of(error)
    assert not out.exists()
