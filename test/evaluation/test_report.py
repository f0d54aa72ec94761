# SPDX-License-Identifier: Apache-2.0
"""The report: an HTML file that needs nothing else, true to the figures, and the same JSON."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import line_of
from small_evaluation import evaluation_of, judged_queries, metrics_for

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.ground_truth import JudgedQuery
from ashtkd_ros.evaluation.machine import measured_on
from ashtkd_ros.evaluation.report import ANSWER_COLUMNS, write_report
from ashtkd_ros.evaluation.result import Evaluation
from ashtkd_ros.evaluation.timing import Timing, Traffic
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.place_map import Place
from ashtkd_ros.stamps import s_to_ns
from ashtkd_ros.traverses.bag_image import BagImage
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.image_folder import ImageFile, file_frame

ODD = '<script>alert("1")</script> & co'


class Tags(HTMLParser):
    """Collects tags with their attributes."""

    def __init__(self, html: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.found.append((tag, dict(attrs)))


def grey(place: Place) -> np.ndarray:
    return np.full((30, 40, 3), 99, np.uint8)


def gone(place: Place) -> np.ndarray:
    raise VprError(f'{place.source}: gone')


def constant(x: object) -> str:
    raise AssertionError(f'{x} is no JSON')


def written(folder: Path, evaluation: Evaluation, picture_of=gone, salient_of=None):
    """The report's HTML and what its JSON holds, which must be strict JSON."""
    out = folder / 'report.html'
    write_report(out, evaluation, picture_of, salient_of)
    values = json.loads(out.with_suffix('.json').read_text(), parse_constant=constant)
    return out.read_text(encoding='utf-8'), values


def text_of(html: str) -> str:
    return re.sub(r'\s+', ' ', re.sub(r'<[^>]*>', ' ', html))


def images_of(html: str) -> list[dict]:
    return [attributes for tag, attributes in Tags(html).found if tag == 'img']


def pairs_of(html: str) -> list[str]:
    """The state of each pictured answer."""
    found = [a.get('class', '') for tag, a in Tags(html).found if tag == 'figure']
    return [c.split()[1] for c in found if c.startswith('pair ')]


def with_images(judged: Sequence[JudgedQuery], folder: Path) -> list[JudgedQuery]:
    """The same queries with their images in `folder`."""
    folder.mkdir()
    for q in judged:
        cv2.imwrite(str(folder / q.query.name), np.full((30, 40, 3), 40, np.uint8))
    images = [ImageFile(folder / q.query.name) for q in judged]
    return [
        replace(q, query=replace(q.query, image=image))
        for q, image in zip(judged, images, strict=True)
    ]


def assert_stands_alone(html: str) -> None:
    for tag, attributes in Tags(html).found:
        assert tag not in ('script', 'link', 'iframe', 'object', 'base'), tag
        for name in ('src', 'href', 'srcset', 'data', 'poster'):
            assert attributes.get(name, 'data:').startswith('data:'), attributes
    assert 'url(' not in html and '@import' not in html


def test_the_page_tells_every_figure_and_needs_no_other_file(tmp_path: Path):
    judged = with_images(judged_queries([True, True, False]), tmp_path / 'queries')
    ours = metrics_for(judged)
    other = replace(ours, recall={1: 0.125}, average_precision=0.321)
    evaluation = evaluation_of(
        judged,
        methods={'single images': ours, 'HOG': other},
        similarity=np.eye(3, dtype=np.float32),
        timing={'embed': Timing(7.25, 8.0, 9.0, 3)},
        traffic=Traffic(5, 3, 2),
        notes=['12 images refused: no pose'],
    )
    html, _ = written(tmp_path / 'deep', evaluation, grey, lambda image: image[:, ::-1])
    assert_stands_alone(html)
    text = text_of(html)
    for told in (
        'Recall@1 66.7 % 2 of 3 queries; 66.7 % within twice the tolerance',
        'Unknown 0.0 % refused, confidence below 0.50; of the others 66.7 % are right',
        'Localisation error 0.4 m median of 3',
        'single images 66.7 % 66.7 % 66.7 %',
        'HOG 12.5 % 66.7 % – – – 0.321',
        'embed 7.2 ms 8.0 ms 9.0 ms 3',
        '5 images sent, 3 answered, 2 dropped',
        'map town/day',
        '12 images refused: no pose',
    ):
        assert told in text, told
    images = images_of(html)
    assert len(images) == 6 + 3 * 4 and all(a['alt'] for a in images)
    assert len({a['alt'] for a in images[:6]}) == 6
    assert sum('salient parts' in a['alt'] for a in images) == 6
    assert {p.name for p in (tmp_path / 'deep').iterdir()} == {
        'report.html',
        'report.json',
        'report.timing.json',
    }


