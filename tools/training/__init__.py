# SPDX-License-Identifier: Apache-2.0
"""Training: the teachers, the student, and what is measured of them."""
