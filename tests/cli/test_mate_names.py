"""Names of mates through `predict`."""

from pathlib import Path
from typing import Any

import polars as pl

import virnucpro
from read_files import Fastq, bam_lines, in_turn, paired_lines, write_bam, write_fastq
from virnucpro.bundles import Bundle


def test_mates_named_as_archives_do(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """By fastq-dump -I, in two files, in turn, and as BAM without the flags' usual names."""
    pairs = [
        [Fastq(f"SRR1.{n}.{mate} {n} length=60", "ACGGTCATTC" * 6, "I" * 60) for n in range(3)]
        for mate in (1, 2)
    ]
    first, second = (write_fastq(tmp_path / f"{n}.fq", reads) for n, reads in enumerate(pairs))
    turned = write_fastq(tmp_path / "i.fq", in_turn(*pairs))
    flagged = write_bam(tmp_path / "f.bam", paired_lines(*pairs))
    ways: dict[str, Any] = {
        "files": {"inputs": [], "mates": [(first, second)]},
        "turn": {"inputs": turned, "interleaved": True},
        "bam": {"inputs": flagged},
    }
    for name, how in ways.items():
        out = tmp_path / name
        virnucpro.predict(
            out=out, bundle=tiny_bundle.path, bam=True, device="cpu", report=False, **how
        )
        ids = pl.read_csv(out / "records.tsv", separator="\t")["record"].to_list()
        assert ids == ["SRR1.0", "SRR1.1", "SRR1.2"]
        kept = [f"{id_}{f'.{mate}' if name == 'bam' else ''}" for id_ in ids for mate in (1, 2)]
        assert [line.split("\t")[0] for line in bam_lines(out / "reads.bam")] == kept
