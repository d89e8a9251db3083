"""A report with all that a page can show, built from the real values."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from onnxslim.evaluation import Fidelity, Parity, Tier
from onnxslim.evaluation.inner import LayerError
from onnxslim.execution.latency import judge
from onnxslim.pipeline import Action, Declined, Guilty, PassResult, Step
from onnxslim.report import ModelFacts, PortFacts, Report, machine
from onnxslim.report.layers import GraphFacts, Layers, NodeFacts, WeightFacts
from onnxslim.search import Figures, Front, Trial
from onnxslim.version import versions

NASTY = "</script><img src=x onerror=alert(1)>"


def front() -> Front:
    """Twelve trials: one could not be built, some do not hold, one was kept."""
    trials = []
    for place in range(12):
        size, speed = 1.5 + 0.45 * place, 1.1 + 0.9 * math.sin(0.28 * place)
        found = Figures(int(10_900_000 / size), size, speed, 42.0 - 2.2 * place, 0.001 * place, 0.0016 * place)
        trials.append(
            Trial(
                key=f"k{place}",
                choices={"prune": f"{5 * place} % of MACs", "quantize": f"{60 - 2 * place} of 60 nodes in int8"},
                predicted=None
                if place < 2
                else dataclasses.replace(found, speedup=speed * 1.04, sqnr_db=found.sqnr_db + 0.7),
                measured=found if place != 11 else None,
                reason="drop: the bound 0.0144 exceeds 0.01" if place > 8 else "",
                best=place in (4, 5, 6, 7, 8),
                kept=place == 7,
                command=f"--max-size {10.9 / size:.1f}MB",
                seconds=20.0 + place,
            )
        )
    return Front(
        trials=trials,
        goal="balanced",
        limits={"metric": "drop of at most 0.01"},
        stopped="the time is up",
        untried=1240,
        looks=1,
    )


def layers(count: int = 40) -> Layers:
    """A chain with a branch in its middle: the result is pruned, in int8, and has no BatchNormalization."""

    def graph(name: str, *, result: bool) -> GraphFacts:
        nodes, last = [], "x"
        for place in range(count):
            channels = 64 if not result or place % 3 else 40
            conv, end = f"/block.{place}/Conv", f"/block.{place}/Relu_output"
            chain = ["Conv", "Relu"] if result else ["Conv", "BatchNormalization", "Relu"]
            value = last
            for op in chain:
                out = end if op == "Relu" else f"/block.{place}/{op}_output"
                work = op == "Conv"
                nodes.append(
                    NodeFacts(
                        f"/block.{place}/{op}",
                        op,
                        (value,),
                        (out,),
                        channels if work else None,
                        result and place > 3 and work,
                        36_864 if work else 0,
                        (30.0 if result else 100.0) + place if work else None,
                    )
                )
                value = out
            if place == count // 2:
                nodes.append(
                    NodeFacts("/skip/Add", "Add", (value, f"/block.{place - 3}/Relu_output"), ("/skip/Add_output",))
                )
                value = "/skip/Add_output"
            last = value
            assert conv == nodes[-len(chain)].name or place == count // 2
        kinds = ("int8", "float32", "packed") if result else ("float32",)
        weights = [
            WeightFacts(f"w{i}", (64, 64, 3, 3), kinds[i % len(kinds)], 147_456 // (4 if result else 1))
            for i in range(count)
        ]
        return GraphFacts(name, nodes, weights)

    errors = [LayerError(f"/block.{i}/Relu_output", 48.0 - 0.5 * i) for i in range(count)]
    return Layers(graph("main", result=False), graph("main", result=True), errors, 4, ("3 values were not compared",))


def report(**changes: object) -> Report:
    """A report on a model of 40 layers, or the same with other fields."""
    generator = np.random.default_rng(3)
    timings = [generator.lognormal(np.log([0.010, 0.010, 0.0045, 0.0045]), 0.02, (60, 4)) for _ in range(10)]
    before = ModelFacts(
        path="in.onnx", bytes=10_900_000, nodes=860, ops={"Conv": 40}, opsets={"": 12}, ir_version=7, producer="paddle",
        inputs=(PortFacts("x", "float32", ("N", 3, 48, None)),), outputs=(PortFacts("y", "float32", None),),
        parameters=2_700_000, weight_bytes=10_800_000,
    )  # fmt: skip
    declined = tuple(Declined("quantize", f"Conv /block.{i}/Conv", f"no faster in int8: {i}.5 us") for i in range(4))
    step = Step("quantize", {}, PassResult(True, (Action("quantize", ("y",), "Conv a"),) * 3, declined), 12.5)
    parts = tuple(Fidelity("y", f"part {NASTY if i == 0 else i}", 31.0 + i, 0.999, 0.98) for i in range(5))
    whole = Report(
        command="compress", decision="compressed", input=before,
        output=dataclasses.replace(before, path="out.onnx", bytes=2_300_000, nodes=800), steps=(step,),
        guilty=(Guilty(Action("fold", ("z",), "Add b"), "output 'y' differs"),),
        parity=Parity(True, Tier.LOSSY, (), feeds=64, evidence="samples", worst=0.2, sqnr=31.0, fidelity=parts),
        latency=judge(timings), scores={"input": 0.962, "output": 0.957}, metric="top1", evidence="samples",
        calibrated=300, held_back=64, held_out=150, notes=("a note with <b>markup</b>",),
        warnings=("labels of one class",), seconds=600.0, versions=versions(), machine=machine(),
        recipe='[[pass]]\nname = "slim"\n', front=front(), layers=layers(),
    )  # fmt: skip
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]
