"""Run the same commands in two checkouts and compare every output file, byte by byte.

    python benchmarks/same_outputs.py --before ../old --after . [--only predict train] [--keep DIR]

Run this before you land a change that must not change results. Each checkout needs its own
`.venv` with the development dependencies; this script needs only the standard library.

The commands cover `predict` with all of its outputs and kinds of input, a sample sheet, `embed` in
all formats and poolings, `train`, `evaluate`, `calibrate`, `report`, `models`, `schema` and help.
Both checkouts read the same input files and write into scratch directories. A file is `same` if
its bytes are the same after these are masked: measured fields (`MEASURED`), dates, and the paths of
the checkouts and scratch directories. Prose (messages, methods, descriptions, the text of the
report) only has to hold the same numbers, and help the same options; a file that differs in nothing
else is listed as `prose differs`. The exit status is 1 if a file differs or is missing on one side,
or if a command ends with an unexpected exit status.

Not covered: GPUs, Ray, `torchrun`, downloads, and `bench` and `doctor`, which describe a machine.
"""

import argparse
import bz2
import gzip
import lzma
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

#: Fields of JSON and columns of samples.tsv that differ from run to run.
MEASURED = (
    "started", "finished", "seconds", "frames_per_second", "records_per_second",
    "tokens_per_second", "utilisation", "memory_gib", "power_watts", "temperature_celsius",
    "joules_per_million_frames", "environment",
)  # fmt: skip
#: Fields of JSON that hold text for people, and files of nothing else.
PROSE = ("description", "title", "problem", "problems", "notes", "ways")
PROSE_SUFFIXES = {".txt", ".md", ".stdout", ".stderr"}

_STRING = r'"(?:[^"\\]|\\.)*"'
_NESTED = r"\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}"
_MEASURED = re.compile(rf'("(?:{"|".join(MEASURED)})": ?)({_NESTED}|{_STRING}|[-\w.+]+)')
#: Which device took how many blocks is chance.
_DEVICES = re.compile(r'"devices": ?\[\s*\{[^]]*\]')
_PROSE = re.compile(rf'("(?:{"|".join(PROSE)})": ?)({_STRING}|\[[^][]*\])')
_DATE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\+00:00|Z| UTC)?")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
#: Scripts, styles and cells of a page, which are compared whole, or its other text.
_TEXT = re.compile(r"(<(script|style)\b.*?</\2>|<td\b[^<]*)|>([^<]+)(?=<)", re.DOTALL)
_SPEED = re.compile(r'<section id="speed".*?</section>|<p>[\d.]+ records and .*?</p>', re.DOTALL)
_ATTRIBUTE = re.compile(r'\b(data-tip|aria-label|title|alt|content)="([^"]*)"')

SHEET = """sample,fastq_1,fastq_2
reads,reads.fastq.gz,
two_files,contigs.fasta.xz,
two_files,hard.fasta,
pairs,mates_1.fastq,mates_2.fastq
damaged,damaged.fastq.gz,
"""
#: Parts that run only if they are named: minutes.
SLOW = {"network"}
#: Names of the commands that ended with a status that they should not have.
unexpected: list[str] = []


class Case(NamedTuple):
    """A command: its name is also that of its output; `needs` names commands that it needs."""

    part: str
    name: str
    words: list[str]
    needs: tuple[str, ...] = ()
    stdin: Path | None = None
    status: int = 0


