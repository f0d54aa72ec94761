# SPDX-License-Identifier: Apache-2.0
"""Skips the file that imports this where a package that training needs is not installed."""

from __future__ import annotations

import pytest

torch, onnx, pydantic = (
    pytest.importorskip(package, reason=f'{package} is not installed: no training')
    for package in ('torch', 'onnx', 'pydantic')
)
