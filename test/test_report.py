# SPDX-License-Identifier: Apache-2.0
"""The HTML report: one file that needs nothing else, true to the figures, safe with any name."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import line_of, places_along_x

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation import evaluate
from ashtkd_ros.place_map import Place
from ashtkd_ros.report import Answer, write_report
from ashtkd_ros.sources import Frame, Pose

ODD = '<script>alert("1")</script> & co'


class Tags(HTMLParser):
    """Collects tags with their attributes."""

    def __init__(self, html: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture
def metrics():
    ranking = np.tile(np.arange(5), (3, 1))
    truth = np.zeros((3, 5), bool)
    truth[:2, 0] = True
    return evaluate(ranking, np.array([0.9, 0.75, 0.5]), truth)


def answers_in(folder: Path, names: list[str], with_poses: bool = True) -> list[Answer]:
    """Answers whose query images lie in `folder` where there is such a folder."""
    places = places_along_x(range(len(names)))
    found = []
    for i, (name, place) in enumerate(zip(names, places, strict=True)):
        if folder.is_dir():
            cv2.imwrite(str(folder / name), np.full((30, 40, 3), 40 * i, np.uint8))
        frame = Frame(folder / name, float(i), i, Pose(i, 0, 0) if with_poses else None)
        found.append(Answer(frame, place, 0.9 - 0.2 * i, i < 2))
    return found


def assert_stands_alone(html: str) -> None:
    for tag, attributes in Tags(html).found:
        assert tag not in ('script', 'link', 'iframe', 'object', 'base'), tag
        for name in ('src', 'href', 'srcset', 'data', 'poster'):
            assert attributes.get(name, 'data:').startswith('data:'), attributes
    assert 'url(' not in html and '@import' not in html


def test_report_is_one_file_with_the_figures(tmp_path: Path, metrics):
    (tmp_path / 'queries').mkdir()
    answers = answers_in(tmp_path / 'queries', ['a.jpg', 'b.jpg', 'c.jpg'])
    (tmp_path / 'map' / 'images').mkdir(parents=True)
    for answer in answers:
        path = tmp_path / 'map' / answer.place.source
        cv2.imwrite(str(path), np.full((30, 40, 3), 99, np.uint8))
    out = tmp_path / 'deep' / 'report.html'
    write_report(out, 'dusk in day', metrics, answers, tmp_path / 'map', {'latency': '7 ms'})
    html = out.read_text(encoding='utf-8')
    assert_stands_alone(html)
    text = re.sub(r'\s+', ' ', re.sub(r'<[^>]*>', ' ', html))
    assert 'Recall@1 66.7 %' in text and 'Recall@5 66.7 %' in text
    assert f'Average precision {metrics.average_precision:.3f}' in text
    assert 'Queries 3, 1 of them without a positive in the map' in text
    assert 'latency 7 ms' in text and 'dusk in day' in text
    assert 'confidence 0.70' in text and text.count(', right') == 2 and text.count(', wrong') == 1
    images = [a for tag, a in Tags(html).found if tag == 'img']
    assert len(images) == 2 + 2 * 3
    assert [p.name for p in out.parent.iterdir()] == ['report.html']


def test_names_are_escaped(tmp_path: Path, metrics):
    answer = Answer(
        Frame(tmp_path / ODD.replace('/', '|'), 0.0, 0, Pose(0, 0, 0)),
        Place(0, 0.0, 0, Pose(0, 0, 0), f'images/{ODD}', ODD),
        0.5,
        True,
    )
    out = tmp_path / 'r.html'
    write_report(out, ODD, metrics, [answer], tmp_path, {ODD: ODD})
    html = out.read_text(encoding='utf-8')
    assert_stands_alone(html)
    assert 'alert(&#34;1&#34;)' in html and '<script' not in html


@pytest.mark.parametrize('with_poses', [True, False])
def test_report_is_written_where_the_images_are_gone(tmp_path: Path, metrics, with_poses: bool):
    answers = answers_in(tmp_path / 'gone', ['a.jpg', 'b.jpg', 'c.jpg'], with_poses)
    out = tmp_path / 'r.html'
    write_report(out, 'no pictures', metrics, answers, tmp_path / 'gone')
    html = out.read_text(encoding='utf-8')
    assert len([1 for tag, _ in Tags(html).found if tag == 'img']) == 2  # the curves
    assert 'a.jpg' in html


def test_of_many_answers_a_readable_number_is_pictured(tmp_path: Path, metrics):
    answers = answers_in(tmp_path / 'gone', [f'{i:03}.jpg' for i in range(500)])
    out = tmp_path / 'r.html'
    write_report(out, 'many', metrics, answers, tmp_path)
    figures = [1 for tag, _ in Tags(out.read_text(encoding='utf-8')).found if tag == 'figure']
    assert 30 <= len(figures) <= 60


def test_report_that_cannot_be_written_is_one_line(tmp_path: Path, metrics):
    answers = answers_in(tmp_path / 'gone', ['a.jpg'])
    (tmp_path / 'file').touch()
    for out in (tmp_path, tmp_path / 'file' / 'r.html'):
        with pytest.raises(VprError) as error:
            write_report(out, 't', metrics, answers, tmp_path)
        assert 'could not be written' in line_of(error)
