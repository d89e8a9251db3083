"""What stands between a text or a file and the model's input."""

from __future__ import annotations

import io
import sqlite3
import wave
import zipfile

import numpy as np
import pytest

from models_zoo import SPLITS
from models_zoo.entries.magika import features, types
from models_zoo.files import KINDS, made, read, real
from models_zoo.sentences import pairs, singles
from models_zoo.wordpiece import END, START, UNKNOWN, tokens, vocabulary


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        # As the reference tokenizer of bert-base-uncased gives them.
        ("Hello, world!", [7592, 1010, 2088, 999]),
        ("The embeddings", [1996, 7861, 8270, 4667, 2015]),
        ("CAFÉ", [7668]),
        ("isn't", [3475, 1005, 1056]),
        ("\u2603x", [UNKNOWN, 1060]),
    ],
)
def test_tokens(text: str, ids: list[int]) -> None:
    assert tokens(text) == [START, *ids, END]


def test_vocabulary_is_complete() -> None:
    assert sorted(vocabulary().values()) == list(range(30522))


def test_no_sentence_is_in_two_splits_and_none_twice() -> None:
    sentences = singles() + [s for split in ("selection", "report") for pair in pairs(split) for s in pair]
    assert len(set(sentences)) == len(sentences)
    assert len(pairs("report")) >= 50
    assert UNKNOWN not in {id for sentence in sentences for id in tokens(sentence)}


def test_features_of_a_short_and_a_long_file() -> None:
    short = features(b"  \n abc\n ")
    assert short.dtype == np.int32
    assert short[:4].tolist() == [97, 98, 99, 10]
    assert (short[5:-7] == 256).all()
    assert bytes(short[-3:].tolist()) == b"abc"
    long = features(bytes(range(1, 250)) * 100)
    assert long.max() < 256
    assert long[0] == 1
    assert long[-1] == 249
    assert (features(b"") == 256).all()


@pytest.mark.parametrize("kind", KINDS)
def test_made_files_are_what_they_are_called_and_the_same_each_time(kind: str) -> None:
    assert kind in types()
    one = made("report", kind, 0)
    assert one == made("report", kind, 0)
    assert one != made("report", kind, 1)
    assert one != made("calibration", kind, 0)


def test_made_containers_can_be_opened() -> None:
    with zipfile.ZipFile(io.BytesIO(made("report", "zip", 1))) as archive:
        assert archive.testzip() is None
    with wave.open(io.BytesIO(made("report", "wav", 1))) as sound:
        assert sound.getnframes() == 8000
    database = sqlite3.connect(":memory:")
    database.deserialize(made("report", "sqlite", 1))
    assert database.execute("select count(*) from lines").fetchone()[0] >= 20
    database.close()


def test_real_files_come_from_other_packages_in_each_split() -> None:
    packages = {split: {wheel.name for wheel, _, _ in real(split).values()} for split in SPLITS}
    assert len(set().union(*packages.values())) == sum(map(len, packages.values()))
    chosen = real("report")
    assert len(chosen) >= 300
    assert len({kind for _, _, kind in chosen.values()}) >= 15
    assert {kind for _, _, kind in chosen.values()} <= set(types())
    contents = {split: {read(wheel, member) for wheel, member, _ in real(split).values()} for split in SPLITS}
    assert not contents["report"] & contents["calibration"]
    assert not contents["report"] & contents["selection"]
