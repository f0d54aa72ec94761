# SPDX-License-Identifier: Apache-2.0
"""What every command shares: its frame, its arguments, what it prints."""
