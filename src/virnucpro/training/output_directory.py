"""The output directory of a training: its lock, its settings and its files."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import msgspec

from virnucpro.bundles import Bundle
from virnucpro.bundles.assemble import with_trained_head
from virnucpro.bundles.manifest import MANIFEST_FILE
from virnucpro.errors import RunError
from virnucpro.files import is_partial, remove_partial, write_json, write_once, write_whole
from virnucpro.runs.partial_files import PartialFiles
from virnucpro.sequences.frames import FrameKind
from virnucpro.system.directories import Watch, busy, open_directory, own_directory
from virnucpro.training.curves import draw_curves
from virnucpro.training.export import write_classifier
from virnucpro.training.heads import FittedHead
from virnucpro.training.labelled import Labelled, LabelledRecord
from virnucpro.training.training_report import Report, bundle_card, curves_csv
from virnucpro.training.tuning import Tuned

BUNDLE, REPORT_FILE, SETTINGS_FILE = "bundle", "training.json", "settings.json"


@contextmanager
def locked_directory(
    directory: Path, labelled: Labelled, settings: Mapping[str, object]
) -> Iterator[Watch]:
    """Lock a directory for one training with these sequences and settings.

    Yields:
        a watch that checks that the directory still exists.

    Raises:
        RunError: the directory holds another training or other files, belongs to a running process,
            or cannot be written.
    """
    content = msgspec.json.encode({**settings, "sequences": _count_and_digest(labelled.records)})
    lock = open_directory(directory, lambda: _check_settings(directory, content))
    with lock:
        if not lock.take():
            raise busy(directory)
        remove_partial(directory)
        yield Watch(directory)


def _check_settings(directory: Path, content: bytes) -> None:
    """Write the settings into an empty directory, or compare them with the stored ones."""
    path = directory / SETTINGS_FILE
    if not path.exists():
        names = [file.name for file in directory.iterdir() if file.name != SETTINGS_FILE]
        if any(not is_partial(name, of=SETTINGS_FILE) for name in names):
            raise RunError(f"{directory}: is not empty and holds no training; give a new directory")
        write_once(path, content)
    now = msgspec.json.decode(content)
    try:
        before = msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RunError(
            f"{path}: does not belong to a training ({error}); give a new directory"
        ) from error
    differs = [f"{k} was {before.get(k)}, is {now[k]}" for k in now if before.get(k) != now[k]]
    if differs:
        raise RunError(
            f"{directory}: holds another training ({'; '.join(differs)}); give a new directory"
        )


def _count_and_digest(records: Sequence[LabelledRecord]) -> str:
    """Return the number of sequences, and a digest of their letters, labels and annotation."""
    digest = sha256()
    for record in records:
        digest.update(msgspec.json.encode(record))
    return f"{len(records):,} (sha256 {digest.hexdigest()[:12]})"


def write_records(path: Path, labelled: Labelled) -> None:
    """Write the sequences as FASTA; their ids are their indices."""
    if path.exists():
        return
    with PartialFiles() as files:
        file = files.open(path)
        for number, record in enumerate(labelled.records):
            file.write(f">{number} {record.class_name}:{record.id}\n{record.letters}\n".encode())


def write_results(
    directory: Path,
    encoders: Bundle,
    trained: FittedHead | Tuned,
    report: Report,
    *,
    name: str,
    frames: FrameKind,
    chunk_length: int,
) -> None:
    """Write curves, report, bundle and card.

    Args:
        directory: output directory of the training.
        encoders: bundle that the encoders, or the whole network, come from.
        trained: a head, or the whole network.
        report: report of the training.
        name: name of the new bundle.
        frames: which frames were used.
        chunk_length: bases of a chunk.
    """
    write_whole(directory / "curves.csv", curves_csv(report.epochs))
    draw_curves(report.epochs, report.best, directory / "curves.png")
    write_json(directory / REPORT_FILE, report)
    old, bundle = encoders.manifest, directory / BUNDLE
    count = sum(map(sum, report.classes.values()))
    data = f"trained on {count:,} sequences; see README.md"
    description = msgspec.structs.replace(
        old, name=name, version="1", frames=frames, chunk_lengths=(chunk_length,),
        metrics=report.metrics, calibration=None,
    )  # fmt: skip
    if isinstance(trained, Tuned):
        how = (
            f"The network of {old.name} {old.version}, trained further by "
            "`virnucpro train --end-to-end`."
        )
        origin = {"network": f"{old.name} {old.version}, {data}"}
    else:
        how = (
            f"A head trained by `virnucpro train` on the encoders of {old.name}, which were left "
            "as they are."
        )
        origin = {"head": data}
    description = msgspec.structs.replace(description, provenance={**old.provenance, **origin})
    if bundle.exists() or bundle.is_symlink():
        own_directory(bundle)
    for partial in directory.glob(f".{BUNDLE}-*"):  # of an attempt that was killed
        shutil.rmtree(partial)
    if not (bundle / MANIFEST_FILE).exists():
        if isinstance(trained, Tuned):
            write_classifier(bundle, description, trained.classifier)
        else:
            with_trained_head(encoders, trained.state, bundle, description)
    write_whole(bundle / "README.md", bundle_card(report, name, how).encode())
