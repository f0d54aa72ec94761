# SPDX-License-Identifier: Apache-2.0
"""Visual place recognition for mobile robots: the core, free of ROS and of torch."""

import os

# ONNX Runtime's wheels report to their maker, and keep a device id and a database below ~/.cache,
# unless this is set before their first import. Processes that are started inherit it.
os.environ['ORT_DISABLE_TELEMETRY'] = '1'
# Read when numpy is loaded. A second thread of its matrix products waits in a busy loop for its
# turn: on two busy cores a verification takes 7 ms with it and 2.6 ms without.
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
