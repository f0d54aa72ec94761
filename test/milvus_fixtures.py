# SPDX-License-Identifier: Apache-2.0
"""Where a map may be pushed to, with Milvus Lite; a plugin of pytest."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from ashtkd_ros.maps.milvus_store import Address

HAS_MILVUS = all(find_spec(name) for name in ('pymilvus', 'milvus_lite'))
needs_milvus = pytest.mark.skipif(
    not HAS_MILVUS, reason='pymilvus[milvus-lite] is not installed: no Milvus'
)


@pytest.fixture
def address(tmp_path: Path) -> Address:
    return Address.parse(f'milvus://{tmp_path}/fleet.db/campus')
