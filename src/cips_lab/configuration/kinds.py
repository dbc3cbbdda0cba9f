"""What an option may be: each kind is a test, and the words for it that complete "must be ..."."""

import math
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from cips_lab.networks.size import is_native


@dataclass(frozen=True)
class Kind:
    """One kind of value.

    Attributes:
        words: complete "must be ...".
        holds: whether a value, resolved and without OmegaConf's containers, is of this kind.
        text: a word, a number or anything else typed for it means these very characters.
    """

    words: str
    holds: Callable[[Any], bool]
    text: bool = False

    def or_null(self, meaning: str = "") -> "Kind":
        """The same, or null, which means `meaning`."""
        words = f"{self.words}, or null" + (f" for {meaning}" if meaning else "")
        return Kind(words, lambda value: value is None or self.holds(value), self.text)


def is_whole(value: Any) -> bool:
    """A number without a decimal point; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """A finite number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_text(value: Any) -> bool:
    """A word that is not empty."""
    return isinstance(value, str) and bool(value)


def whole(least: int, of: str = "") -> Kind:
    """Whole numbers of at least `least`; `of` says what is counted."""
    size = "a positive whole number" if least == 1 else f"a whole number of at least {least}"
    return Kind(size + (f" of {of}" if of else ""), lambda value: is_whole(value) and value >= least)


def one_of(*choices: Any) -> Kind:
    """One of a few; 1 is not true."""
    words = " or ".join(filter(None, [", ".join(str(choice) for choice in choices[:-1]), str(choices[-1])]))
    return Kind(words, lambda value: any(type(value) is type(choice) and value == choice for choice in choices))


def matching(pattern: str, words: str) -> Kind:
    """What reads, as text, like `pattern`."""
    return Kind(words, lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None)


def some_of(*choices: str) -> Kind:
    """A list of one or more of a few."""
    return Kind(
        f"a list of some of {', '.join(choices)}, e.g. [{choices[-1]}]",
        lambda value: isinstance(value, list) and bool(value) and set(map(str, value)) <= set(choices),
    )


def is_region(value: Any) -> bool:
    """[left, top, right, bottom]."""
    sound = isinstance(value, list) and len(value) == 4 and all(map(is_number, value))
    return sound and value[0] < value[2] and value[1] < value[3]


def is_span(value: Any) -> bool:
    """[from, to]."""
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value)) and value[0] < value[1]


def is_size(value: Any) -> bool:
    """A side, or [height, width]."""
    sides = value if isinstance(value, list) else [value, value]
    return len(sides) == 2 and all(is_whole(side) and side >= 1 for side in sides)


def is_frame(value: Any) -> bool:
    """A size that networks are built for."""
    return is_size(value) and is_native(value)


def is_folder_name(value: Any) -> bool:
    """What a file system takes for a name below another folder."""
    if not isinstance(value, str) or not value.strip("/") or "\0" in value:
        return False
    parts = [part for part in value.split("/") if part]
    return all(len(os.fsencode(part)) <= 255 and part not in (".", "..") for part in parts)


def are_names(value: Any) -> bool:
    """A word or number, or a list of them."""
    names: Iterable[Any] = value if isinstance(value, list) else [value]
    return bool(value) and all(is_text(name) or is_number(name) for name in names)


def are_seeds(value: Any) -> bool:
    """``3``, ``"0-15"``, ``"1,4-6"`` or a list of these."""
    parts = value if isinstance(value, list) else [value]
    number = r"\s*\d+\s*(-\s*\d+\s*)?"
    return bool(parts) and all(re.fullmatch(rf"{number}(,{number})*", str(part)) is not None for part in parts)


ANY = Kind("anything", lambda value: True)
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
NUMBER = Kind("a number", is_number)
POSITIVE = Kind("a positive number", lambda value: is_number(value) and value > 0)
NOT_NEGATIVE = Kind("a number of at least 0", lambda value: is_number(value) and value >= 0)
WHOLE = Kind("a whole number", is_whole)
TEXT = Kind("text", is_text, text=True)
NAMES = Kind("a name, or a list of them such as [a,b]", are_names)
NATIVE = Kind(
    "a power of two of at least 8, such as 64, or [height,width] of multiples of one, such as [128,256]", is_frame
)
SIZE = Kind("a positive number of pixels, or [height,width]", is_size)
REGION = Kind("[left,top,right,bottom] with left < right and top < bottom", is_region)
SPAN = Kind("[from,to] with from < to, such as [0,1]", is_span)
FOLDER_NAME = Kind("a folder's name: not empty, and no part of it over 255 bytes", is_folder_name, text=True)


def of_annotation(annotation: Any) -> Kind:
    """The kind that a parameter's annotation means; what is no number, flag, word or null is left to its class."""
    plain = {int: WHOLE, float: NUMBER, bool: FLAG, str: Kind("text", lambda value: isinstance(value, str), text=True)}
    if annotation in plain:
        return plain[annotation]
    if get_origin(annotation) is Literal:
        return one_of(*get_args(annotation))
    if get_origin(annotation) is tuple and Ellipsis not in get_args(annotation):
        items = [of_annotation(part) for part in get_args(annotation)]
        return Kind(
            f"a list [{', '.join(item.words for item in items)}]",
            lambda value: (
                isinstance(value, list)
                and len(value) == len(items)
                and all(item.holds(one) for item, one in zip(items, value, strict=True))
            ),
        )
    if get_origin(annotation) is Union or type(annotation).__name__ == "UnionType":
        parts = [of_annotation(part) for part in get_args(annotation) if part is not type(None)]
        if any(part is ANY for part in parts):
            return ANY
        words = " or ".join(dict.fromkeys(part.words for part in parts))
        text = any(part.text for part in parts)
        union = Kind(words, lambda value: any(part.holds(value) for part in parts), text)
        return union.or_null() if type(None) in get_args(annotation) else union
    if (
        isinstance(annotation, type)
        and annotation.__module__.startswith("cips_lab.")
        and not issubclass(annotation, dict)
    ):
        return Kind(f"a _target_ that makes {annotation.__name__}", lambda v: isinstance(v, dict) and "_target_" in v)
    return ANY
