"""Exports architectures with random weights by both exporters of torch, for the benchmarks of graph slimming.

    python tools/export_torch.py --out DIR [--only NAME ...]

Weights are random but seeded, and the running statistics of batch normalizations are no neutral ones, so that a wrong
fusion shows. Axes are dynamic where the architecture lets them be. Each architecture is written by the TorchScript
exporter (``NAME.ts.onnx``), by torch.export (``NAME.dynamo.onnx``), and by torch.export before its own optimizer ran
(``NAME.raw.onnx``).

Its environment is one of its own, never that of the project:

    pip install torch==2.13.0 transformers==5.23.0 onnx onnxscript
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers  # type: ignore[import-not-found, unused-ignore]

SEED = 0
OPSET = 17
"""Of the TorchScript exporter, which is written for it; torch.export chooses its own."""
KINDS = ("ts", "dynamo", "raw")
"""By which exporter, in the middle of a file's name."""


@dataclass(frozen=True)
class Architecture:
    """A model to export.

    Args:
        build: Makes the model, with random weights.
        inputs: Input name -> shape of the example; integers are token ids or masks, see `example`.
        dynamic: Input name -> axis -> name of its symbol.
        ids: The number of token ids; 0 where the inputs are images.
    """

    build: Callable[[], torch.nn.Module]
    inputs: dict[str, tuple[int, ...]]
    dynamic: dict[str, dict[int, str]]
    ids: int = 0


