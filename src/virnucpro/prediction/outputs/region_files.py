"""regions.gff3 and regions.bed: viral regions inside records (docs/contigs.md)."""

from urllib.parse import quote

from virnucpro.prediction.outputs.paths import Outputs
from virnucpro.prediction.outputs.regions import RecordRegions, Region
from virnucpro.prediction.outputs.scored_shards import ScoredShard
from virnucpro.prediction.outputs.unique_names import bed_name
from virnucpro.runs.partial_files import PartialFiles

#: Characters that a name of a sequence in GFF3 may have besides letters and digits.
_PLAIN = ".:^*$@!+_?-|"
#: The Sequence Ontology's term for viral sequence in a host's.
_TERM = "proviral_region"


class RegionFiles:
    """A sink that writes both files.

    Args:
        files: opens the files.
        outputs: paths of the files.
    """

    def __init__(self, files: PartialFiles, outputs: Outputs) -> None:
        self._gff3 = files.open(outputs.path("regions"))
        self._bed = files.open(outputs.path("regions_bed"))
        self._gff3.write(b"##gff-version 3\n")
        self._written = 0

    def add(self, part: ScoredShard) -> None:
        """Append the regions of the records that end in a shard."""
        for found in part.regions:
            self._write(found)

    def finish(self) -> None:
        """Do nothing: both files are complete."""

    def _write(self, found: RecordRegions) -> None:
        sequence = gff3_name(found.regions[0].record)
        self._gff3.write(f"##sequence-region {sequence} 1 {found.length}\n".encode())
        for region in found.regions:
            self._written += 1
            name = region_name(self._written, found.number)
            self._gff3.write(gff3_line(region, name).encode())
            self._bed.write(bed_line(region, name).encode())


def region_name(number: int, record: int) -> str:
    """Return the name of a region; `record` is the number of its record, from 1."""
    return f"viral_region_{number}_of_record_{record}"


def gff3_name(record: str) -> str:
    """Return a record's name with every character that GFF3 reserves escaped."""
    return quote(record, safe=_PLAIN).replace("~", "%7E")


def gff3_line(region: Region, name: str) -> str:
    """Return a region as a GFF3 feature: 1-based, both ends included."""
    attributes = f"ID={name};Name={name};p_virus={region.p_virus:.6f};chunks={region.chunks}"
    if region.chance is not None:
        attributes += f";chance={region.chance:.6f}"
    columns = (
        gff3_name(region.record), "virnucpro", _TERM, region.start + 1, region.end,
        f"{region.score:.6f}", ".", ".", attributes,
    )  # fmt: skip
    return "\t".join(map(str, columns)) + "\n"


def bed_line(region: Region, name: str) -> str:
    """Return a region as BED of six columns: 0-based, end excluded, scores up to 1000."""
    columns = (bed_name(region.record), region.start, region.end, name, region.thousandths, ".")
    return "\t".join(map(str, columns)) + "\n"
