"""How far storing weights in 8 or 4 bits moves the protein encoder of `compact-pair`; on a CPU.

    python benchmarks/stored_bits.py

Proteins are those of the example contigs. The second cosine is about the mean of all proteins: that
is what tells one from another.
"""

import copy
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from virnucpro.bundles import load_model
from virnucpro.bundles.loading import load_encoder
from virnucpro.encoders import encode_means, protein_tokens
from virnucpro.encoders.packed import pack
from virnucpro.sequences import SequenceFile

if TYPE_CHECKING:
    from virnucpro.encoders import Esm2

_PROTEINS = Path(__file__).parents[1] / "examples" / "proteins.fasta"


def main() -> None:
    """Print the least cosines."""
    with SequenceFile(str(_PROTEINS), "protein") as file:
        proteins = [record.sequence for record in file]
    residues = np.frombuffer("".join(proteins).encode(), dtype=np.uint8)
    tokens = protein_tokens(residues, np.cumsum([0, *map(len, proteins)]).astype(np.int64))
    cpu = torch.device("cpu")
    exact = load_encoder(load_model("compact-pair:protein").stored, cpu, torch.float32)
    expected_SD = encode_means(exact, exact.config.width, tokens, 2048, cpu)
    for bits in (8, 4):
        network = copy.deepcopy(exact)
        pack(cast("Esm2", network), bits)
        torch.set_num_threads(1)  # one block is expanded at a time
        found_SD = encode_means(network, network.config.width, tokens, 2048, cpu)
        mean_D = expected_SD.mean(dim=0)
        plain = torch.cosine_similarity(found_SD, expected_SD)
        centred = torch.cosine_similarity(found_SD - mean_D, expected_SD - mean_D)
        print(
            f"{bits} bits, {len(proteins)} proteins: least cosine {float(plain.min()):.5f}, "
            f"about the mean {float(centred.min()):.4f}"
        )


if __name__ == "__main__":
    main()
