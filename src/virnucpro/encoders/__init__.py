"""The networks, one readable file each, and what they share; `table` lists them.

Shape legend: T tokens of a pack, S sequences, D model width, H heads, A width of one head,
L length of one sequence, F feed-forward width, V vocabulary.
"""

from virnucpro.encoders.byte_pairs import DnaTokenizer
from virnucpro.encoders.dnabert_s import DnabertS, DnabertSConfig
from virnucpro.encoders.esm2 import Esm2, Esm2Config
from virnucpro.encoders.network import EncoderConfig, Network, Transformer
from virnucpro.encoders.packing import (
    Pack,
    Tokens,
    encode,
    encode_means,
    pack_by_length,
    pack_sequences,
)
from virnucpro.encoders.tokens import protein_tokens

__all__ = [
    "DnaTokenizer",
    "DnabertS",
    "DnabertSConfig",
    "EncoderConfig",
    "Esm2",
    "Esm2Config",
    "Network",
    "Pack",
    "Tokens",
    "Transformer",
    "encode",
    "encode_means",
    "pack_by_length",
    "pack_sequences",
    "protein_tokens",
]
