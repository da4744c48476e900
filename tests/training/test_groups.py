"""Groups and splits: similar sequences stay together; both sides have every class if possible."""

import doctest
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virnucpro.sequences import Nucleotides
from virnucpro.training import groups, sketches
from virnucpro.training.groups import Int64, genome_of, group_by, split
from virnucpro.training.labelled import LabelledRecord
from virnucpro.training.sketches import NEIGHBOURS, K, clusters

BASES = list("ACGT")


def record(
    identifier: str, letters: str = "ACGT", name: str = "virus", genome: str = ""
) -> LabelledRecord:
    return LabelledRecord(identifier, name, name.startswith("virus"), genome, letters, None)


def random_letters(length: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(BASES, length))


def mutated(letters: str, rate: float, seed: int) -> str:
    random = np.random.default_rng(seed)
    kept = np.array(list(letters))
    where = random.random(len(kept)) < rate
    kept[where] = random.choice(BASES, int(where.sum()))
    return "".join(kept)


def turned(letters: str) -> str:
    return Nucleotides.join([letters]).reverse_text()


def together(labels: Int64) -> set[frozenset[int]]:
    """Return the sets of indices with the same label."""
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in labels.tolist()}


def slow_clusters(sequences: list[str], containment: float) -> set[frozenset[int]]:
    """Return single linkage by all k-mers that two sequences share."""
    kmers = [
        {
            min(word, turned(word))
            for i in range(len(s) - K + 1)
            for word in [s[i : i + K]]
            if set(word) <= set(BASES)
        }
        for s in sequences
    ]
    found = [{i} for i in range(len(sequences))]
    for a, b in combinations(range(len(sequences)), 2):
        least = min(len(kmers[a]), len(kmers[b]))
        if least and len(kmers[a] & kmers[b]) >= containment * least:
            joined = found[a] | found[b]
            for index in joined:
                found[index] = joined
    return {frozenset(s) for s in found}


@st.composite
def relatives(draw: st.DrawFn) -> list[str]:
    """Draw parts of a few sequences, some reversed, mutated, or with letters that are not bases."""
    origins = [random_letters(150, seed) for seed in range(3)]
    pieces = []
    for _ in range(draw(st.integers(1, NEIGHBOURS))):
        start, end = sorted(draw(st.tuples(st.integers(0, 150), st.integers(0, 150))))
        piece = draw(st.sampled_from(origins))[start:end]
        piece = mutated(piece, draw(st.sampled_from([0, 0.02, 0.1])), draw(st.integers(0, 9)))
        piece = draw(st.sampled_from([piece, turned(piece), piece[:40] + "N" + piece[41:]]))
        pieces.append(piece)
    return pieces


@settings(deadline=None)
@given(relatives(), st.sampled_from([0.1, 0.3, 0.5, 1.0]))
def test_clusters_are_those_of_all_pairs(sequences: list[str], containment: float) -> None:
    assert together(clusters(sequences, containment)) == slow_clusters(sequences, containment)


