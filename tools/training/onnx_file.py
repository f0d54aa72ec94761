# SPDX-License-Identifier: Apache-2.0
"""The graph of an .onnx file of any origin."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from ashtkd_ros.network.model_file import not_a_model, read_model


def read_graph(path: Path) -> onnx.GraphProto:
    """The graph of a model; VprError where the file is none, or needs other files."""
    try:
        graph = onnx.load_from_string(read_model(path)).graph
    except DecodeError as error:
        raise not_a_model(path, str(error)) from error
    if not graph.node:
        raise not_a_model(path, 'it is empty')
    return graph
