"""Times of nodes, and of models against each other."""

from __future__ import annotations

import pytest

from models_zoo import get
from onnxslim.errors import InputError
from onnxslim.execution import node_times, rank_latency
from onnxslim.graph import load


def test_every_node_of_the_optimized_graph_has_a_time() -> None:
    entry = get("digits_cnn")
    feeds = [sample.feed for sample in entry.samples("report").first(2)]
    times = node_times(load(entry.path()), feeds, runs=3)
    assert {"Conv", "Gemm", "MaxPool"} <= {each.op_type.removeprefix("Fused") for each in times}
    assert all(each.microseconds > 0 for each in times)
    assert times[-1].outputs == ("logits",)


def test_a_model_is_as_fast_as_itself_and_a_wrong_feed_is_refused() -> None:
    entry = get("digits_cnn")
    model = load(entry.path())
    feeds = [sample.feed for sample in entry.samples("report").first(2)]
    ratios = rank_latency([model, model], feeds, seconds=0.2)
    assert ratios[0] == 1
    assert 0.2 < ratios[1] < 5
    with pytest.raises(InputError, match="lacks input"):
        rank_latency([model], [{}])
