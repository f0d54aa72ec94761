# SPDX-License-Identifier: Apache-2.0
"""A report tells near misses from mistakes, how far each answer is, and draws what matches."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_evaluation import evaluation_of, judged_queries
from test_report import grey, images_of, pairs_of, text_of, with_images, written

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.figures import STATES, confidence_figure, route_figure
from ashtkd_ros.evaluation.ground_truth import JudgedQuery
from ashtkd_ros.evaluation.report import DETAIL_COLUMNS, write_report
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.recognition.matcher import Check, Matches

MATCHES = Matches(np.float32([[0.5, 0.5], [0.1, 0.9]]), np.float32([[0.6, 0.5], [0.2, 0.9]]))


def answers() -> list[JudgedQuery]:
    """Two right ones, a near miss that is the surest of all, two mistakes, a refused near miss."""
    judged = judged_queries([True, True, False, False, False, False], confidence=lambda i: 0.9)
    judged[2] = replace(judged[2], within_twice=True, confidence=0.99)
    judged[3] = replace(judged[3], confidence=0.6)
    judged[4] = replace(judged[4], confidence=0.7, query=moved(judged[4], 40.0))
    judged[5] = replace(judged[5], within_twice=True, confidence=0.1, accepted=False)
    return judged


def moved(judged: JudgedQuery, metres: float):
    return replace(judged.query, pose=Pose(judged.place.pose.x, metres, 0.0))


def test_near_misses_come_after_mistakes_however_sure_they_are(tmp_path: Path):
    html, values = written(tmp_path, evaluation_of(answers()), grey)
    assert pairs_of(html) == ['wrong', 'wrong', 'near', 'unknown', 'right', 'right']
    text = text_of(html)
    assert '4 surest of 4 wrong answers, the surest first, but near misses last, of which' in text
    assert 'of which there are 2.' in text
    worst = text[text.index('Worst queries') :]
    assert worst.index('wrong , 40.0 m away, confidence 0.70') < worst.index('confidence 0.60')
    assert 'near miss , 0.4 m away, confidence 0.99' in worst
    assert 'near miss, refused as unknown , 0.4 m away, confidence 0.10' in worst
    assert values['methods'][0]['within_twice'] == pytest.approx(4 / 6)
    assert 'Recall@1 33.3 % 2 of 6 queries; 66.7 % within twice the tolerance' in text


def test_no_metres_are_told_without_poses(tmp_path: Path):
    judged = judged_queries([True, False], with_poses=False)
    html, values = written(tmp_path, evaluation_of(judged), grey)
    assert 'm away' not in html and values['details'][0] == [False, None, None, None, None]


def legend_of(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_figures_tell_near_misses_apart():
    assert legend_of(route_figure(answers())) == [
        'unknown (1)',
        'right (2)',
        'near miss (1)',
        'wrong (2)',
    ]
    names = legend_of(confidence_figure(answers(), 0.5))
    assert {'right (2)', 'near miss (2)', 'wrong (2)'} < set(names)
    some = judged_queries([True, False])
    assert not any('near' in name for name in legend_of(route_figure(some)))
    assert not any('near' in name for name in legend_of(confidence_figure(some, 0.5)))


def test_json_tells_what_the_local_features_say(tmp_path: Path):
    (judged,) = judged_queries([True])
    check = Check(3.0, 1.0, 0.25, (-0.125, 0.5))
    judged = replace(judged, check=check, within_twice=True)
    html, values = written(tmp_path, evaluation_of([judged]), grey)
    assert values['detail_columns'] == list(DETAIL_COLUMNS)
    assert values['details'] == [[True, 0.4, 0.25, -0.125, 0.5]]
    told = '25 % of the picture agrees, 12 % higher and 50 % further right in the map&#39;s'
    assert told in html
    still = replace(judged, check=replace(check, displacement=(0.0, 0.0)))
    assert '25 % of the picture agrees, unmoved' in written(tmp_path, evaluation_of([still]))[0]


def report_with(folder: Path, judged: Sequence[JudgedQuery], matches_of) -> str:
    out = folder / 'report.html'
    write_report(out, evaluation_of(judged), grey, None, matches_of)
    return out.read_text(encoding='utf-8')


def drawn_colours(html: str) -> list[tuple[int, int, int]]:
    """Of each picture with matched positions the colour that a position in its middle has."""
    found = []
    for image in images_of(html):
        if 'matched position' in image['alt']:
            data = base64.b64decode(image['src'].partition(',')[2])
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
            left = (picture.shape[1] - 6) / 2
            found.append(tuple(picture[picture.shape[0] // 2, round(left / 2)].tolist()))
    return found


def test_matched_positions_have_the_colour_of_what_the_answer_is(tmp_path: Path):
    judged = with_images(answers(), tmp_path / 'queries')
    html = report_with(tmp_path, judged, lambda query: MATCHES)
    assert html.count('alt="2 matched positions of 0000') == 6
    wanted = ['wrong', 'wrong', 'near', 'unknown', 'right', 'right']
    for state, colour in zip(wanted, drawn_colours(html), strict=True):
        code = bytes.fromhex(STATES[state][0][1:])
        assert np.abs(np.subtract(colour, list(code))).max() < 60, (state, colour)


def test_where_no_matches_are_known_the_pictures_stay(tmp_path: Path):
    judged = with_images(answers(), tmp_path / 'queries')

    def fails(query: JudgedQuery) -> Matches:
        raise VprError('local.npy: cannot be read any more')

    for matches_of in (lambda query: None, fails):
        html = report_with(tmp_path, judged, matches_of)
        assert len(images_of(html)) == 5 + 2 * 6 and 'matched position of' not in html