@pytest.mark.parametrize("hashes", [sketches.HASHES, 20_000])
@pytest.mark.parametrize("batch", [1 << 17, 1000])
def test_copies_changed_by_two_percent_are_joined_and_strangers_are_not(
    monkeypatch: pytest.MonkeyPatch, hashes: int, batch: int
) -> None:
    monkeypatch.setattr(sketches, "_BATCH", batch)
    lengths = [300, 500, 2_000, 10_000, 40_000]
    origins = [random_letters(n, seed) for seed, n in enumerate(lengths * 3)]
    copies = [mutated(s, 0.02, seed) for seed, s in enumerate(origins)]
    pieces = [turned(s[len(s) // 4 : len(s) // 2]) for s in origins if len(s) > 1000]
    found = clusters([*origins, *copies, *pieces], hashes=hashes)
    count = len(origins)
    assert found[:count].tolist() == list(range(count))
    assert found[count : 2 * count].tolist() == list(range(count))
    long = [i for i, s in enumerate(origins) if len(s) > 1000]
    assert found[2 * count :].tolist() == long


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(300, 3000))
def test_any_copy_changed_by_two_percent_is_joined(seed: int, length: int) -> None:
    origin = random_letters(length, seed)
    sequences = [origin, random_letters(length, seed + 1), mutated(origin, 0.02, seed)]
    assert clusters(sequences).tolist() == [0, 1, 0]


def test_thousands_of_near_copies_are_one_cluster() -> None:
    origin = random_letters(500, 1)
    sequences = [mutated(origin, 0.02, seed) for seed in range(1500)]
    sequences += [random_letters(500, 1 + seed) for seed in range(1, 4)]
    found = clusters(sequences)
    assert (found[:1500] == 0).all()
    assert found[1500:].tolist() == [1500, 1501, 1502]


def test_what_has_no_kmer_stands_alone() -> None:
    assert clusters([]).tolist() == []
    assert clusters(["", "A" * 20, "A" * 20, "N" * 50, "N" * 50]).tolist() == [0, 1, 2, 3, 4]
    assert clusters(["A" * 21, "T" * 21, "C" * 21]).tolist() == [0, 0, 2]


def test_genomes_by_ids() -> None:
    assert doctest.testmod(groups).failed == 0
    expected = {
        "gi|506495645|ref|NZ_ASMI01000017.1|:c8722-8147": "NZ_ASMI01",
        "gb|AF1.12|": "AF1",
        "NC_023536.1": "NC_023536",
        "human_chr20|20": "human_chr20",
        "GeneID:911730": "GeneID:911730",
        "A00123:45:HXX:1:1101": "A00123:45:HXX:1:1101",
        "contig_1.5": "contig_1",
        "|": "|",
        ".1": ".1",
    }
    assert {name: genome_of(name) for name in expected} == expected


def test_groups_of_records_and_genomes() -> None:
    records = [
        record("r1/1"), record("r1/2"), record("r1", name="virus_b"), record("G1|a"),
        record("G1|b", name="other"), record("x", genome="G1"), record("r1"),
    ]  # fmt: skip
    assert together(group_by(records, "record")) == {
        frozenset(group) for group in ({0, 1, 6}, {2}, {3}, {4}, {5})
    }
    assert together(group_by(records, "genome")) == {
        frozenset(group) for group in ({0}, {1}, {2, 6}, {3, 4, 5})
    }


def test_groups_of_what_is_alike() -> None:
    letters = random_letters(400, 1)
    records = [record("a", letters), record("b", turned(letters)), record("c", letters[::-1])]
    assert together(group_by(records, "clusters")) == {frozenset({0, 1}), frozenset({2})}


@st.composite
def grouped_records(draw: st.DrawFn, *, shared: bool) -> tuple[list[LabelledRecord], Int64]:
    """Draw records in groups, each of one class, or of any classes if `shared`."""
    names = draw(st.sampled_from([("other", "virus"), ("other", "virus_a", "virus_b", "virus_c")]))
    drawn = draw(
        st.lists(
            st.tuples(st.sampled_from(names), st.integers(0, 6), st.integers(1, 300)),
            min_size=1,
            max_size=40,
        )
    )
    records = [record(f"r{i}", "A" * n, name) for i, (name, _, n) in enumerate(drawn)]
    labels = [g if shared else 10 * names.index(name) + g for name, g, _ in drawn]
    return records, np.array(labels, dtype=np.int64)


SHARES = st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.9])


@settings(deadline=None, max_examples=300)
@given(st.booleans().flatmap(lambda s: grouped_records(shared=s)), SHARES, st.integers(0, 99))
def test_no_group_is_on_both_sides(
    made: tuple[list[LabelledRecord], Int64], share: float, seed: int
) -> None:
    records, labels = made
    found = split(records, labels, share, seed)
    assert sorted([*found.train.tolist(), *found.dev.tolist()]) == list(range(len(records)))
    assert not set(labels[found.train].tolist()) & set(labels[found.dev].tolist())
    trained = {records[i].class_name for i in found.train.tolist()}
    assert trained == {r.class_name for r in records}


