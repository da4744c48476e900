"""Write `proteins.fasta`: the longest open reading frames, from a start on, of `contigs.fasta`.

python examples/cut_proteins.py
"""

from pathlib import Path

from virnucpro.sequences import Nucleotides, SequenceFile

HERE = Path(__file__).parent
COUNT, SHORTEST, LINE = 24, 100, 70


def main() -> None:
    """Find them and write them."""
    found = []
    with SequenceFile(str(HERE / "contigs.fasta")) as file:
        for record in file:
            found += [(record.id, protein) for protein in proteins_of(record.sequence)]
    found.sort(key=lambda item: -len(item[1]))
    with (HERE / "proteins.fasta").open("w") as out:
        for number, (source, protein) in enumerate(found[:COUNT], start=1):
            out.write(f">{source}_protein_{number} {len(protein)} residues\n")
            lines = (protein[i : i + LINE] for i in range(0, len(protein), LINE))
            out.writelines(f"{line}\n" for line in lines)


def proteins_of(sequence: str) -> list[str]:
    """Return the proteins between a start and a stop, on either strand."""
    letters = Nucleotides.join([sequence])
    codes = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
    codons = [a + b + c for a in "TCAG" for b in "TCAG" for c in "TCAG"]
    table = dict(zip(codons, codes, strict=True))
    found = []
    for strand in (letters.forward_text(), letters.reverse_text()):
        for shift in range(3):
            triplets = (strand[i : i + 3] for i in range(shift, len(strand) - 2, 3))
            for part in "".join(table.get(t, "X") for t in triplets).split("*"):
                start = part.find("M")
                if start >= 0 and len(part) - start >= SHORTEST:
                    found.append(part[start:])
    return found


if __name__ == "__main__":
    main()
