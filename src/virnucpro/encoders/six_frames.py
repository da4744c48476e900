"""A small network that reads DNA in six frames at once, for bundles without published weights.

A token stands for a window of `WINDOW` bases. In each of the six frames, its vector is the sum of
the vectors of the codons that begin in the window or shortly behind it; a codon has one vector for
each place. One ESM-2 reads the six frames, each by itself. A product then combines the six vectors
of a window, and another ESM-2 reads the results. The id of a token holds the bases of its codons as
`SPAN` digits to base 5, its own bases first: 0 to 3 for A, C, G and T, and 4 for any other letter
and for places behind the end.
"""

import copy
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, pad

from virnucpro.encoders.backends import cpu_int8
from virnucpro.encoders.esm2 import Esm2, Esm2Config
from virnucpro.encoders.network import EncoderConfig, Layers, Network, Transformer, Width
from virnucpro.encoders.packing import EqualLengthRun, Pack, Tokens, pack_sequences
from virnucpro.encoders.spec import EncoderSpec
from virnucpro.encoders.steps import Rows, int8
from virnucpro.encoders.steps.activations import sample_dna, seen_in
from virnucpro.encoders.trial import Trial, offsets_of
from virnucpro.sequences import BASE_NUMBERS, OTHER_BASE

#: Bases from one token to the next.
WINDOW = 18
#: Codons of a token in each frame; the next token shares the last two.
CODONS = 8
#: Bases that make up the codons of a token in all frames.
SPAN = 3 * CODONS + 2
#: Words: none, and each of the 64 codons at each place.
WORDS = 1 + CODONS * 64
FRAMES = 6
#: Lengths of the sequences of a trial, in windows.
_TRIAL_WINDOWS = (1, 3, 9, 28, 65)