def test_json_tells_all_figures_and_each_answer(tmp_path: Path):
    judged = judged_queries([True, False, True, True], confidence=lambda i: 0.9 - 0.2 * i)
    judged[1] = replace(judged[1], has_positive=False)
    evaluation = evaluation_of(judged, traffic=Traffic(5, 4, 1), notes=['odd'])
    _, values = written(tmp_path, evaluation)
    assert (values['schema_version'], values['title']) == (1, 'dusk in day')
    assert values['facts'] == {'map': 'town/day'} and values['notes'] == ['odd']
    assert values['traffic'] == {'sent': 5, 'answered': 4, 'dropped': 1}
    (method,) = values['methods']
    assert method['name'] == 'single images' and method['recall'] == {'1': 0.75, '5': 0.75}
    assert (method['queries'], method['without_positive']) == (4, 1)
    assert method['calibration_error'] == pytest.approx(values['calibration']['error'])
    assert method['curve'].keys() == {'thresholds', 'precision', 'found'}
    assert method['curve']['precision'] == pytest.approx([1, 1 / 2, 2 / 3, 3 / 4], abs=1e-6)
    assert sum(values['calibration']['count']) == 4 and values['unknown_share'] == 0.25
    assert values['localisation_m'] == {'median': 0.4, 'p95': 0.4, 'n': 3}
    assert values['answer_columns'] == list(ANSWER_COLUMNS)
    assert values['answers'][1] == [1, 0.5, 1, 0.7, 0.8, False, True, False]


def test_the_same_evaluation_gives_the_same_bytes_whatever_the_clock_says(tmp_path: Path):
    judged = judged_queries([True, False] * 30)
    similarity = np.random.default_rng(0).random((20, 20), np.float32)
    files = []
    for name in ('one', 'two'):
        evaluation = evaluation_of(judged, similarity=similarity)
        files.append([*written(tmp_path / name, evaluation)])
        files[-1].append((tmp_path / name / 'report.json').read_bytes())
        time.sleep(1.1)  # a date in a figure would differ
    assert files[0] == files[1]
    timed = evaluation_of(judged, similarity=similarity, timing={'embed': Timing.of([0.007])})
    written(tmp_path / 'one', timed)
    assert (tmp_path / 'one' / 'report.json').read_bytes() == files[0][2]
    stages = json.loads((tmp_path / 'one' / 'report.timing.json').read_text())['milliseconds']
    assert stages['embed'] == {'p50': 7.0, 'p95': 7.0, 'p99': 7.0, 'n': 1}


def test_durations_of_an_earlier_run_do_not_stay(tmp_path: Path):
    judged = judged_queries([True])
    written(tmp_path, evaluation_of(judged, timing={'embed': Timing.of([0.007])}))
    written(tmp_path, evaluation_of(judged))
    assert not (tmp_path / 'report.timing.json').exists()


def test_percentiles_are_in_milliseconds():
    found = Timing.of([i / 1000 for i in range(101)])
    assert (found.p50, found.p95, found.p99, found.n) == (50.0, 95.0, 99.0, 101)


def test_what_is_no_number_is_null(tmp_path: Path):
    judged = [replace(a, similarity=math.nan) for a in judged_queries([False, False])]
    html, values = written(tmp_path, evaluation_of(judged))
    assert values['methods'][0]['f1_threshold'] is None and values['answers'][0][4] is None
    assert values['calibration']['right'][0] is None
    assert 'nan' not in text_of(html).lower()


def bag_frame(number: int, stamp: float) -> Frame:
    def gone(*message: object) -> None:
        raise VprError('the bag is gone')

    bag = SimpleNamespace(message=gone)
    image = BagImage(bag, '/camera', 10**18 + number, 0)
    stamp_ns = s_to_ns(stamp)
    return Frame(stamp_ns, stamp_ns, number, image, str(10**18 + number), f'image {number}')


