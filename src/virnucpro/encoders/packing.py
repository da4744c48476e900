"""Sequences of different lengths laid end to end, so that no token is padding."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Tokens(NamedTuple):
    """Token ids of many sequences on the host.

    Attributes:
        ids: all ids end to end, int64.
        offsets: where each sequence starts, one more entry than sequences, int64.
    """

    ids: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sequence."""
        return np.diff(self.offsets)


class Run(NamedTuple):
    """Neighbours of equal length within a pack.

    Attributes:
        sequences: how many.
        length: tokens of each.
    """

    sequences: int
    length: int

    @property
    def tokens(self) -> int:
        """Tokens of all of them."""
        return self.sequences * self.length


class Pack(NamedTuple):
    """The input of one forward pass.

    Attributes:
        tokens_T: ids, int64.
        positions_T: position of each token within its sequence, int64.
        cu_seqlens: cumulative lengths, S + 1 entries, int32.
        longest: tokens of the longest sequence.
        runs: neighbours of equal length, known to the host.
    """

    tokens_T: Tensor
    positions_T: Tensor
    cu_seqlens: Tensor
    longest: int
    runs: tuple[Run, ...]

    @property
    def sequences(self) -> int:
        """How many sequences the pack holds."""
        return len(self.cu_seqlens) - 1

    def to(self, device: torch.device) -> "Pack":
        """Return the pack with its tensors on `device`."""
        if device.type == "cpu":
            return self
        tokens_T, positions_T, cu_seqlens = (
            t.pin_memory().to(device, non_blocking=True)
            for t in (self.tokens_T, self.positions_T, self.cu_seqlens)
        )
        return Pack(tokens_T, positions_T, cu_seqlens, self.longest, self.runs)


def pack_sequences(tokens: Tokens, which: NDArray[np.int64]) -> Pack:
    """Pack the sequences `which` of `tokens`, in that order."""
    lengths = tokens.lengths[which]
    cu_seqlens = np.concatenate([[0], np.cumsum(lengths)])
    positions = np.arange(cu_seqlens[-1]) - np.repeat(cu_seqlens[:-1], lengths)
    ids = tokens.ids[np.repeat(tokens.offsets[which], lengths) + positions]
    first = np.flatnonzero(np.concatenate([[True], lengths[1:] != lengths[:-1]]))
    counts = np.diff(np.concatenate([first, [len(lengths)]]))
    runs = zip(counts.tolist(), lengths[first].tolist(), strict=True)
    return Pack(
        torch.from_numpy(ids),
        torch.from_numpy(positions),
        torch.from_numpy(cu_seqlens.astype(np.int32)),
        int(lengths.max()),
        tuple(Run(*run) for run in runs),
    )


def pack_by_length(tokens: Tokens, token_budget: int) -> Iterator[tuple[NDArray[np.int64], Pack]]:
    """Cut sequences into packs of at most `token_budget` tokens, shortest sequences first.

    A sequence longer than the budget gets a pack of its own.

    Yields:
        which sequences of `tokens` a pack holds, and the pack.
    """
    order = np.argsort(tokens.lengths, kind="stable")
    ends = np.cumsum(tokens.lengths[order])
    start = 0
    while start < len(order):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + token_budget, side="right")))
        which = order[start:stop]
        yield which, pack_sequences(tokens, which)
        start = stop


def mean_pool(hidden_TD: Tensor, pack: Pack, trim: int = 0) -> Tensor:
    """Return the mean hidden state of each sequence in fp32, `trim` tokens left out at both ends.

    Returns:
        means_SD, in the order of the pack.
    """
    parts = hidden_TD.split([run.tokens for run in pack.runs])
    means = [
        part.unflatten(0, (run.sequences, run.length))[:, trim : run.length - trim].mean(
            dim=1, dtype=torch.float32
        )
        for part, run in zip(parts, pack.runs, strict=True)
    ]
    return torch.cat(means)


class Encoder(Protocol):
    """A network that turns the sequences of a pack into one vector each."""

    def embed(self, pack: Pack) -> Tensor:
        """Return means_SD in fp32."""
        ...


def encode_means(
    encoder: Encoder, width: int, tokens: Tokens, token_budget: int, device: torch.device
) -> Tensor:
    """Embed every sequence of `tokens`, without gradients.

    On a CPU as many packs go side by side as PyTorch may use threads, one thread each: cores then
    never wait for each other within an operation, and results do not depend on their number.

    Returns:
        means_SD on `device`, fp32, in the order of `tokens`.
    """
    means_SD = torch.empty(len(tokens.offsets) - 1, width, device=device)

    def encode(which: NDArray[np.int64], pack: Pack) -> None:
        with torch.inference_mode():
            means_SD[torch.from_numpy(which).to(device)] = encoder.embed(pack.to(device))

    packs = pack_by_length(tokens, token_budget)
    if device.type != "cpu":
        for which, pack in packs:
            encode(which, pack)
        return means_SD
    with one_thread_an_operation() as threads, ThreadPoolExecutor(threads) as pool:
        try:
            for done in [pool.submit(encode, which, pack) for which, pack in packs]:
                done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return means_SD


@contextmanager
def one_thread_an_operation() -> Iterator[int]:
    """Let PyTorch compute each operation in one thread; gives how many threads it used before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
