# SPDX-License-Identifier: Apache-2.0
"""Files and tables: read within limits, written whole or not at all."""