def test_images_of_bags_are_named_by_number_and_time_since_the_start(tmp_path: Path):
    start = 1_716_000_000.0
    judged = []
    for i, a in enumerate(judged_queries([True, True, False], with_poses=False)):
        name = f'{1_715_000_000_000_000_000 + i}' + ('#2' if i else '')
        place = replace(a.place, stamp=1_715_000_000.0 + 2 * i, order=7 + i, source=name)
        judged.append(replace(a, query=bag_frame(40 + i, start + i / 2), place=place))
    starts = {None: start, 0: 1_715_000_000.0}
    text = text_of(written(tmp_path, evaluation_of(judged, starts=starts))[0])
    assert 'image 41, 0.5 s → place 1 (image 8, 2.0 s)' in text
    assert 'image 40, 0.0 s → place 0 (image 7, 0.0 s)' in text
    assert not re.search(r'\d{10}', text)


def test_durations_say_when_and_on_what_they_were_measured(tmp_path: Path):
    machine = measured_on()
    assert re.fullmatch(r'\d{4}-\d\d-\d\d \d\d:\d\d UTC', machine['Date'])
    assert 'cores' in machine['Processor'] and 'unknown' not in machine['Processor']
    assert re.search(r'ONNX Runtime \d.*Python \d', machine['Versions'])
    timing = {'embed': Timing.of([0.007])}
    evaluation = evaluation_of(judged_queries([True]), timing=timing, machine=machine)
    html, _ = written(tmp_path, evaluation)
    assert all(value in text_of(html) for value in machine.values())
    told = json.loads((tmp_path / 'report.timing.json').read_text())
    assert told['machine'] == machine
    # Without durations nothing differs from run to run.
    html, _ = written(tmp_path, replace(evaluation, timing={}))
    assert machine['Date'] not in html


def test_wide_tables_show_that_they_go_on_and_terms_are_explained(tmp_path: Path):
    html, _ = written(tmp_path, evaluation_of(judged_queries([True, False])))
    wide = [a for tag, a in Tags(html).found if a.get('class') == 'wide']
    assert wide and all(a['tabindex'] == '0' and a['role'] == 'region' for a in wide)
    assert html.count('no-repeat local') == 2 and html.count('no-repeat scroll') == 2
    assert 'Recall at 100 % precision: the share of these that is found' in text_of(html)


def test_names_are_escaped(tmp_path: Path):
    query = JudgedQuery(
        file_frame(tmp_path / ODD.replace('/', '|'), 0.0, 0, Pose(0, 0, 0)),
        Place(0, 0.0, 0, Pose(0, 0, 0), f'images/{ODD}', ODD),
        0.5,
        True,
    )
    plain = evaluation_of([query])
    evaluation = replace(
        plain,
        title=ODD,
        facts={ODD: ODD},
        methods={ODD: plain.methods['single images']},
        timing={ODD: Timing(1, 2, 3, 4)},
        notes=[ODD],
    )
    html, values = written(tmp_path, evaluation)
    assert_stands_alone(html)
    assert html.count('alert(&#34;1&#34;)') >= 8 and '<script' not in html
    assert values['title'] == ODD


@pytest.mark.filterwarnings('ignore:Glyph')  # a box is drawn for what the font lacks
@pytest.mark.parametrize('name', ['$x_{$.jpg', 'b\udcffd.jpg', 'Weg\u2192\u8def.jpg', '_a.jpg'])
def test_any_file_and_method_name_can_be_written(tmp_path: Path, name: str):
    (query,) = judged_queries([True])
    query = replace(query, query=file_frame(tmp_path / name, 0.0, 0))
    plain = evaluation_of([query])
    methods = {name: plain.methods['single images'], 'HOG': plain.methods['single images']}
    html, values = written(tmp_path, replace(plain, title=name, methods=methods))
    assert values['title'] == name and '.jpg' in html


@pytest.mark.parametrize('with_poses', [True, False])
def test_report_is_written_where_the_images_are_gone(tmp_path: Path, with_poses: bool):
    judged = judged_queries([True, True, False], with_poses=with_poses)
    html, _ = written(tmp_path, evaluation_of(judged), gone, lambda image: image)
    assert len(images_of(html)) == (5 if with_poses else 4)  # the figures
    assert '00000.jpg' in html and html.count('image is gone') == 6
    assert ('no accepted answer with poses' in text_of(html)) != with_poses


