"""Run the same commands with two checkouts and compare every output file byte by byte.

    python benchmarks/same_outputs.py --before ../old --after . [--only predict ...]

Each checkout has its own `.venv`. Fields that say when, where and how fast a run was are taken out
before files are compared; prose (descriptions, notes, methods, the words of the report) is compared
apart and told as "prose differs". The exit status is 1 if anything else differs.
"""

import argparse
import gzip
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pysam

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
READS, CONTIGS = str(EXAMPLES / "reads.fastq.gz"), str(EXAMPLES / "contigs.fasta")
PROTEINS, TRUTH = str(EXAMPLES / "proteins.fasta"), str(EXAMPLES / "truth.tsv")
#: Keys of JSON that say when, where or how fast.
RUN_SPECIFIC = {
    "started", "finished", "seconds", "devices", "records_per_second", "tokens_per_second",
    "environment", "place", "path", "date", "version",
}  # fmt: skip
#: Keys of JSON whose text is prose, and the files that are nothing else.
PROSE, PROSE_FILES = {"description", "problem", "notes", "problems"}, {"methods.txt", "README.md"}
#: Parts of a report that depend on the time and the directory.
TIMED = re.compile(
    r'<section id="speed".*?</section>|<time.*?</time>|\d{4}-\d\d-\d\d \d\d:\d\d UTC', re.DOTALL
)
#: The words of a page, between its tags.
WORDS = re.compile(r">[^<]*<")


def predictions(folder: Path) -> dict[str, list[str]]:
    """Return the name and arguments of each `predict`; writes the inputs that examples lack."""
    mates, bam = _pairs(folder), _bam(folder)
    sheet = EXAMPLES / "samples.csv"
    everything = ["--legacy", "--bam", "--reads", "fastq"]
    for call in ("virus", "other", "unscored"):
        everything += ["--write", call]
    return {
        "demo": [READS, CONTIGS],
        "everything": [READS, *everything],
        "gzip": [CONTIGS, READS, "--gzip", "--legacy", "--write", "virus", "--write", "other"],
        "pairs": ["-1", mates[0], "-2", mates[1], "--bam"],
        "interleaved": ["--interleaved", mates[2]],
        "bam": [bam, "--bam", "--write", "other"],
        "prevalence": [READS, "--prevalence", "0.01", "--max-fdr", "0.2"],
        "pair encoders": [CONTIGS, "--bundle", "compact-pair", "--frames", "segments", "--legacy"],
        "two workers": [READS, "--device", "cpu,cpu", "--block-chunks", "50"],
        "sheet": ["--samples", str(sheet)],
    }


def commands(folder: Path, only: set[str]) -> dict[str, list[str]]:
    """Return the name and arguments of every command, in an order in which they can run."""
    found = {}
    for name, arguments in predictions(folder).items():
        found[f"predict {name}"] = ["predict", *arguments, "-o", f"predict {name}", "-q"]
    for letters, source in (("protein", PROTEINS), ("dna", CONTIGS)):
        for form in ("parquet", "hdf5", "npz", "safetensors"):
            for pooling in ("mean", "tokens") if letters == "protein" else ("mean", "cls"):
                out = f"embed {letters} {form} {pooling}"
                model = f"compact-pair:{letters}"
                options = ["--model", model, "--format", form, "--pooling", pooling]
                found[out] = ["embed", source, *options, "-o", out, "-q"]
    labels = _labels(folder)
    train = [CONTIGS, READS, "--labels", labels, "--group", "record", "-q"]
    found["train head"] = ["train", *train, "-o", "train head"]
    found["train network"] = [
        "train", *train, "--end-to-end", "--steps", "8", "-o", "train network",
    ]  # fmt: skip
    scored = ["predict demo", TRUTH]
    found["evaluate"] = ["evaluate", *scored, "-o", "evaluate", "--bootstrap", "50"]
    found["calibrate"] = ["calibrate", *scored, "-o", "calibrate"]
    found["report one"] = ["report", "predict demo", "-o", "report one.html"]
    found["report two"] = ["report", "predict demo", "predict pairs", "-o", "report two.html"]
    for name in ("tables", "run", "summary", "embed-summary"):
        found[f"schema {name}"] = ["schema", name]
    found["models list"] = ["models", "list"]
    return {name: words for name, words in found.items() if not only or words[0] in only}


def _pairs(folder: Path) -> tuple[str, str, str]:
    lines = gzip.decompress(Path(READS).read_bytes()).decode().splitlines()
    records = ["\n".join(lines[i : i + 4]) for i in range(0, len(lines), 4)]
    halves = len(records) // 2
    named = [
        [f"@pair{i} {mate}\n" + record.split("\n", 1)[1] for i, record in enumerate(part)]
        for mate, part in ((1, records[:halves]), (2, records[halves : 2 * halves]))
    ]
    files = [folder / f"mates{n}.fastq" for n in (1, 2)]
    for file, part in zip(files, named, strict=True):
        file.write_text("\n".join(part) + "\n")
    both = folder / "both.fastq"
    both.write_text("\n".join(x for pair in zip(*named, strict=True) for x in pair) + "\n")
    return str(files[0]), str(files[1]), str(both)


