"""What a training leaves in its output directory."""

from pathlib import Path

import msgspec

from virnucpro.bundles import Bundle
from virnucpro.bundles.assemble import with_trained_head
from virnucpro.results.files import PartialFiles
from virnucpro.sequences.frames import FrameKind
from virnucpro.storage import write_whole
from virnucpro.training.card import Report, card_of, curves_csv
from virnucpro.training.curves import draw_curves
from virnucpro.training.export import write_classifier
from virnucpro.training.heads import FittedHead
from virnucpro.training.labelled import Labelled
from virnucpro.training.tuning import Tuned

BUNDLE, REPORT_FILE = "bundle", "training.json"


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
    write_whole(directory / REPORT_FILE, report.to_json())
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
    if not place.exists():
        if isinstance(trained, Tuned):
            write_classifier(place, description, trained.classifier)
        else:
            with_trained_head(encoders, trained.state, place, description)
    write_whole(place / "README.md", card_of(report, name, how).encode())