class SixFramesConfig(EncoderConfig, frozen=True, tag="six_frames"):
    """Sizes of the two networks.

    Attributes:
        frame_layers: transformer blocks of the network that reads frames.
        frame_width: its D.
        layers: transformer blocks of the network that reads windows.
        width: its D.
        head_width: columns of an attention head of both.
    """

    frame_layers: Layers
    frame_width: Width
    layers: Layers
    width: Width
    head_width: Width

    @property
    def frames(self) -> Esm2Config:
        """Sizes of the network that reads frames."""
        heads = self.frame_width // self.head_width
        return Esm2Config(self.frame_layers, self.frame_width, heads, WORDS)

    @property
    def windows(self) -> Esm2Config:
        """Sizes of the network that reads windows; its one word is a hidden window."""
        return Esm2Config(self.layers, self.width, self.width // self.head_width, 1)

    def fault(self) -> str:
        """Return which sizes do not fit together, or an empty string if all do."""
        size = self.head_width
        for width in (self.frame_width, self.width):
            if width % size or size % 2:
                return f"width {width} does not fit heads of {size}"
        return ""


class SixFrames(Network):
    """The network.

    Attributes:
        frames: reads the tokens of one frame.
        mix: combines the frames.
        windows: reads the windows.
    """

    config: SixFramesConfig

    def __init__(self, config: SixFramesConfig) -> None:
        super().__init__()
        self.config = config
        self.frames = Esm2(config.frames)
        self.mix = nn.Linear(FRAMES * config.frame_width, config.width)
        self.windows = Esm2(config.windows)

    @property
    def parts(self) -> Mapping[str, Transformer]:
        """The two transformers."""
        return {"frames": self.frames, "windows": self.windows}

    def forward(self, pack: Pack) -> Tensor:
        """Return hidden_TD of the windows; the padding of the pack means nothing."""
        used, six = pack.used, _six_times(pack)
        rest = len(pack.tokens_T) - used
        words = words_of(bases_of(pack.tokens_T[:used])).transpose(0, 1).flatten(0, 1)
        # The frames of the reverse strand are read from their end.
        order = torch.cat([torch.arange(len(words) // 2, device=words.device), _backwards(six)])
        read = pad(words[order], (0, 0, 0, FRAMES * rest))
        vectors_TE = embedding_bag(read, self.frames.embedding.weight, mode="sum")
        hidden = self.frames.transform(vectors_TE, six)
        places_TF = pad(order.unflatten(0, (FRAMES, used)).t(), (0, 0, 0, rest))
        together = hidden.index_select(0, places_TF.flatten()).unflatten(0, (-1, FRAMES)).flatten(1)
        mixed_TD = self.frames.steps.product(Rows(together), self.mix)
        return self.windows.transform(mixed_TD, pack)

    def embed(self, pack: Pack) -> Tensor:
        """Return means_SD in fp32 over the windows."""
        return self.windows.steps.mean_pool(self(pack), pack)


def _six_times(pack: Pack) -> Pack:
    """Return the sequences of a pack six times, end to end."""
    used, rest = pack.used, len(pack.tokens_T) - pack.used
    moved = used * torch.arange(FRAMES, device=pack.cu_seqlens.device, dtype=torch.int32)
    starts = (pack.cu_seqlens[:-1] + moved[:, None]).flatten()
    positions_T = pad(pack.positions_T[:used].repeat(FRAMES), (0, FRAMES * rest))
    runs = tuple(EqualLengthRun(FRAMES * run.sequences, run.length) for run in pack.runs)
    return Pack(
        torch.zeros_like(positions_T),
        positions_T,
        pad(starts, (0, 1), value=FRAMES * used),
        pack.longest,
        runs if len(runs) == 1 else FRAMES * pack.runs,
    )


def _backwards(six: Pack) -> Tensor:
    """Return the places of the tokens of the last three frames, with each sequence reversed."""
    tokens = torch.arange(six.used // 2, six.used, device=six.tokens_T.device)
    lengths = six.cu_seqlens.diff()[six.sequences // 2 :]
    ends = six.cu_seqlens[six.sequences // 2 + 1 :].repeat_interleave(
        lengths, output_size=len(tokens)
    )
    return 2 * ends - lengths.repeat_interleave(lengths, output_size=len(tokens)) - 1 - tokens


def window_tokens(
    letters_N: NDArray[np.uint8], start: NDArray[np.int64], end: NDArray[np.int64]
) -> Tokens:
    """Return the tokens of chunks.

    Args:
        letters_N: letters of all records, end to end.
        start: first letter of each chunk.
        end: one past the last letter of each chunk.
    """
    counts = -(-(end - start) // WINDOW)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    first = np.repeat(start, counts) + WINDOW * within
    last = np.repeat(end, counts)
    bases = np.append(BASE_NUMBERS[letters_N].astype(np.int64), [OTHER_BASE] * SPAN)
    ids = np.zeros(len(first), dtype=np.int64)
    for place in reversed(range(SPAN)):
        ids = 5 * ids + np.where(first + place < last, bases[first + place], OTHER_BASE)
    return Tokens(ids, offsets)


def bases_of(tokens_T: Tensor) -> Tensor:
    """Return the numbers of the bases in the ids of tokens, shape (T, SPAN)."""
    powers = 5 ** torch.arange(SPAN, device=tokens_T.device)
    return (tokens_T[:, None] // powers) % 5


def words_of(bases_TP: Tensor) -> Tensor:
    """Return the words of windows in each frame, shape (..., 6, CODONS), 0 for no word.

    Args:
        bases_TP: numbers of the bases in and behind each window, shape (..., SPAN).
    """
    a, b, c = bases_TP[..., :-2], bases_TP[..., 1:-1], bases_TP[..., 2:]
    is_codon = (a < OTHER_BASE) & (b < OTHER_BASE) & (c < OTHER_BASE)
    first = torch.arange(SPAN - 2, device=bases_TP.device) // 3 * 64 + 1
    last = first.flip(0)
    strands = [
        torch.where(is_codon, place + codon, 0).unflatten(-1, (CODONS, 3))
        for place, codon in ((first, 16 * a + 4 * b + c), (last, 63 - (16 * c + 4 * b + a)))
    ]
    return torch.stack(strands, dim=-3).transpose(-1, -2).flatten(-3, -2)


def _quantise(network: SixFrames) -> None:
    letters_N, offsets = sample_dna()
    tokens = window_tokens(letters_N, offsets[:-1], offsets[1:])
    seen = seen_in(network, pack_sequences(tokens, np.arange(len(tokens.lengths))))
    for part in (network.frames, network.windows):
        int8.quantise(part, seen, is_centred=part.is_whole)
    norm, mix = int8.quantise_pair(network.frames.norm, network.mix, seen)
    network.frames.add_module("norm", norm)
    network.add_module("mix", mix)


def _trial_tokens(_: SixFramesConfig, random: np.random.Generator) -> Tokens:
    ends = WINDOW * offsets_of(_TRIAL_WINDOWS)
    letters_N = random.choice(np.frombuffer(b"ACGT", np.uint8), ends[-1])
    return window_tokens(letters_N, ends[:-1], ends[1:])


#: In other precisions, its two transformers are computed as ESM-2 is.
SPEC = EncoderSpec(
    title="six frames",
    reads="frames",
    config=SixFramesConfig,
    network=SixFrames,
    backends=(cpu_int8(_quantise),),
    trial=Trial(copy.deepcopy, _trial_tokens),
    cpu_precision="int8",
)
