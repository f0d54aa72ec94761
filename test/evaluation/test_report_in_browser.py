# SPDX-License-Identifier: Apache-2.0
"""Report and comparison in a real browser, opened from disk: whole, quiet, and not too wide."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser_helpers import complaints, fetched, headings, opened, pictures, visible_text, widths
from small_evaluation import evaluation_of, metrics_for

from ashtkd_ros.evaluation.baselines import raw_pixels
from ashtkd_ros.evaluation.comparison import write_comparison
from ashtkd_ros.evaluation.ground_truth import (
    GroundTruth,
    JudgedQuery,
    Tolerance,
    positives_by,
)
from ashtkd_ros.evaluation.metrics import Metrics, metrics_of
from ashtkd_ros.evaluation.report import write_report
from ashtkd_ros.evaluation.report_file import load_report
from ashtkd_ros.evaluation.similarity_matrix import similarity_matrix
from ashtkd_ros.evaluation.timing import Timing, Traffic
from ashtkd_ros.images.image_file import read_image
from ashtkd_ros.maps.place_map import Place
from ashtkd_ros.traverses.image_folder import ImageFile, read_source

pytest_plugins = ['browser_fixtures']
WIDTHS = (1200, 400)


def walk(town: Path) -> tuple[list[JudgedQuery], Metrics, np.ndarray]:
    """Dusk in the map of day by raw pixels: judged queries, their figures, thinned similarity."""
    mapped, queries = read_source(town / 'day'), read_source(town / 'dusk')
    places = [Place(i, f.stamp, f.order, f.pose, f'images/{f.name}') for i, f in enumerate(mapped)]
    there, here = (np.stack([raw_pixels(f.read()) for f in w]) for w in (mapped, queries))
    similarity = here @ there.T
    ranking = np.argsort(-similarity, axis=1, kind='stable')[:, :20]
    truth = GroundTruth(queries, places, positives_by(queries, places, Tolerance()))
    hits, has_positive = truth.judge(ranking)
    best = similarity.max(axis=1)
    sure = np.clip((best - best.min()) / (best.max() - best.min()), 0.02, 0.99)
    judged = [
        JudgedQuery(q, places[r[0]], float(c), bool(h[0]), float(s), bool(c >= 0.3), bool(p))
        for q, r, c, h, s, p in zip(queries, ranking, sure, hits, best, has_positive, strict=True)
    ]
    return judged, metrics_of(hits, sure, has_positive), similarity_matrix(here, there)


@pytest.fixture(scope='module')
def pages(town: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report with everything in it, one with nothing right or located, their comparison."""
    folder = tmp_path_factory.mktemp('pages')
    judged, metrics, similarity = walk(town)
    full = evaluation_of(
        judged,
        title='dusk in map of day',
        facts={'map': str(town / 'day'), 'ground truth': '3.0 m and 45 degrees', 'k' * 60: 'v'},
        methods={
            'single images': metrics,
            'HOG': metrics_for(judged[::2] * 2),
            'raw pixels 32x32': metrics_for(judged[::3] * 3),
        },
        min_confidence=0.3,
        similarity=similarity,
        timing={'decode': Timing(2.1, 3.2, 4.3, 118), 'embed': Timing(7.4, 9.9, 14.0, 118)},
        traffic=Traffic(120, 118, 2),
        notes=['12 images refused: no pose', 'x' * 300],
    )

    def picture_of(place: Place) -> np.ndarray:
        return read_image(town / 'day' / place.source)

    write_report(folder / 'full.html', full, picture_of, lambda image: 255 - image)
    lost = [replace(a, right=False, accepted=False, similarity=math.nan) for a in judged]
    gone = {'image': ImageFile(Path('y')), 'name': 'y' * 200, 'pose': None}
    lost = [replace(a, query=replace(a.query, **gone)) for a in lost]
    write_report(folder / 'poor.html', evaluation_of(lost), picture_of)
    reports = [load_report(folder / name) for name in ('full.html', 'poor.json')]
    write_comparison(folder / 'comparison.html', reports)
    return {name: folder / f'{name}.html' for name in ('full', 'poor', 'comparison')}


NAMES = pytest.mark.parametrize('name', ['full', 'poor', 'comparison'])


@NAMES
def test_nothing_is_complained_of_and_nothing_fetched(browser, pages: dict, name: str):
    opened(browser, pages[name], WIDTHS[0])
    assert not complaints(browser)
    assert fetched(browser) == [pages[name].as_uri()]


@NAMES
def test_every_image_is_there_and_says_what_it_shows(browser, pages: dict, name: str):
    images = pictures(opened(browser, pages[name], WIDTHS[0]))
    assert len(images) >= 3
    assert all(complete and natural > 0 and alt for complete, natural, alt, _ in images)
    assert all(width > 50 for *_, width in images)


@pytest.mark.parametrize('width', WIDTHS)
@NAMES
def test_no_page_is_wider_than_its_window(browser, pages: dict, name: str, width: int):
    assert widths(opened(browser, pages[name], width)) == [width, width]


def test_report_shows_its_headings_and_figures(browser, pages: dict):
    opened(browser, pages['full'], WIDTHS[0])
    assert headings(browser) == [
        'dusk in map of day',
        'Methods',
        'Figures',
        'Latency',
        'How it was measured',
        'Notes',
        'Worst queries',
        'Best queries',
    ]
    text, values = visible_text(browser), load_report(pages['full']).values
    ours = values['methods'][0]
    for share in (ours['recall']['1'], ours['recall_at_full_precision'], values['unknown_share']):
        assert f'{100 * share:.1f} %' in text
    assert f'{values["localisation_m"]["median"]:.1f} m' in text
    assert f'{values["calibration"]["error"]:.3f}' in text and f'{ours["f1_max"]:.3f}' in text
    assert '14.0 ms' in text and '2 dropped' in text and '12 images refused' in text


def test_comparison_shows_its_headings_and_figures(browser, pages: dict):
    opened(browser, pages['comparison'], WIDTHS[0])
    assert headings(browser)[0] == '2 evaluations side by side'
    text = visible_text(browser)
    recall = load_report(pages['full']).values['methods'][0]['recall']['1']
    assert f'{100 * recall:.1f}' in text and f'0.0 (-{100 * recall:.1f})' in text
    assert 'Right, then wrong: ' in text