def write_inputs(checkout: Path, folder: Path) -> dict[str, Path]:
    """Write the input files into `folder`; return each by its short name."""
    examples = checkout / "examples"
    reads = gzip.decompress((examples / "reads.fastq.gz").read_bytes())
    contigs = (examples / "contigs.fasta").read_bytes()
    lines = reads.decode().splitlines()
    records = [lines[i : i + 4] for i in range(0, len(lines), 4)]
    mates = [
        "\n".join([f"@pair{i // 2} {1 + i % 2}", *record[1:]]) for i, record in enumerate(records)
    ]
    half = len(contigs.split(b">")) // 2
    parts = [b">" + x for x in contigs.split(b">")[1:]]
    contents = {
        "reads.fastq.gz": (examples / "reads.fastq.gz").read_bytes(),
        "contigs.fasta": contigs,
        "proteins.fasta": (examples / "proteins.fasta").read_bytes(),
        "truth.tsv": (examples / "truth.tsv").read_bytes(),
        "samples.csv": SHEET.encode(),
        "damaged.fastq.gz": (examples / "reads.fastq.gz").read_bytes()[:9000],
        "contigs.fasta.bz2": bz2.compress(contigs),
        "contigs.fasta.xz": lzma.compress(contigs),
        "mates_1.fastq": "\n".join([*mates[::2], ""]).encode(),
        "mates_2.fastq": "\n".join([*mates[1::2], ""]).encode(),
        "mates.fastq": "\n".join([*mates, ""]).encode(),
        "hard.fasta": _hard(contigs).encode(),
        "virus.fasta": b"".join(parts[:half]),
        "other.fasta": b"".join(parts[half:]),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    program = "import pathlib, sys, published_files as p; p.written(pathlib.Path(sys.argv[1]))"
    python = checkout / ".venv" / "bin" / "python"
    published = folder / "published"
    subprocess.run(  # noqa: S603 (a program of the caller)
        [python, "-c", program, published], cwd=checkout / "tests", check=True
    )
    return {name: folder / name for name in (*contents, "published")}


def _hard(contigs: bytes) -> str:
    """Return records that are long, short, lower-case, ambiguous or without information."""
    letters = random.Random(1)  # noqa: S311 (nothing secret)
    noise = "".join(letters.choices("ACGT", k=4000))
    bases = "".join(x for x in contigs.decode().splitlines() if not x.startswith(">"))
    records = {
        "long": bases[:12_000],
        "prophage": noise + bases[-9000:] + noise[::-1],
        "short": "ACGTTG",
        "lower": bases[:700].lower(),
        "unknown": "N" * 600,
        "ambiguous": "".join("RYKMSWN"[i % 7] if i % 9 == 0 else x for i, x in enumerate(noise)),
        "repeat": "A" * 900,
        "stops": "TAATTAGCTAA" * 60,
    }
    return "".join(f">{name} {len(bases)} bases\n{bases}\n" for name, bases in records.items())


def predictions(x: dict[str, str]) -> list[Case]:
    """Return the commands of `predict`."""
    calls = [word for call in ("virus", "other", "unscored") for word in ("--write", call)]
    reads, contigs, hard = x["reads.fastq.gz"], x["contigs.fasta"], x["hard.fasta"]
    mates = ["-1", x["mates_1.fastq"], "-2", x["mates_2.fastq"]]
    pair = ["--bundle", "compact-pair"]
    found: dict[str, list[str]] = {
        "demo": [reads, contigs],
        "all": [reads, "--legacy", "--bam", "--reads", "fastq", *calls],
        "gzip": [x["contigs.fasta.bz2"], hard, "--gzip", "--legacy", "--bam", *calls],
        "hard": [hard, "--block-chunks", "20", "--no-report", *calls],
        "mates": [*mates, "--bam", "--reads", "fastq", *calls],
        "interleaved": ["--interleaved", x["mates.fastq"], "--gzip", "--legacy"],
        "priors": [reads, "--prevalence", "0.01", "--max-fdr", "0.2"],
        "fp32": [contigs, "--precision", "fp32", "--chunk-length", "300", "--no-report"],
        "two-workers": [reads, "--device", "cpu,cpu", "--block-chunks", "50", "--no-report"],
        "pair": [reads, contigs, *pair, "--legacy"],
        "segments": [hard, *pair, "--frames", "segments", "--chunk-length", "300", "--bam"],
        "whole": [contigs, *pair, "--frames", "whole", "--no-report"],
    }
    cases = [Case("predict", name, words) for name, words in found.items()]
    cases.append(Case("predict", "bam", ["all/reads.bam", "--bam", "--no-report"], ("all",)))
    cases.append(
        Case("predict", "paired-bam", ["mates/reads.bam", "--bam", "--no-report"], ("mates",))
    )
    cases.append(Case("predict", "stdin", ["-"], stdin=Path(contigs)))
    cases.append(Case("predict", "missing", ["nowhere.fasta"], status=1))
    cases.append(Case("sheet", "sheet", ["--samples", x["samples.csv"], "--bam"], status=3))
    head = [x["published"] + "/300_model.pth", "--chunk-length", "300"]
    bundles = {
        "published": ("published-files", ["published", "--legacy"]),
        "published-head": ("published-files", ["published", "--head", *head]),
        "calibrated": ("calibration", ["calibration", "--max-fdr", "0.1"]),
    }
    for name, (made_by, words) in bundles.items():
        part = "calibrate" if name == "calibrated" else "models"
        cases.append(Case(part, name, [contigs, "--bundle", *words], (made_by,)))
    return [case._replace(words=["predict", *case.words, "-o", case.name, "-q"]) for case in cases]


def embeddings(x: dict[str, str]) -> list[Case]:
    """Return the commands of `embed`."""
    protein, dna = (["--model", f"compact-pair:{kind}"] for kind in ("protein", "dna"))
    found = {
        f"{form}-{pooling}": [x["proteins.fasta"], *protein, "--format", form, "--pooling", pooling]
        for form in ("parquet", "hdf5", "npz", "safetensors")
        for pooling in ("mean", "tokens")
    }
    found["parquet-cls"] = [x["proteins.fasta"], *protein, "--pooling", "cls"]
    for pooling in ("mean", "cls"):
        found[f"dna-{pooling}"] = [x["contigs.fasta"], *dna, "--pooling", pooling]
    found["fp16-layer"] = [x["proteins.fasta"], *protein, "--layer", "1"]
    found["fp16-layer"] += ["--dtype", "fp16", "--device", "cpu,cpu"]
    cases = [Case("embed", name, words) for name, words in found.items()]
    words = [x["proteins.fasta"], "--model", "published:protein"]
    cases.append(Case("models", "published-protein", words, ("published-files",)))
    return [case._replace(words=["embed", *case.words, "-o", case.name, "-q"]) for case in cases]


def others(x: dict[str, str]) -> list[Case]:
    """Return the commands other than `predict` and `embed`."""
    truth, labels = x["truth.tsv"], [x["virus.fasta"], x["other.fasta"]]
    sources = [x["contigs.fasta"], x["reads.fastq.gz"], "--labels", truth]
    fitted = ["calibrate", "pair", truth, "--bundle", "compact-pair", "-o", "calibration"]
    published = [x["published"] + y for y in ("/esm2", "/DNABERT-S", "/500_model.pth")]
    chunks = ["--chunk-length", "500"]
    cases = [
        Case("train", "head", ["train", *sources, "-o", "head"]),
        Case("network", "network", ["train", *sources, "--end-to-end", "--steps", "8"]),
        Case("train", "pair-head", ["train", *labels, "--encoders", "compact-pair"]),
        Case("evaluate", "evaluation", ["evaluate", "demo", truth, "--bootstrap", "50"], ("demo",)),
        Case("evaluate", "table", ["evaluate", "pair/records.tsv", *labels], ("pair",)),
        Case("calibrate", "calibration", fitted, ("pair",)),
        Case("models", "published-files", ["models", "add", "published", *published, *chunks]),
        Case("models", "list", ["models", "list"], ("published-files",)),
        Case("models", "path", ["models", "path", "published"], ("published-files",)),
        Case("report", "page.html", ["report", "pair", "-o", "page.html"], ("pair",)),
        Case("report", "several.html", ["report", "demo", "pair"], ("demo", "pair")),
        Case("report", "sheet.html", ["report", "sheet", "-o", "sheet.html"], ("sheet",)),
        Case("help", "version", ["--version"]),
        Case("help", "cite", ["cite"]),
        Case("help", "bibtex", ["cite", "--format", "bibtex"]),
    ]
    files, pages = ("tables", "run", "summary", "embed-summary"), ("predict", "embed", "train")
    cases += [Case("schema", f"schema-{name}", ["schema", name]) for name in files]
    cases += [Case("help", f"help-{name}", [name, "--help"]) for name in (*pages, "calibrate")]
    writing = {"network", "pair-head", "evaluation", "table", "several.html"}
    return [c._replace(words=[*c.words, "-o", c.name]) if c.name in writing else c for c in cases]


def run(checkout: Path, folder: Path, case: Case) -> float:
    """Run a command in `folder`, keep what it prints, return how many seconds it took."""
    program = checkout / ".venv" / "bin" / "virnucpro"
    home = str(folder.with_name(f"home-{folder.name}"))
    apart = {"VIRNUCPRO_HOME": str(folder / "bundles"), "HOME": home, "XDG_CACHE_HOME": home}
    started = time.monotonic()
    done = subprocess.run(  # noqa: S603 (a program of the caller)
        [program, *case.words], cwd=folder, capture_output=True, text=True, check=False,
        input=case.stdin.read_text() if case.stdin else None, env=os.environ | apart,
    )  # fmt: skip
    suffix = {"schema": ".json", "help": ".help"}.get(case.part, ".stdout")
    status = "" if case.part == "schema" else f"status {done.returncode}\n"
    (folder / f"{case.name}{suffix}").write_text(status + done.stdout)
    (folder / f"{case.name}.stderr").write_text(done.stderr)
    if done.returncode != case.status:
        print(f"{checkout}: {case.name}: exit status {done.returncode}: {done.stderr.strip()}")
        unexpected.append(case.name)
    return time.monotonic() - started


def _numbers(text: str) -> str:
    return " ".join(_NUMBER.findall(text))


def read(path: Path, masked: list[Path]) -> tuple[object, object]:
    """Return a file's content without measured fields, and the same without prose."""
    content = path.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return content, content
    for place in masked:
        text = text.replace(str(place), "*")
    if path.suffix == ".json" or path.name.endswith("_mqc.json"):
        if not path.name.startswith("schema-"):
            text = _DEVICES.sub(lambda m: _NUMBER.sub("*", m[0]), _MEASURED.sub(r"\1*", text))
        return text, _PROSE.sub(lambda m: m[1] + _numbers(m[2]), text)
    text = _DATE.sub("*", text)
    if path.suffix == ".html":
        text = _SPEED.sub(lambda m: _NUMBER.sub("*", m[0]), text)
        bare = _ATTRIBUTE.sub(lambda m: f'{m[1]}="{_numbers(m[2])}"', text)
        return text, _TEXT.sub(lambda m: m[1] or ">" + _numbers(m[3]), bare)
    if path.name == "samples.tsv":
        rows = [line.split("\t") for line in text.splitlines()]
        kept = [i for i, name in enumerate(rows[0]) if name not in MEASURED]
        text = "\n".join("\t".join(row[i] for i in kept) for row in rows)
    if path.name == "config.toml":
        return text, re.sub(r"(?m)^#.*\n", "", text)
    if path.suffix == ".help":
        return text, sorted(set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", text)))
    bare = "" if path.suffix == ".stderr" else _numbers(text)
    return text, bare if path.suffix in PROSE_SUFFIXES else text


def compared(folders: list[Path], masked: list[Path]) -> Counter[str]:
    """Print what is to be said of each output and return how many files are how."""
    found: Counter[str] = Counter()
    same: Counter[str] = Counter()
    files = {p.relative_to(x) for x in folders for p in x.rglob("*") if p.is_file()}
    for name in sorted(files):
        paths = [folder / name for folder in folders]
        if not all(path.exists() for path in paths):
            verdict = "only before" if paths[0].exists() else "only after"
        else:
            (whole, bare), (other_whole, other_bare) = (read(p, masked) for p in paths)
            verdict = "differs" if bare != other_bare else "prose differs"
            verdict = "same" if whole == other_whole else verdict
        found[verdict] += 1
        if verdict == "same":
            same[name.parts[0] if len(name.parts) > 1 else str(name)] += 1
        else:
            print(f"{verdict:<14} {name}")
    for output, count in same.items():
        print(f"{'same':<14} {output}{f' ({count} files)' if count > 1 else ''}")
    return found


def chosen(cases: list[Case], parts: list[str]) -> list[Case]:
    """Return the cases of these parts and those that they read, in an order that works."""
    by_name = {case.name: case for case in cases}
    found: dict[str, Case] = {}

    def add(case: Case) -> None:
        for name in case.needs:
            add(by_name[name])
        found[case.name] = case

    for case in cases:
        if case.part in parts or (not parts and case.part not in SLOW):
            add(case)
    return list(found.values())


def main() -> None:
    """Run everything in both checkouts and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--before", type=Path, required=True, help="a checkout with its .venv")
    parser.add_argument("--after", type=Path, required=True, help="another")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="PART", help="all but network, if not given"
    )
    parser.add_argument("--keep", type=Path, help="an empty directory for inputs and outputs")
    options = parser.parse_args()
    checkouts = [options.before.absolute(), options.after.absolute()]
    with tempfile.TemporaryDirectory() as scratch:
        top = (options.keep or Path(scratch)).absolute()
        folders = [top / "old", top / "new"]
        for folder in (top / "inputs", *folders):
            folder.mkdir(parents=True)
        inputs = {k: str(v) for k, v in write_inputs(checkouts[0], top / "inputs").items()}
        cases = [*predictions(inputs), *embeddings(inputs), *others(inputs)]
        parts = {case.part for case in cases}
        if unknown := set(options.only) - parts:
            parser.error(f"--only {' '.join(unknown)}: give some of {' '.join(sorted(parts))}")
        started = time.monotonic()
        with ThreadPoolExecutor(2) as pool:
            for case in (todo := chosen(cases, options.only)):
                took = max(pool.map(run, checkouts, folders, [case, case]))
                print(f"{took:5.1f} s  {case.name}", file=sys.stderr)
        found = compared(folders, [*checkouts, *folders])
        seconds = time.monotonic() - started
    counts = ", ".join(f"{count} {verdict}" for verdict, count in found.items())
    print(f"{len(todo)} commands in {seconds:.0f} s; files: {counts}")
    sys.exit(1 if unexpected or set(found) - {"same", "prose differs"} else 0)


if __name__ == "__main__":
    main()
