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
    'multiple_of': 'must be a multiple of 16',
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
    'finite_number': 'must be a finite number',
}
_BOUNDS = {
    'greater_than': ('above', 'gt'),
    'greater_than_equal': ('at least', 'ge'),
    'less_than': ('below', 'lt'),
    'less_than_equal': ('at most', 'le'),
}


class SettingError(ValueError):
    """A setting does not fit others; `key`: which one, `text`: what is wrong and what to do."""

    def __init__(self, key: str, text: str):
        super().__init__(f'{key}: {text}')
        self.key, self.text = key, text


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


def _each_once(values: tuple) -> tuple:
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f'{value} is given twice; remove one')
    return values


each_once = AfterValidator(_each_once)
# Strict: pydantic would take '1', 1.0 and true for 1. Whole numbers have to fit 32 bits.
Bool = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, Field(strict=True, lt=2**31)]
PositiveInt = Annotated[Whole, Field(gt=0)]
NonNegativeInt = Annotated[Whole, Field(ge=0)]
Number = Annotated[float, Field(strict=True)]
PositiveFloat = Annotated[Number, Field(gt=0)]
NonNegativeFloat = Annotated[Number, Field(ge=0)]
Pixels = Annotated[PositiveInt, Field(multiple_of=16)]
Share = Annotated[Number, Field(ge=0, le=1)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]  # what torch takes
Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], each_once]
FolderName = Annotated[Name, AfterValidator(_folder_name)]
FilePath = Annotated[Path, BeforeValidator(_path_text)]


def checked(kind: type[T], values: Any, file: Path) -> T:
    """`values` as an object of `kind`; VprError names the file and the first wrong setting."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
    keys = [str(part) for part in first['loc'] if part != '[key]']
    cause = first.get('ctx', {}).get('error')
    if isinstance(cause, SettingError):
        keys.append(cause.key)
    raise VprError(f'{file}: {".".join(keys) or "settings"}: {_fault(first, cause)}')


def _fault(error: dict[str, Any], cause: Exception | None) -> str:
    """What is wrong with one setting, and what to do or what it is.

    `cause`: the exception that a check of ours raised.
    """
    kind = error['type']
    if kind in _FAULTS:
        return _FAULTS[kind]
    if kind == 'union_tag_invalid':
        kinds = error['ctx']['expected_tags'].replace("'", '')
        return f'there is no kind "{error["ctx"]["tag"]}"; the kinds are {kinds}'
    if cause is not None:
        return getattr(cause, 'text', str(cause))
    message = _MUST.get(kind) or error['msg'].replace('Input should be', 'must be', 1)
    if kind in _BOUNDS:
        word, bound = _BOUNDS[kind]
        limit = error['ctx'][bound]
        message = f'must be {word} {limit:g}' if limit < 1e6 else f'must be {word} {limit}'
    if kind == 'too_long':
        message = f'must have {error["ctx"]["max_length"]} values'
    return f'{message}; it is {error["input"]!r:.60}'