def test_a_network_that_shows_no_salient_maps_leaves_the_pictures(tmp_path: Path):
    judged = with_images(judged_queries([True]), tmp_path / 'queries')

    def none_given(image: np.ndarray) -> np.ndarray:
        raise VprError('gives no salient maps')

    html, _ = written(tmp_path, evaluation_of(judged), grey, none_given)
    assert len(images_of(html)) == 5 + 2


def test_nothing_accepted(tmp_path: Path):
    judged = judged_queries([True, False], confidence=lambda i: 0.1)
    html, values = written(tmp_path, evaluation_of(judged))
    assert values['unknown_share'] == 1.0 and values['localisation_m'] is None
    assert 'Unknown 100.0 %' in text_of(html)
    assert pairs_of(html) == ['unknown', 'unknown']
    assert 'wrong , refused as unknown' in text_of(html).replace('wrong,', 'wrong ,')


def test_everything_wrong(tmp_path: Path):
    html, values = written(tmp_path, evaluation_of(judged_queries([False] * 3)))
    assert 'Recall@1 0.0 % 0 of 3 queries' in text_of(html)
    assert 'No answer is right.' in html and values['methods'][0]['f1_max'] == 0.0


def test_worst_and_best_are_the_surest_and_only_they_are_read(tmp_path: Path):
    judged = judged_queries([i % 2 == 0 for i in range(500)], confidence=lambda i: i / 500)
    asked = []

    def picture_of(place: Place) -> np.ndarray:
        asked.append(place.id)
        return grey(place)

    html, _ = written(tmp_path, evaluation_of(judged), picture_of)
    assert pairs_of(html) == ['wrong'] * 12 + ['right'] * 12
    assert asked == [*range(499, 475, -2), *range(498, 474, -2)]
    assert 'the 12 surest of 250 wrong answers' in text_of(html)


def test_twenty_thousand_answers_take_seconds_and_a_small_file(tmp_path: Path):
    judged = judged_queries(np.random.default_rng(0).random(20_000) < 0.8)
    started = time.perf_counter()
    html, values = written(tmp_path, evaluation_of(judged, similarity=np.eye(400)))
    assert time.perf_counter() - started < 30 and len(html) < 4_000_000
    assert len(values['answers']) == 20_000
    assert len(values['methods'][0]['curve']['found']) <= 500


def test_no_answer_is_one_line(tmp_path: Path):
    evaluation = replace(evaluation_of(judged_queries([True])), judged=[])
    with pytest.raises(VprError) as error:
        write_report(tmp_path / 'r.html', evaluation, gone)
    assert 'no query was answered' in line_of(error)


def test_report_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / 'file').touch()
    (tmp_path / 'folder.html').mkdir()
    for out in (tmp_path / 'folder.html', tmp_path / 'file' / 'r.html'):
        with pytest.raises(VprError) as error:
            write_report(out, evaluation_of(judged_queries([True])), gone)
        assert 'cannot be written' in line_of(error)


@pytest.mark.parametrize('name', ['r.json', 'r', 'r.txt'])
def test_a_report_by_another_name_than_html_is_refused(tmp_path: Path, name: str):
    with pytest.raises(VprError) as error:
        write_report(tmp_path / name, evaluation_of(judged_queries([True])), gone)
    assert 'ends in .html' in line_of(error) and not list(tmp_path.iterdir())


@pytest.mark.parametrize('with_poses', [True, False])
def test_a_query_that_nothing_came_of_is_unknown_and_no_place(tmp_path: Path, with_poses: bool):
    judged = judged_queries([True, True, False], with_poses=with_poses)
    nothing = {'place': None, 'confidence': 0.0, 'accepted': False, 'similarity': math.nan}
    judged[2] = replace(judged[2], **nothing)
    html, values = written(tmp_path, evaluation_of(judged), grey)
    assert 'For 1 queries no place was named.' in text_of(html)
    assert '00002.jpg' not in text_of(html)  # no answer, so not among the wrong ones
    assert values['answers'][2][2:] == [None, 0.0, None, False, False, True]
    assert values['unknown_share'] == pytest.approx(1 / 3)
    assert sum(values['calibration']['count']) == 2
    # Nothing at all was answered: still a report.
    none = [replace(a, **nothing, right=False) for a in judged]
    written(tmp_path / 'none', evaluation_of(none), grey)
