"""Pictures of a source decoded, cut, resized and encoded, by several processes, in the source's order."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import NamedTuple

from cips_lab.data.decode import open_picture
from cips_lab.data.sources import ImageSource
from cips_lab.errors import UserError
from cips_lab.files.names import printable
from cips_lab.preparing.journal import Rejected
from cips_lab.preparing.recipe import LeftOut, Recipe, encode, file_name

AHEAD = 3  # chunks a process that are handed out before they are asked for


class Picture(NamedTuple):
    """One of a set."""

    number: int  # in the source
    name: str
    content: bytes  # of the PNG


class Chunk(NamedTuple):
    """What became of some pictures of a source."""

    pictures: list[Picture]
    rejected: list[Rejected]


def make(source: ImageSource, recipe: Recipe, indices: Sequence[int]) -> Chunk:
    """Some pictures of a source by a recipe; those that cannot be used are told, and stop nothing."""
    made, rejected = list[Picture](), list[Rejected]()
    for index in indices:
        try:
            if recipe.animations == "leave_out":
                _refuse_several(source, index)
            parts = list(recipe.apply(source.read(index), index))
        except LeftOut as reason:
            rejected.append(Rejected(source.name(index), "left out", str(reason)))
        except UserError as error:
            rejected.append(Rejected(source.name(index), "unreadable", _short(str(error), source.name(index))))
        else:
            made += [
                Picture(index, file_name(index, part_number if recipe.parts else None), encode(part))
                for part_number, part in enumerate(parts)
            ]
    return Chunk(made, rejected)


def _refuse_several(source: ImageSource, index: int) -> None:
    """Raise `LeftOut` for a file of several pictures. What cannot be read says so when it is read."""
    try:
        with source.open(index) as stream, open_picture(stream) as image:
            count = int(getattr(image, "n_frames", 1))
    except Exception:
        return
    if count > 1:
        raise LeftOut(f"{count} pictures in one file (animations=leave_out)")


def _short(message: str, name: str) -> str:
    """A reader's message without the file's name, which stands beside it."""
    return message.removeprefix(f"{printable(name)} ")


def make_all(
    source: ImageSource, recipe: Recipe, ranges: Iterator[range], workers: int
) -> Iterator[tuple[range, Chunk]]:
    """`make` of one range after another, in their order, by `workers` processes; by this one alone where that is 1.

    Raises:
        UserError: a process was killed, or a picture's decoder ended it.
    """
    if workers == 1:
        for indices in ranges:
            yield indices, make(source, recipe, indices)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (source, recipe))
    waiting: deque[tuple[range, Future[Chunk]]] = deque()
    try:
        for indices in ranges:
            waiting.append((indices, pool.submit(_make, indices)))
            if len(waiting) >= AHEAD * workers:
                yield waiting[0][0], waiting.popleft()[1].result()
        while waiting:
            yield waiting[0][0], waiting.popleft()[1].result()
    except BrokenProcessPool as error:
        first = waiting[0][0] if waiting else range(0)
        raise UserError(
            f"a process ended in the middle of its work, from {printable(source.name(first[0] if first else 0))} on: "
            "killed, out of memory, or by a picture that ended its decoder; give the same command to go on, "
            "with workers=1 to see which picture it is"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_task: tuple[ImageSource, Recipe] | None = None  # of a process of the pool, which is told it once


def _begin(source: ImageSource, recipe: Recipe) -> None:
    global _task
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process tells the others
    _task = source, recipe
    threading.Thread(target=_end_with_the_first, daemon=True).start()


def _end_with_the_first() -> None:
    """A process of a pool whose first one was killed would wait for work for ever."""
    first = multiprocessing.parent_process()
    assert first is not None
    wait([first.sentinel])
    os._exit(1)


def _make(indices: range) -> Chunk:
    assert _task is not None
    return make(*_task, indices)
