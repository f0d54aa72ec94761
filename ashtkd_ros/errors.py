# SPDX-License-Identifier: Apache-2.0
"""The one exception whose text is written for users, and the text of every other one."""

from ashtkd_ros.text import one_line, reason_of


class VprError(Exception):
    """An error that the user can mend; the message is one line: what is wrong and what to do.

    The text may contain names that come from files: control characters are escaped. `status`: that
    of a command that the error ends.
    """

    status = 1

    def __init__(self, text: str):
        super().__init__(one_line(str(text)))


class ArgumentError(VprError):
    """The command line is wrong."""

    status = 2


def error_text(error: BaseException) -> str:
    """What went wrong, in one line; an error that is not a VprError is named with its type."""
    if isinstance(error, VprError):
        return one_line(str(error))
    return f'{type(error).__name__}: {reason_of(error)}'
