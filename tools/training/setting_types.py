# SPDX-License-Identifier: Apache-2.0
"""Types of settings, and the one line that says which setting of which file is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError

from ashtkd_ros.errors import VprError

T = TypeVar('T')
# Pydantic's kinds of errors in words that a user of a YAML file knows.
_FAULTS = {
    'unexpected_keyword_argument': 'there is no such setting; correct its name or remove it',
    'missing': 'is missing; add it',
    'union_tag_not_found': 'has no `kind`; add one',
}
_MUST = {
    'tuple_type': 'must be a list',
    'path_type': 'must be a path',
    'bool_type': 'must be true or false',
    'bool_parsing': 'must be true or false',
    'int_type': 'must be a whole number',
    'int_parsing': 'must be a whole number',
    'int_from_float': 'must be a whole number',
    'float_type': 'must be a number',
    'float_parsing': 'must be a number',
    'string_type': 'must be a text',
    'too_short': 'must not be empty',
    'string_too_short': 'must not be empty',
    'dict_type': 'must be a mapping',
    'dataclass_type': 'must be a mapping',
    'model_attributes_type': 'must be a mapping',
}


def _no_truth_value(value: Any) -> Any:
    """Pydantic would take true for 1."""
    if isinstance(value, bool):
        raise ValueError(f'must be a number, not {str(value).lower()}')
    return value


def _path_text(value: Any) -> Any:
    """Pydantic would take an empty text for the current folder."""
    if value == '':
        raise ValueError('must be a path, not an empty text')
    if isinstance(value, str) and '\0' in value:
        raise ValueError('must be a path, without a zero byte')
    return value


def _folder_name(value: str) -> str:
    if value in ('.', '..') or '/' in value or '\0' in value:
        raise ValueError(f'must be the name of a folder; it is {value!r:.60}')
    return value


_NUMBER = BeforeValidator(_no_truth_value)
Whole = Annotated[int, _NUMBER]
PositiveInt = Annotated[Whole, Field(gt=0)]
NonNegativeInt = Annotated[Whole, Field(ge=0)]
Number = Annotated[float, _NUMBER]
PositiveFloat = Annotated[Number, Field(gt=0)]
NonNegativeFloat = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
Seed = Annotated[Whole, Field(ge=0, lt=2**63)]  # what torch takes
Name = Annotated[str, Field(min_length=1)]
FolderName = Annotated[Name, AfterValidator(_folder_name)]
FilePath = Annotated[Path, BeforeValidator(_path_text)]


def checked(kind: type[T], values: Any, file: Path) -> T:
    """`values` as an object of `kind`; VprError names the file and the first wrong setting."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
    where = '.'.join(str(part) for part in first['loc']) or 'settings'
    raise VprError(f'{file}: {where}: {_fault(first)}')


def _fault(error: dict[str, Any]) -> str:
    """What is wrong with one setting, and what to do or what it is."""
    kind = error['type']
    if kind in _FAULTS:
        return _FAULTS[kind]
    if kind == 'union_tag_invalid':
        kinds = error['ctx']['expected_tags'].replace("'", '')
        return f'there is no kind "{error["ctx"]["tag"]}"; the kinds are {kinds}'
    if kind == 'value_error':
        return error['msg'].removeprefix('Value error, ')
    message = _MUST.get(kind) or error['msg'].replace('Input should be', 'must be', 1)
    return f'{message}; it is {error["input"]!r:.60}'
