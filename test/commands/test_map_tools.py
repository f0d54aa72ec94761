# SPDX-License-Identifier: Apache-2.0
"""map_tools as users call it: what each subcommand does to a map, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import write_tiny_model
from map_tools_fixtures import XS, built, contents, error, history, ids, pictured, run, tools, walk

from ashtkd_ros.commands import map_info
from ashtkd_ros.mapping.additions import shared_names
from ashtkd_ros.maps.description import read_description
from ashtkd_ros.maps.map_files import map_checksum
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.places import Place, Places

pytest_plugins = ['map_tools_fixtures']


# --- append


def test_appended_pictures_are_new_places_and_the_old_ones_stay(
    a_map: Path, tmp_path: Path, common, capsys
):
    before = pictured(a_map)
    assert tools('append', a_map, walk(tmp_path / 'w', [0.0, 12.0], 50), *common) == 0
    assert '2 new places from 2 images; it has 8 places now' in capsys.readouterr().out
    after = pictured(a_map)
    assert ids(a_map) == list(range(8)) and {k: after[k] for k in before} == before
    place_map = PlaceMap.load(a_map)
    assert place_map.places.traverses.tolist() == [0] * 6 + [1] * 2
    assert [t['source'] for t in place_map.traverses][1] == str(tmp_path / 'w')
    entry = history(a_map)[-1]
    assert (entry['what'], entry['places'], entry['pictures']) == ('append', [6, 8], [6, 8])
    assert str(tmp_path / 'w') in entry['arguments']
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith('.')] == []


def test_with_out_the_map_itself_stays_as_it_was(a_map: Path, tmp_path: Path, common):
    before = contents(a_map)
    source = walk(tmp_path / 'w', [12.0], 50)
    assert tools('append', a_map, source, '-o', tmp_path / 'new', *common) == 0
    assert contents(a_map) == before and ids(tmp_path / 'new') == list(range(7))


def test_a_picture_of_a_known_place_becomes_another_look_of_it(
    a_map: Path, tmp_path: Path, common, capsys
):
    sources = [walk(tmp_path / n, xs, 50) for n, xs in (('w', [2.4, 12.0]), ('v', [12.3, 3.0]))]
    options = ['--experiences', '--same-metres', 0.5]
    assert tools('append', a_map, *sources, *options, *common) == 0
    assert '2 new places and 2 further looks of places' in capsys.readouterr().out
    # 12.3 is a look of the place that the recording before has added
    assert ids(a_map) == [0, 1, 2, 3, 4, 5, 1, 6, 6, 7]


def test_a_picture_as_far_as_the_next_place_is_a_new_place(a_map: Path, tmp_path: Path, common):
    source = walk(tmp_path / 'w', [12.0, 11.9], 50)
    options = ['--experiences', '--same-metres', 2]
    assert tools('append', a_map, source, *options, *common) == 0
    assert ids(a_map) == [0, 1, 2, 3, 4, 5, 6, 5]


def test_all_looks_of_a_place_have_its_name(a_map: Path, tmp_path: Path, common, capsys):
    assert tools('relabel', a_map, '1=door') == 0
    source, grown = walk(tmp_path / 'w', [2.0, 40.0], 50), tmp_path / 'grown'
    assert tools('append', a_map, source, '--experiences', '-o', grown, *common) == 0
    assert tools('merge', a_map, grown, '-o', tmp_path / 'both', *common) == 0
    assert tools('drop', grown, '--traverse', 0, '-o', tmp_path / 'new_look') == 0
    assert run(map_info.main, grown) == 0
    assert ' places: 7 (8 pictures), 8 with a pose in ' in capsys.readouterr().out
    for name, there in (('grown', 2), ('both', 2), ('new_look', 1)):
        places = PlaceMap.load(tmp_path / name).places
        assert [p.label for p in places if p.id == 1] == ['door'] * there
        # An export that nobody has edited says what the map says.
        table = tmp_path / f'{name}.csv'
        assert tools('export', tmp_path / name, '-o', table) == 0
        assert tools('relabel', tmp_path / name, '--table', table) == 0


def test_looks_turned_away_are_other_places(a_map: Path, tmp_path: Path, common):
    source = walk(tmp_path / 'w', [2.0], 50)
    (source / 'poses.csv').write_text('file,stamp,x,y,qx,qy,qz,qw,z\n0.png,0,2,0,0,0,1,0,0\n')
    assert tools('append', a_map, source, '--experiences', *common) == 0
    assert ids(a_map)[-1] == 6
    source = walk(tmp_path / 'v', [2.0], 50)
    assert tools('append', a_map, source, '--experiences', *common) == 0
    assert ids(a_map)[-1] == 1


def test_without_poses_the_label_tells_the_place(tmp_path: Path, model: Path, common):
    def rooms(folder: Path, names: str, seed: int) -> Path:
        walk(folder, [0.0] * len(names), seed)
        (folder / 'poses.csv').unlink()
        rows = [f'{i}.png,{n},database,{i}' for i, n in enumerate(names)]
        (folder / 'index.csv').write_text('file,place,role,order\n' + '\n'.join(rows) + '\n')
        return folder

    built(tmp_path / 'map', rooms(tmp_path / 'a', 'hks', 0), model=model)
    source = rooms(tmp_path / 'b', 'ksx', 9)
    assert tools('append', tmp_path / 'map', source, '--experiences', *common) == 0
    assert ids(tmp_path / 'map') == [0, 1, 2, 1, 2, 3]


def test_a_dropped_number_is_never_given_again(a_map: Path, tmp_path: Path, common):
    assert tools('drop', a_map, '--ids', '4-5') == 0
    assert ids(a_map) == [0, 1, 2, 3]
    assert tools('append', a_map, walk(tmp_path / 'w', [20.0, 22.0], 50), *common) == 0
    assert ids(a_map) == [0, 1, 2, 3, 6, 7]
    assert tools('drop', a_map, '--ids', '6,7') == 0
    assert tools('append', a_map, walk(tmp_path / 'v', [20.0], 60), *common) == 0
    assert ids(a_map) == [0, 1, 2, 3, 8]
    assert [e['what'] for e in history(a_map)] == ['drop', 'append'] * 2


def test_a_recording_is_appended_once(a_map: Path, tmp_path: Path, common, capsys):
    source = walk(tmp_path / 'w', [20.0], 50)
    assert tools('append', a_map, source, *common) == 0
    capsys.readouterr()
    before = contents(a_map)
    assert tools('append', a_map, source, *common) == 1
    assert 'w: is in the map already, as traverse 1' in error(capsys)
    assert contents(a_map) == before
    assert tools('drop', a_map, '--traverse', 1) == 0
    assert tools('append', a_map, source, *common) == 0
    assert ids(a_map) == [0, 1, 2, 3, 4, 5, 7]


def test_a_recording_that_does_not_fit_is_refused(
    a_map: Path, tmp_path: Path, common, capsys, model: Path
):
    before = contents(a_map)
    other = write_tiny_model(tmp_path / 'other.onnx', grid=(1, 2))
    source = walk(tmp_path / 'w', [20.0], 50)
    assert tools('append', a_map, source, '--model', other, '--threads', 1) == 1
    assert 'map_tools reembed' in error(capsys)
    (source / '0.png').write_bytes(b'no image')
    assert tools('append', a_map, source, *common) == 1
    assert '0.png: not a readable image' in error(capsys)
    assert tools('append', a_map, tmp_path / 'nowhere', *common) == 1
    assert 'no such folder' in error(capsys)
    assert tools('append', a_map, source, source, *common) == 1
    assert 'w: is named twice' in error(capsys)
    assert tools('append', tmp_path / 'gone', source, *common) == 1
    assert 'no such map' in error(capsys)
    assert contents(a_map) == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith('.')]


# --- drop


@pytest.mark.parametrize(
    ('options', 'stay'),
    [
        (['--ids', '3,0-1'], [2, 4, 5]),
        (['--area', 3, -1, 7, 1], [0, 1, 4, 5]),
        (['--area', 7, 1, 3, -1], [0, 1, 4, 5]),
        (['--within', 4, 0, 2], [0, 4, 5]),
        (['--area', 3, -1, 7, 1, '--ids', '0-2'], [0, 1, 3, 4, 5]),
        (['--within', 4, 0, 2, '--area', -1, -1, 4, 1], [0, 3, 4, 5]),
    ],
    ids=str,
)
def test_what_is_dropped(a_map: Path, tmp_path: Path, options: list, stay: list[int], capsys):
    before, bytes_before = pictured(a_map), contents(a_map)
    assert tools('drop', a_map, *options, '--dry-run') == 0
    dry = capsys.readouterr().out
    assert contents(a_map) == bytes_before
    assert tools('drop', a_map, *options) == 0
    done = capsys.readouterr().out
    assert dry.strip().replace('would drop', 'dropped') == done.strip().rpartition(';')[0]
    assert ids(a_map) == stay
    assert pictured(a_map) == {k: v for k, v in before.items() if k[0] in stay}
    assert PlaceMap.load(a_map).info.next_id == 6
    assert [p.name for p in tmp_path.iterdir() if p.name != 'map'] == []


def test_a_damaged_picture_does_not_keep_a_map_from_being_mended(a_map: Path, common, capsys):
    picture = a_map / 'thumbnails' / '000002.jpg'
    picture.write_bytes(picture.read_bytes()[:-1])
    assert run(map_info.main, a_map) == 1
    assert '000002.jpg: it is damaged' in error(capsys)
    assert tools('drop', a_map, '--ids', 2) == 0
    assert '000002.jpg: it is damaged' in capsys.readouterr().err
    assert ids(a_map) == [0, 1, 3, 4, 5] and run(map_info.main, a_map) == 0


def test_names_that_other_places_have_are_told():
    known = Places.of([Place(i, 0.0, i, None, f'{i}', f'room {i}') for i in range(3)])
    new = Places.of([Place(5 + i, 0.0, i, None, f'{i}', f'room {i + 1}') for i in range(3)])
    (note,) = shared_names(known, new)
    assert note.startswith('2 new places with names that other places had before ("room 1", "roo')
    assert shared_names(known, known) == []  # the same places
    nameless = Places.of([Place(9, 0.0, 0, None, 'a'), Place(8, 0.0, 1, None, 'b', 'hall')])
    assert shared_names(nameless, Places.of([Place(7, 0.0, 0, None, 'c')])) == []


def test_answers_of_the_same_pictures_under_other_numbers_are_of_another_map(
    a_map: Path, tmp_path: Path, common
):
    before = map_checksum(a_map)
    again = walk(tmp_path / 'again', XS)
    for name, options in (('new', []), ('looks', ['--experiences'])):
        assert tools('append', a_map, again, *options, '-o', tmp_path / name, *common) == 0
    new, looks = (map_checksum(tmp_path / name) for name in ('new', 'looks'))
    same = [(tmp_path / name / 'index.faiss').read_bytes() for name in ('new', 'looks')]
    assert same[0] == same[1] and len({before, new, looks}) == 3
    assert tools('relabel', tmp_path / 'looks', '1=hall') == 0
    assert map_checksum(tmp_path / 'looks') == looks  # a name changes no answer


def test_old_pictures_are_dropped_and_their_places_stay(
    tmp_path: Path, model: Path, common, capsys
):
    day = 86400.0 * 20000  # 2024-10-04
    built(tmp_path / 'map', walk(tmp_path / 'a', XS, 0, day), model=model)
    new = walk(tmp_path / 'b', [2.0, 4.0], 50, day + 86400)
    assert tools('append', tmp_path / 'map', new, '--experiences', *common) == 0
    capsys.readouterr()
    assert tools('drop', tmp_path / 'map', '--older-than', '2024-10-05') == 0
    line = capsys.readouterr().out
    assert 'dropped 4 places, numbers 0, 3-5 and 2 pictures of places that have others' in line
    assert ids(tmp_path / 'map') == [1, 2]


def test_stamps_that_are_no_times_are_not_old(a_map: Path, capsys):
    before = contents(a_map)
    assert tools('drop', a_map, '--older-than', '2026-01-01T12:00Z') == 0
    assert 'nothing to drop, 6 places stay' in capsys.readouterr().out
    assert contents(a_map) == before


def test_what_is_not_changed_is_the_same_to_the_byte(a_map: Path, tmp_path: Path, common):
    (a_map / 'mine.txt').write_text('precious')
    before, state = contents(a_map), (a_map / 'map.yaml').stat().st_ino
    nothing = ['--area', 100, 100, 110, 110]
    assert tools('drop', a_map, *nothing) == 0
    assert contents(a_map) == before and (a_map / 'map.yaml').stat().st_ino == state
    assert tools('drop', a_map, *nothing, '-o', tmp_path / 'copy') == 0
    copy = contents(tmp_path / 'copy')
    assert {**copy, 'mine.txt': b'precious'} == before


@pytest.mark.parametrize(
    ('options', 'status', 'text'),
    [
        ([], 2, 'say what is to go'),
        (['--ids', '3,6'], 1, 'has no place 6'),
        (['--ids', '0-5'], 1, 'no place would be left'),
        (['--traverse', 0], 1, 'no place would be left'),
        (['--traverse', 1], 1, 'has no traverse 1'),
        (['--area', 1, 0, 1, 5], 2, 'the area is empty'),
        (['--within', 1, 0, 0], 2, 'the area is empty'),
        (['--within', 1, 0, -2], 2, 'the area is empty'),
    ],
    ids=str,
)
def test_what_cannot_be_dropped(a_map: Path, options: list, status: int, text: str, capsys):
    before = contents(a_map)
    assert tools('drop', a_map, *options) == status
    assert text in error(capsys)
    assert contents(a_map) == before


@pytest.mark.parametrize(
    'options',
    [
        ['--ids', '5-3'],
        ['--ids', 'x'],
        ['--ids', ''],
        ['--ids', '0-99999999999'],
        ['--ids', '-1'],
        ['--ids', '9' * 400],
        ['--older-than', 'yesterday'],
        ['--older-than', '1970-01-01'],
        ['--area', 'nan', 0, 1, 1],
        ['--area', 0, 0, 1, 'inf'],
        ['--traverse', -1],
    ],
    ids=str,
)
def test_arguments_without_sense_end_with_the_usage(a_map: Path, options: list, capsys):
    assert tools('drop', a_map, *options) == 2
    assert 'Traceback' not in capsys.readouterr().err


def test_an_out_that_holds_something_is_kept(a_map: Path, tmp_path: Path, capsys):
    shutil.copytree(a_map, tmp_path / 'other')
    before = contents(tmp_path / 'other')
    assert tools('drop', a_map, '--ids', 1, '-o', tmp_path / 'other') == 1
    assert 'holds a map already' in error(capsys)
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.txt').write_text('years of work')
    assert tools('drop', a_map, '--ids', 1, '-o', tmp_path / 'mine') == 1
    assert 'is not a map' in error(capsys)
    assert contents(tmp_path / 'other') == before
    assert (tmp_path / 'mine' / 'thesis.txt').read_text() == 'years of work'


# --- reembed


def test_another_network_from_the_originals(a_map: Path, tmp_path: Path, common, capsys):
    assert tools('drop', a_map, '--ids', 0) == 0
    before, bytes_before = PlaceMap.load(a_map), contents(a_map)
    capsys.readouterr()
    other = write_tiny_model(tmp_path / 'other.onnx', grid=(1, 2))
    assert tools('reembed', a_map, '--model', other, '--threads', 1) == 0
    printed = capsys.readouterr()
    assert '5 pictures embedded by tiny, 5 from the originals' in printed.out
    after = PlaceMap.load(a_map, pictures=True)
    assert after.places == before.places and after.info.next_id == 6
    assert after.local.shape.grid == (1, 2) and after.info.model != before.info.model
    # back again: the same as before, but for the history
    assert tools('reembed', a_map, *common) == 0
    again = contents(a_map)
    assert {k for k in again if again[k] != bytes_before[k]} <= {'map.yaml'}
    assert [e['what'] for e in history(a_map)] == ['drop', 'reembed', 'reembed']


def test_originals_that_are_gone_or_replaced_are_not_used(
    tmp_path: Path, model: Path, common, capsys
):
    source = walk(tmp_path / 'w', XS)
    built(tmp_path / 'map', source, model=model)
    (source / '1.png').unlink()
    (source / '2.png').write_bytes(b'no image')
    shutil.copy(source / '5.png', source / '3.png')  # another picture by that name
    capsys.readouterr()
    assert tools('reembed', tmp_path / 'map', '--dry-run') == 0
    assert 'of 6 pictures 3 have their original' in capsys.readouterr().out
    assert tools('reembed', tmp_path / 'map', *common) == 0
    printed = capsys.readouterr()
    assert '6 pictures embedded by tiny, 3 from the originals' in printed.out
    assert '3 of 6 originals are gone or changed' in printed.err
    entry = history(tmp_path / 'map')[-1]
    assert entry['result'] == '3 of 6 pictures from the small ones of the map'


def test_a_place_without_any_picture_is_named(tmp_path: Path, model: Path, common, capsys):
    source = walk(tmp_path / 'w', XS)
    built(tmp_path / 'map', source, model=model, options=('--no-thumbnails',))
    before = contents(tmp_path / 'map')
    (source / '4.png').unlink()
    capsys.readouterr()
    assert tools('reembed', tmp_path / 'map', *common) == 1
    assert 'of place 4 there is neither the original' in error(capsys)
    assert contents(tmp_path / 'map') == before


# --- history


def test_the_history_keeps_the_latest(a_map: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr('ashtkd_ros.maps.history.KEPT', 2)
    for number in (5, 4, 3):
        assert tools('drop', a_map, '--ids', number) == 0
    assert [e['arguments'].split()[-1] for e in history(a_map)] == ['4', '3']
    read_description((a_map / 'map.yaml').read_bytes())