def _bam(folder: Path) -> str:
    path = folder / "reads.bam"
    with (
        pysam.FastxFile(READS) as reads,
        pysam.AlignmentFile(str(path), "wb", header={"HD": {"VN": "1.6"}}) as file,
    ):
        for read in reads:
            line = pysam.AlignedSegment()
            line.query_name, line.flag = read.name, 4
            line.query_sequence = read.sequence
            line.query_qualities = pysam.qualitystring_to_array(read.quality)
            file.write(line)
    return str(path)


def _labels(folder: Path) -> str:
    """Write labels for all examples: those of the truth, and `is_virus` by turns for the rest."""
    path = folder / "labels.tsv"
    rows = ["record\tis_virus"]
    for source in (CONTIGS, READS):
        with pysam.FastxFile(source) as records:
            rows += [f"{record.name}\t{number % 2}" for number, record in enumerate(records)]
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def run(checkout: Path, words: list[str], folder: Path, name: str) -> None:
    """Run a command in `folder` and keep what it prints."""
    program = checkout.absolute() / ".venv" / "bin" / "virnucpro"
    done = subprocess.run(  # noqa: S603 (the commands above)
        [program, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 3):
        print(f"{checkout}: virnucpro {' '.join(words)}: status {done.returncode}: {done.stderr}")
    (folder / f"{name}.stdout").write_text(done.stdout)
    (folder / f"{name}.status").write_text(str(done.returncode))


def _without(value: Any, keys: set[str]) -> Any:  # noqa: ANN401 (what JSON holds)
    if isinstance(value, dict):
        return {k: _without(v, keys) for k, v in value.items() if k not in keys}
    return [_without(v, keys) for v in value] if isinstance(value, list) else value


def read(path: Path) -> tuple[object, object]:  # noqa: PLR0911 (one for each kind of file)
    """Return what must be the same of a file, and its prose."""
    content = path.read_bytes()
    if path.name in PROSE_FILES:
        return b"", content
    if path.suffix == ".json":
        found = json.loads(content)
        kept = _without(found, RUN_SPECIFIC)
        return json.dumps(_without(kept, PROSE)), json.dumps(kept)
    if path.suffix == ".html":
        page = TIMED.sub("", content.decode())
        return WORDS.sub("><", page), page
    if path.suffix == ".stdout":
        lines = content.decode()
        return re.sub(r"[^\d\n]+", " ", lines), lines
    if path.name == "samples.tsv":  # its columns of time and rate come last but one
        rows = [line.split(b"\t") for line in content.splitlines()]
        timed = {rows[0].index(name) for name in (b"seconds", b"records_per_second")}
        return [[x for i, x in enumerate(row) if i not in timed] for row in rows], b""
    if path.name == "config.toml":
        return re.sub(rb"^#.*\n", b"", content), content
    if path.suffix == ".bam":
        return _bam_lines(path), b""
    return content, b""


def _bam_lines(path: Path) -> list[str]:
    with pysam.AlignmentFile(str(path), "rb", check_sq=False) as file:
        return [line.to_string() for line in file]


def compared(before: Path, after: Path) -> Counter[str]:
    """Print a line for each file that differs; return how many are how."""
    found: Counter[str] = Counter()
    names = sorted(
        {
            str(p.relative_to(root))
            for root in (before, after)
            for p in root.rglob("*")
            if p.is_file()
        }
    )
    for name in names:
        one, other = before / name, after / name
        if not (one.is_file() and other.is_file()):
            verdict = f"only {'before' if one.is_file() else 'after'}"
        else:
            same, prose = (a == b for a, b in zip(read(one), read(other), strict=True))
            verdict = "differs" if not same else "same" if prose else "prose differs"
        found[verdict] += 1
        if verdict != "same":
            print(f"{verdict:<14} {name}")
    return found


def main() -> None:
    """Run everything twice and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--after", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[], help="commands: predict, embed, train ...")
    parser.add_argument("--keep", type=Path, help="directory to keep the outputs in")
    options = parser.parse_args()
    top = options.keep or Path(tempfile.mkdtemp())
    inputs = top / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    chosen = commands(inputs, set(options.only))
    for side in ("before", "after"):
        folder = top / side
        folder.mkdir(exist_ok=True)
        for name, words in chosen.items():
            run(getattr(options, side), words, folder, name)
    found = compared(top / "before", top / "after")
    print(f"{len(chosen)} commands; files: {dict(found)}; outputs in {top}")
    sys.exit(bool(set(found) - {"same", "prose differs"}))


if __name__ == "__main__":
    main()
