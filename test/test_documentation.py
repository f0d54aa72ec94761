# SPDX-License-Identifier: Apache-2.0
"""The documentation leads somewhere, names what there is, and is in step with the code."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import ROOT
from documents import (
    anchors,
    blocks,
    calls,
    code_lines,
    file_of,
    links,
    options_of,
    text_of,
)
from quotes import fault_of

from ashtkd_ros.entry import COMMANDS
from tools.documentation import generated, help_texts

DOC = ROOT / 'doc'
PAGES = sorted(DOC.glob('*.md')) + [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md']
PAGES += [ROOT / 'CHANGELOG.md', ROOT / 'models' / 'README.md']
# Not help texts, which are compared word by word, nor history, which names what was.
WITH_CODE = [page for page in PAGES if page.name not in ('commands.md', 'CHANGELOG.md')]
OF_OTHERS = {'--show-args', '--ros-args', '--params-file', '--enclave', '--help'}
OF_OTHERS |= {'--ignore-src', '--packages-select', '--nproc-per-node', '--skip-keys'}
REPOSITORY = re.compile(r'(?:ashtkd_ros|config|doc|launch|models|test|tools)/[\w./*-]+')
LOADED = re.compile(r'<(?:script|img|link|iframe)[^>]*(?:src|href)="?([^"\s>]+)')
MOST_LINES_OF_THE_README = 170
FEWEST_SYMPTOMS = 25


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize('page', PAGES, ids=name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path):
    for link in links(page):
        if link.startswith(('https://', 'mailto:')):
            continue
        target, _, anchor = link.partition('#')
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link


@pytest.mark.parametrize('page', WITH_CODE, ids=name)
def test_every_command_and_option_exists(page: Path):
    for line in code_lines(page):
        for called, module, options in calls(line):
            assert file_of(module), line
            unknown = set(options) - options_of(module) - OF_OTHERS
            assert not unknown, f'{called} has no {unknown}: {line}'


@pytest.mark.parametrize('page', WITH_CODE, ids=name)
def test_options_that_stand_alone_are_of_some_command_of_ours(page: Path):
    modules = [*COMMANDS.values(), *help_texts.tool_modules(ROOT)]
    known = OF_OTHERS.union(*map(options_of, modules), options_of('tools.documentation'))
    for line in code_lines(page):
        alone = re.match(r'(--[a-z][\w-]*)', line)
        assert not alone or alone[1] in known, line


@pytest.mark.parametrize('page', WITH_CODE, ids=name)
def test_every_make_target_exists(page: Path):
    targets = re.findall(r'^([a-z]+):', text_of(ROOT / 'Makefile'), re.MULTILINE)
    for line in code_lines(page):
        called = re.fullmatch(r'make ([a-z]+)(?: \w+=.*)?', line)
        assert not called or called[1] in targets, line


@pytest.mark.parametrize('page', WITH_CODE, ids=name)
def test_every_launch_file_has_the_arguments_that_it_is_given(page: Path):
    pytest.importorskip('rclpy', reason='rclpy is not installed: parameters are not known')
    from ashtkd_ros.ros.node.parameters import Parameters

    known = (
        help_texts.launch_arguments(ROOT) | {f.name for f in fields(Parameters)} | {'params_file'}
    )
    for line in code_lines(page):
        called = re.search(r'ros2 launch ashtkd_ros (\S+)(.*)', line)
        if called:
            assert (ROOT / 'launch' / called[1]).is_file(), line
            assert set(re.findall(r'(?<!\S)(\w+):=', called[2])) <= known, line


@pytest.mark.parametrize('page', WITH_CODE, ids=name)
def test_every_path_of_the_repository_exists(page: Path):
    for line in code_lines(page):
        if REPOSITORY.fullmatch(line) and 'NAME' not in line:
            assert list(ROOT.glob(line.rstrip('/'))), line


def test_the_checks_find_what_is_wrong(tmp_path: Path):
    page = tmp_path / 'page.md'
    page.write_text(
        '# A heading, `code` (x)\n[a](b.md#c) `[d](e)` ![f](g.png)\n'
        '```\nros2 run ashtkd_ros build_map a --nonsense \\\n  --dry-run  # --more\n```\n'
        '`python -m tools.nothing --x`\n'
    )
    assert links(page) == ['b.md#c', 'g.png']
    assert anchors(page) == {'a-heading-code-x'}
    found = [call for line in code_lines(page) for call in calls(line)]
    assert found[0] == (
        'build_map',
        'ashtkd_ros.commands.build_map',
        ['--nonsense', '--dry-run'],
    )
    assert found[1][:2] == ('tools.nothing',) * 2 and file_of('tools.nothing') is None
    assert '--dry-run' in options_of(found[0][1]) and '--nonsense' not in options_of(found[0][1])


def test_the_readme_is_short_and_its_picture_holds_a_wrong_answer():
    text = text_of(ROOT / 'README.md')
    assert len(text.splitlines()) <= MOST_LINES_OF_THE_README
    assert 'doc/pictures/at_work.png' in text and 'wrong' in text


def test_what_the_readme_prints_stands_in_the_documentation_as_well():
    """A figure that is measured anew is mended in both, or this fails."""
    documented = {block for page in DOC.glob('*.md') for block in blocks(page)}
    printed = [block for block in blocks(ROOT / 'README.md') if len(block.splitlines()) > 3]
    assert printed and set(printed) <= documented


@pytest.mark.parametrize('part', generated.PARTS, ids=lambda part: f'{part.page}-{part.name}')
def test_generated_parts_are_in_step(part: generated.Part):
    if not part.can_be_made():
        pytest.skip(f'{part.needs} is not installed: the part cannot be made')
    made = part.make(ROOT).split()
    assert generated.written(DOC, part).split() == made, 'call python -m tools.documentation'
    assert len(made) > 50


@pytest.mark.parametrize('picture', [generated.PACKAGE_PICTURE, generated.TRAINING_PICTURE])
def test_pictures_of_the_storeys_are_in_step(picture: str):
    svg = dict(generated.pictures(ROOT))[picture]
    assert text_of(DOC / picture) == svg, 'call python -m tools.documentation'
    assert ElementTree.fromstring(svg).tag == '{http://www.w3.org/2000/svg}svg'


def test_troubleshooting_quotes_what_the_code_says():
    """See `fault_of`."""
    rows = [line for line in text_of(DOC / 'troubleshooting.md').splitlines() if line[:2] == '| ']
    rows = [row for row in rows if not row.startswith('| symptom')]
    assert len(rows) >= FEWEST_SYMPTOMS
    quoted = 0
    for row in rows:
        symptom, says, mend = row.strip('| ').split(' | ')
        assert symptom and says and mend, row
        for quote in re.findall(r'`([^`]+)`', says):
            assert fault_of(quote) == '', row
            quoted += 1
    assert quoted > 2 * FEWEST_SYMPTOMS


@pytest.mark.parametrize(
    ('quote', 'is_right'),
    [
        ('...: no such map; build one with build_map', True),
        ('no such map; build one with build_map', False),  # a path stands before it
        ('...: no such map; build one with build', False),
        ('...: no such ma...', False),
        ('... such map; build one ...', True),
        ('... uch map; build one ...', False),
        ('such map; build one ...', False),
        ('build one with build_map', True),  # a sentence of its own, behind a semicolon
        (', it must be a finite number; fill it in, or leave the ...', False),
        ('parameter ... is the integer 1; write 1.0', True),
        ('parameter ... is the integer 1; write 1.5', False),
        ('camera: nearly black images (set min_light to 0 to match them anyway)', True),
        ('camera: nearly white images (set min_light to 0 to match them anyway)', False),
        ('ROS ... is sourced, but in ...; try sudo apt install ros-', False),
    ],
)
def test_a_quote_is_refused_that_is_cut_or_not_said(quote: str, is_right: bool):
    assert (fault_of(quote) == '') == is_right, fault_of(quote)


def test_every_page_is_in_the_sites_contents_and_the_index():
    menu = text_of(ROOT / 'mkdocs.yml').partition('\nnav:')[2]
    pages = {page.name for page in DOC.glob('*.md')}
    assert set(re.findall(r'[\w]+\.md', menu)) == pages
    assert pages - {'index.md'} <= {link.partition('#')[0] for link in links(DOC / 'index.md')}


def test_the_changelog_begins_with_this_version():
    version = ElementTree.parse(ROOT / 'package.xml').findtext('version')
    first = re.search(r'^## (\S+)', text_of(ROOT / 'CHANGELOG.md'), re.MULTILINE)
    assert first[1] == version


def test_the_site_is_built_and_loads_nothing_from_elsewhere(tmp_path: Path):
    pytest.importorskip('mkdocs', reason='mkdocs is not installed: make doc does that')
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--quiet']
    made = subprocess.run(
        [*command, '--site-dir', str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    pages = list(tmp_path.rglob('*.html'))
    assert len(pages) > len(list(DOC.glob('*.md')))
    for page in pages:
        loaded = re.findall(
            r'<(?:script|img|link|iframe)[^>]*(?:src|href)="?([^"\s>]+)', text_of(page)
        )
        assert loaded and not [url for url in loaded if url.startswith(('http', '//'))], page
