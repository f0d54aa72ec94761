# SPDX-License-Identifier: Apache-2.0
"""The dashboard of a trial in the terminal: what it knows, how that is drawn, and its keys."""
