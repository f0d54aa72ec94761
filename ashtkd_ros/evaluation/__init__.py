# SPDX-License-Identifier: Apache-2.0
"""How well a traverse is recognised in a map: ground truth, metrics, the run and its report."""
