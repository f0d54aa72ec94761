# SPDX-License-Identifier: Apache-2.0
"""What tests ask of a page in the browser of browser_fixtures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def opened(browser: Any, page: Path, width: int) -> Any:
    """The browser with the page in it, `width` CSS pixels wide, its old logs read away."""
    size = {'width': width, 'height': 900, 'deviceScaleFactor': 1, 'mobile': False}
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', size)
    for kind in ('browser', 'performance'):
        browser.get_log(kind)
    browser.get(page.as_uri())
    from selenium.webdriver.support.wait import WebDriverWait

    # On a busy machine the driver may answer before all of the page is there.
    WebDriverWait(browser, 30).until(
        lambda b: b.execute_script('return document.readyState') == 'complete'
    )
    return browser


def complaints(browser: Any) -> list[dict]:
    """What the page that is open has logged as an error."""
    return [e for e in browser.get_log('browser') if e['level'] == 'SEVERE']


def fetched(browser: Any) -> list[str]:
    """What the page that is open has asked for, itself included; data: is not counted."""
    messages = [json.loads(e['message'])['message'] for e in browser.get_log('performance')]
    requests = [m for m in messages if m['method'] == 'Network.requestWillBeSent']
    urls = [r['params']['request']['url'] for r in requests]
    return [url for url in urls if not url.startswith('data:')]


def widths(browser: Any) -> list[int]:
    """Of the window and of the page that is open, in CSS pixels."""
    return browser.execute_script('return [innerWidth, document.documentElement.scrollWidth]')


def pictures(browser: Any) -> list[tuple[bool, int, str, int]]:
    """Of each image: whether it is loaded, its own width, its words, its width on the page."""
    script = 'return [...document.images].map(i => [i.complete, i.naturalWidth, i.alt, i.width])'
    return [tuple(found) for found in browser.execute_script(script)]


def visible_text(browser: Any) -> str:
    return browser.execute_script('return document.body.innerText')


def headings(browser: Any) -> list[str]:
    script = 'return [...document.querySelectorAll("h1,h2")].map(h => h.innerText)'
    return browser.execute_script(script)
