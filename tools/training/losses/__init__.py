# SPDX-License-Identifier: Apache-2.0
"""The steps of ASHT-KD's teaching, one file a step (doc/method.md, "Teaching").

The steps are the paper's (Li et al., IEEE T-ITS 2025). Its formulas are not public: each docstring
names where this project's formulation comes from. `objective` adds the steps up for a batch.

Symbols: Q query views, D database views, B = Q + D views of a batch, V: these and those of a
memory, K teachers. Descriptors are float32 (B, C) of length 1, a similarity is their inner
product; a teacher's is standardised. Places are int64, -1 = unknown.
"""
