"""The order of training pictures, as a function of the images seen alone."""

import itertools
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from cips_lab.data.sources.base import WINDOW


class InfiniteSampler(Sampler[int]):
    """Rank `rank`'s part of one endless stream of indices in [0, length).

    The stream is the permutation of epoch 0, then that of epoch 1, ...; epoch e's is drawn by a generator seeded with
    (seed, e). Its element n belongs to rank n % world_size, and iteration begins at element `images_seen` (counted over
    all ranks). So N ranks together see what one process sees, and a run resumes with the next unseen picture without a
    sampler state in the checkpoint. It has no length.

    `groups`: lengths of stretches of pictures that are cheap to read together, which sum to `length`; or None. Then the
    epoch's permutation is one of groups, and of the pictures of each `WINDOW` of them: whoever reads the stream reads
    every group once, and holds no more than `WINDOW` at a time.

    Raises `ValueError` for an empty data set, a negative seed, a rank outside [0, world_size), or `images_seen` that is
    negative or no multiple of `world_size`.
    """

    def __init__(
        self,
        length: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        images_seen: int = 0,
        groups: np.ndarray | None = None,
    ) -> None:
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be in [0, {world_size}), got {rank}")
        if images_seen < 0 or images_seen % world_size:
            raise ValueError(f"images_seen must be a multiple of world_size={world_size}, got {images_seen}")
        if groups is not None and groups.sum() != length:
            raise ValueError(f"groups of {groups.sum()} pictures, of {length}")
        self.length = length
        self.groups = groups
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.images_seen = images_seen

    def __iter__(self) -> Iterator[int]:
        epoch, offset = divmod(self.images_seen + self.rank, self.length)
        while True:
            order = self.permutation(epoch)
            while offset < self.length:
                yield int(order[offset])
                offset += self.world_size
            # More ranks than pictures: the next element may lie several epochs ahead.
            skipped, offset = divmod(offset, self.length)
            epoch += skipped

    def numbered(self) -> "NumberedSampler":
        """The same stream, each index with its place in it."""
        return NumberedSampler(self)

    def permutation(self, epoch: int) -> np.ndarray:
        """The order of epoch `epoch` >= 0: int64 [length], a permutation of range(length)."""
        rng = np.random.default_rng((self.seed, epoch))
        if self.groups is None:
            return rng.permutation(self.length)
        starts = np.cumsum(self.groups) - self.groups
        order = rng.permutation(len(self.groups))
        windows = [order[first : first + WINDOW] for first in range(0, len(order), WINDOW)]
        within = ([np.arange(starts[g], starts[g] + self.groups[g]) for g in window] for window in windows)
        return np.concatenate([rng.permutation(np.concatenate(stretches)) for stretches in within])


class NumberedSampler(Sampler[tuple[int, int]]):
    """(index, n) of each element n of a stream that belongs to its rank: what draws are made from, where it is read."""

    def __init__(self, stream: InfiniteSampler) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[tuple[int, int]]:
        stream = self.stream
        return zip(stream, itertools.count(stream.images_seen + stream.rank, stream.world_size), strict=False)