@settings(deadline=None, max_examples=300)
@given(grouped_records(shared=False), SHARES, st.integers(0, 99))
def test_every_class_of_two_groups_is_on_both_sides(
    made: tuple[list[LabelledRecord], Int64], share: float, seed: int
) -> None:
    records, labels = made
    found = split(records, labels, share, seed)
    held = {records[i].class_name for i in found.dev.tolist()}
    in_class = {
        r.class_name: set(labels[[q.class_name == r.class_name for q in records]].tolist())
        for r in records
    }
    assert held == {name for name, its in in_class.items() if len(its) > 1}
    alone = sorted(set(in_class) - held)
    said = "has one group, which is trained on, so nothing is measured on it"
    assert found.notes == ([f"{', '.join(alone)}: {said}"] if alone else [])


@settings(deadline=None, max_examples=300)
@given(grouped_records(shared=True), SHARES, st.integers(0, 99))
def test_two_classes_are_on_both_sides_even_where_groups_hold_both(
    made: tuple[list[LabelledRecord], Int64], share: float, seed: int
) -> None:
    records = [r if r.class_name == "other" else record(r.id, r.letters) for r in made[0]]
    labels = made[1]
    found = split(records, labels, share, seed)
    for name in ("virus", "other"):
        its = labels[[r.class_name == name for r in records]]
        held = any(records[i].class_name == name for i in found.dev.tolist())
        assert held == (len(set(its.tolist())) > 1)


@settings(deadline=None)
@given(grouped_records(shared=True), st.integers(0, 99), st.randoms(use_true_random=False))
def test_the_order_of_records_does_not_change_the_split(
    made: tuple[list[LabelledRecord], Int64], seed: int, random: np.random.RandomState
) -> None:
    records, labels = made
    order = list(range(len(records)))
    random.shuffle(order)
    shuffled = split([records[i] for i in order], -labels[order], 0.2, seed)
    expected = split(records, labels, 0.2, seed)
    assert sorted(order[i] for i in shuffled.dev.tolist()) == expected.dev.tolist()
    assert shuffled.notes == expected.notes


def test_of_many_groups_each_class_gives_its_share() -> None:
    random = np.random.default_rng(2)
    names = ["other"] * 600 + ["virus_a"] * 300 + ["virus_b"] * 100
    records = [record(f"r{i}", "A" * int(random.integers(50, 150)), n) for i, n in enumerate(names)]
    labels = np.arange(len(records)) // 2
    first, again, other = (split(records, labels, 0.1, seed) for seed in (3, 3, 4))
    assert np.array_equal(first.dev, again.dev)
    assert not np.array_equal(first.dev, other.dev)
    for name in set(names):
        bases = [len(r.letters) * (r.class_name == name) for r in records]
        assert 0.08 < sum(bases[i] for i in first.dev.tolist()) / sum(bases) <= 0.1


def test_groups_of_many_records_are_held_back_as_often_as_others() -> None:
    """A group of many records has many digests, but must not come first because of that."""
    records = [record(f"r{i}", "A" if i < 20 else "A" * 20) for i in range(40)]
    labels = np.array([0] * 20 + list(range(1, 21)))
    seeds = range(60)
    held = sum(0 in split(records, labels, 0.5, seed).dev.tolist() for seed in seeds)
    assert 0.25 < held / len(seeds) < 0.75


def test_classes_that_cannot_all_be_split_are_named() -> None:
    records = [record(f"r{i}", name=name) for i, name in enumerate(
        ["other", "virus_a", "virus_a", "virus_b", "virus_b", "other"]
    )]  # fmt: skip
    found = split(records, np.array([0, 0, 1, 1, 2, 2]))
    assert len(found.notes) == 1
    assert found.notes[0].endswith("with other classes, so all of it is trained on")