class FirstOutput(torch.nn.Module):  # type: ignore[misc, unused-ignore]
    """A transformers model whose forward takes tensors by position and returns its first output."""

    def __init__(self, model: torch.nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The first output."""
        return self.model(**dict(zip(self.names, inputs, strict=True))).to_tuple()[0]


def image(build: Callable[[], torch.nn.Module], *, size: int = 224) -> Architecture:
    """An image model with a dynamic batch."""
    return Architecture(build, {"pixel_values": (2, 3, size, size)}, {"pixel_values": {0: "batch"}})


def text(build: Callable[[], torch.nn.Module], ids: int, *, mask: bool = True) -> Architecture:
    """A text model with a dynamic batch and sequence."""
    names = ("input_ids", "attention_mask") if mask else ("input_ids",)
    axes = {0: "batch", 1: "sequence"}
    return Architecture(build, dict.fromkeys(names, (2, 11)), dict.fromkeys(names, axes), ids)


def resnet18() -> torch.nn.Module:
    config = transformers.ResNetConfig(hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic")
    return transformers.ResNetForImageClassification(config)


def mobilenet_v2() -> torch.nn.Module:
    return transformers.MobileNetV2ForImageClassification(transformers.MobileNetV2Config())


def convnext_tiny() -> torch.nn.Module:
    config = transformers.ConvNextConfig(hidden_sizes=[72, 144, 288, 576], depths=[3, 3, 9, 3], num_labels=100)
    return transformers.ConvNextForImageClassification(config)


def vit_small() -> torch.nn.Module:
    config = transformers.ViTConfig(
        hidden_size=384, num_hidden_layers=12, num_attention_heads=6, intermediate_size=1536,
        attn_implementation="eager", num_labels=100,
    )  # fmt: skip
    return transformers.ViTForImageClassification(config)


def swin_tiny() -> torch.nn.Module:
    config = transformers.SwinConfig(embed_dim=84, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], num_labels=100)
    return transformers.SwinForImageClassification(config)


def segformer_b0() -> torch.nn.Module:
    return transformers.SegformerForSemanticSegmentation(transformers.SegformerConfig(num_labels=19))


def bert() -> torch.nn.Module:
    config = transformers.BertConfig(
        vocab_size=4000, hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024,
        attn_implementation="eager",
    )  # fmt: skip
    return transformers.BertModel(config)


def bert_sdpa() -> torch.nn.Module:
    config = transformers.BertConfig(
        vocab_size=4000, hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024,
        attn_implementation="sdpa",
    )  # fmt: skip
    return transformers.BertModel(config)


def deberta() -> torch.nn.Module:
    config = transformers.DebertaV2Config(
        vocab_size=8000, hidden_size=384, num_hidden_layers=12, num_attention_heads=6, intermediate_size=1536,
        relative_attention=True, position_buckets=64, pos_att_type=["p2c", "c2p"], share_att_key=True,
        max_position_embeddings=256, norm_rel_ebd="layer_norm", type_vocab_size=0, max_relative_positions=-1,
        position_biased_input=False,
    )  # fmt: skip
    return transformers.DebertaV2Model(config)


def llama() -> torch.nn.Module:
    config = transformers.LlamaConfig(
        vocab_size=4000, hidden_size=256, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=4,
        intermediate_size=768, max_position_embeddings=256, attn_implementation="eager", use_cache=False,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


def t5_encoder() -> torch.nn.Module:
    config = transformers.T5Config(vocab_size=4000, d_model=256, d_kv=64, d_ff=1024, num_layers=4, num_heads=4)
    return transformers.T5EncoderModel(config)


ARCHITECTURES: dict[str, Architecture] = {
    "resnet18": image(resnet18),
    "mobilenet_v2": image(mobilenet_v2),
    "convnext_tiny": image(convnext_tiny),
    "vit_small": image(vit_small),
    "swin_tiny": image(swin_tiny),
    "segformer_b0": image(segformer_b0, size=128),
    "bert": text(bert, 4000),
    "bert_sdpa": text(bert_sdpa, 4000),
    "deberta": text(deberta, 8000),
    "llama": text(llama, 4000),
    "t5_encoder": text(t5_encoder, 4000),
}


def randomize(model: torch.nn.Module) -> None:
    """Gives batch normalizations, biases and scales values that are not neutral."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d) and module.running_mean is not None:
                module.running_mean.normal_(0.0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * (0.1 if name.endswith("bias") else 0.05))


def example(architecture: Architecture, name: str) -> torch.Tensor:
    """An example input: token ids, a mask of ones, or an image."""
    shape = architecture.inputs[name]
    if name.endswith("mask"):
        return torch.ones(shape, dtype=torch.int64)
    return torch.randint(0, architecture.ids, shape) if architecture.ids else torch.randn(shape)


def export(architecture: Architecture, kind: str, path: Path) -> None:
    """Writes one model. ``kind`` is ts, dynamo or raw."""
    torch.manual_seed(SEED)
    names = tuple(architecture.inputs)
    model = architecture.build()
    randomize(model)
    module = FirstOutput(model, names).eval()
    arguments = tuple(example(architecture, name) for name in names)
    common: dict[str, Any] = {"input_names": list(names), "output_names": ["output"]}
    with torch.no_grad():
        if kind == "ts":
            axes = {**architecture.dynamic, "output": next(iter(architecture.dynamic.values()))}
            torch.onnx.export(
                module, arguments, str(path), dynamo=False, opset_version=OPSET, dynamic_axes=axes, **common
            )
        else:
            shapes = tuple(dict.fromkeys(architecture.dynamic[name], torch.export.Dim.DYNAMIC) for name in names)
            torch.onnx.export(
                module, arguments, str(path), dynamo=True, dynamic_shapes=(shapes,), external_data=False,
                optimize=kind == "dynamo", verbose=False, **common,
            )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--only", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES), metavar="NAME")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    failed = []
    for name in options.only:
        architecture = ARCHITECTURES[name]
        for kind in KINDS:
            path = options.out / f"{name}.{kind}.onnx"
            start = time.process_time()
            try:
                export(architecture, kind, path)
            except Exception:  # an exporter fails in its own ways; the others are still wanted
                traceback.print_exc()
                failed.append(path.name)
                continue
            print(
                f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, {time.process_time() - start:.0f} CPU s", flush=True
            )
    if failed:
        print("not exported:", ", ".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
