# SPDX-License-Identifier: Apache-2.0
"""The processes of an outdoor trial beside the node: check list, recorder, watch, dashboard."""
