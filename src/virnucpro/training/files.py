"""What a training leaves in its output directory."""

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
from virnucpro.training.card import Report, card_of, curves_csv
from virnucpro.training.curves import draw_curves
from virnucpro.training.export import write_classifier
from virnucpro.training.heads import FittedHead
from virnucpro.training.labelled import Labelled, LabelledRecord
from virnucpro.training.tuning import Tuned

BUNDLE, REPORT_FILE, SETTINGS_FILE = "bundle", "training.json", "settings.json"


@contextmanager
def bound(directory: Path, labelled: Labelled, settings: Mapping[str, object]) -> Iterator[Watch]:
    """Hold a directory to one training, of these sequences and settings, and others out of it.

    Yields:
        what notices that the directory is gone.

    Raises:
        RunError: when it holds something else or another training, belongs to a running process,
            or cannot be written.
    """
    content = msgspec.json.encode({**settings, "sequences": _summed(labelled.records)})
    lock = open_directory(directory, lambda: _begin(directory, content))
    with lock:
        if not lock.take():
            raise busy(directory)
        remove_partial(directory)
        yield Watch(directory)


def _begin(directory: Path, content: bytes) -> None:
    """Write the settings of a training into an empty directory, or compare them with its own."""
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
        raise RunError(f"{path}: is of no training ({error}); give a new directory") from error
    differs = [f"{k} was {before.get(k)}, is {now[k]}" for k in now if before.get(k) != now[k]]
    if differs:
        raise RunError(
            f"{directory}: holds another training ({'; '.join(differs)}); give a new directory"
        )


def _summed(records: Sequence[LabelledRecord]) -> str:
    """Return how many sequences there are, and a digest of all that is known of them."""
    digest = sha256()
    for record in records:
        digest.update(msgspec.json.encode(record))
    return f"{len(records):,} (sha256 {digest.hexdigest()[:12]})"


def write_records(path: Path, labelled: Labelled) -> None:
    """Write the sequences as they are learned from; their names are their numbers."""
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
    """Write curves, report and card, and at last the bundle.

    Args:
        directory: of the training.
        encoders: the bundle whose encoders, or network, were used.
        trained: a head, or the whole network.
        report: of the training.
        name: of the new bundle.
        frames: how they were drawn.
        chunk_length: bases of a chunk.
    """
    write_whole(directory / "curves.csv", curves_csv(report.epochs))
    draw_curves(report.epochs, report.best, directory / "curves.png")
    write_json(directory / REPORT_FILE, report)
    old, place = encoders.manifest, directory / BUNDLE
    count = sum(learned + held for learned, held in report.classes.values())
    said = f"trained on {count:,} sequences; see README.md"
    description = msgspec.structs.replace(
        old, name=name, version="1", frames=frames, chunk_lengths=(chunk_length,),
        metrics=report.metrics, calibration=None,
    )  # fmt: skip
    if isinstance(trained, Tuned):
        how = (
            f"The network of {old.name} {old.version}, trained further by "
            "`virnucpro train --end-to-end`."
        )
        origin = {"network": f"{old.name} {old.version}, {said}"}
    else:
        how = (
            f"A head trained by `virnucpro train` on the encoders of {old.name}, which were left "
            "as they are."
        )
        origin = {"head": said}
    description = msgspec.structs.replace(description, provenance={**old.provenance, **origin})
    if place.exists() or place.is_symlink():
        own_directory(place)
    for left in directory.glob(f".{BUNDLE}-*"):  # by one that was killed
        shutil.rmtree(left)
    if not (place / MANIFEST_FILE).exists():
        if isinstance(trained, Tuned):
            write_classifier(place, description, trained.classifier)
        else:
            with_trained_head(encoders, trained.state, place, description)
    write_whole(place / "README.md", card_of(report, name, how).encode())
