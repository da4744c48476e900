"""The nf-core module: its commands run in a shell, as Nextflow would fill them in."""

import gzip
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from processes import EXAMPLES, ROOT, program_on_path
from virnucpro.prediction.outputs.paths import Outputs

MODULE = ROOT / "integrations" / "nextflow" / "modules" / "virnucpro" / "predict"
MAIN = (MODULE / "main.nf").read_text()
#: What the module's outputs are called -> the pattern that Nextflow finds each by.
OUTPUTS = {
    name: pattern
    for pattern, name in re.findall(r'path\("\$\{prefix\}/(.+?)"\), emit: (\w+)', MAIN)
}


def command_of(section: str, **values: str) -> str:
    """Return the command of `script` or `stub`, with values for what it names."""
    text = MAIN.split(f"    {section}:\n")[1].split('"""')[1]
    text = re.sub(r"(?<!\\)\$\{([\w.]+)\}", lambda name: values[name[1]], text)
    return text.replace("\\\\", "\\").replace("\\$", "$")


def call(directory: Path, command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["sh", "-eu", "-c", command],
        cwd=directory,
        env=program_on_path(directory / "bin"),
        capture_output=True,
        check=False,
        text=True,
    )


def found_in(directory: Path) -> dict[str, list[str]]:
    """Return the files that each output's pattern finds."""
    both = {name: {p.replace("{,.gz}", end) for end in ("", ".gz")} for name, p in OUTPUTS.items()}
    return {
        name: sorted(path.name for pattern in patterns for path in directory.glob(pattern))
        for name, patterns in both.items()
    }


def values(args: str) -> dict[str, str]:
    return {
        "sequences": "contigs.fasta bad.fasta",
        "prefix": "sample1",
        "device": "cpu",
        "with_bundle": "",
        "args": args,
        "task.cpus": "1",
    }


def test_the_script_makes_what_the_outputs_find(tmp_path: Path) -> None:
    (tmp_path / "contigs.fasta").symlink_to(EXAMPLES[1])
    (tmp_path / "bad.fasta").write_text(">good\n" + "ATGGCTGCA" * 40 + "\n>bad\nMKV123\n")
    done = call(tmp_path, command_of("script", **values("--gzip")))
    assert done.returncode == 0, done.stderr
    assert "bad" in done.stderr
    found = found_in(tmp_path / "sample1")
    assert found["records"] == ["records.tsv.gz"]
    assert found["multiqc"] == ["virnucpro_calls_mqc.json", "virnucpro_stats_mqc.json"]
    assert all(found.values())
    announced = {
        path.name for path, _ in Outputs(tmp_path, compressed=True, report=True).described()
    }
    assert {name for names in found.values() for name in names} == announced
    table = gzip.decompress((tmp_path / "sample1" / "records.tsv.gz").read_bytes())
    assert table.count(b"\n") == 1 + 96 + 2


def test_a_failure_is_a_failure(tmp_path: Path) -> None:
    done = call(tmp_path, command_of("script", **values("--no-such-option")))
    assert done.returncode != 0
    assert "no-such-option" in done.stderr


def test_the_stub_makes_what_the_outputs_find(tmp_path: Path) -> None:
    done = call(tmp_path, command_of("stub", prefix="sample1"))
    assert done.returncode == 0, done.stderr
    found = found_in(tmp_path / "sample1")
    announced = {path.name for path, _ in Outputs(tmp_path, report=True).described()}
    assert {name for names in found.values() for name in names} == announced
    assert all(found.values())


def test_the_version_is_told(tmp_path: Path) -> None:
    (command,) = re.findall(r'eval\("(.+?)"\)', MAIN)
    done = call(tmp_path, command)
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", done.stdout), done
    environment = yaml.safe_load((MODULE / "environment.yml").read_text())
    assert environment["dependencies"] == [f"virnucpro={done.stdout.strip()}"]
    assert f'container "virnucpro:{done.stdout.strip()}"' in MAIN


def test_the_description_names_every_input_and_output() -> None:
    meta = yaml.safe_load((MODULE / "meta.yml").read_text())
    emitted = re.findall(r"emit: (\w+)", MAIN)
    assert list(meta["output"]) == emitted
    for name, pattern in OUTPUTS.items():
        ((_, described),) = meta["output"][name]
        assert list(described) == [f"${{prefix}}/{pattern}"]
    assert [list(x) for x in meta["input"][0]] == [["meta"], ["sequences"]]
    assert list(meta["input"][1]) == ["bundle"]


@pytest.mark.parametrize("name", ["meta.yml", "environment.yml"])
def test_the_rest_is_yaml(name: str) -> None:
    assert isinstance(yaml.safe_load((MODULE / name).read_text()), dict)
