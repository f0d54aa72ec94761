# SPDX-License-Identifier: Apache-2.0
"""A real browser for pages that are opened from disk; a module asks for it with pytest_plugins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = Path('/usr/bin/chromium'), Path('/usr/bin/chromedriver')


@pytest.fixture(scope='module')
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip('selenium.webdriver', reason='selenium is not installed')
    if not (CHROMIUM.exists() and DRIVER.exists()):
        pytest.skip('chromium or its driver is not installed')
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        '--headless=new',
        '--no-sandbox',
        '--disable-dev-shm-usage',
        '--allow-file-access-from-files',
        '--hide-scrollbars',
    ):
        options.add_argument(argument)
    logs = {'browser': 'ALL', 'performance': 'ALL'}
    options.set_capability('goog:loggingPrefs', logs)
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()
