"""Hugging Face: a local folder of transformers, by optimum's ONNX exporter; nothing is fetched."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import optimum.version
import torch
import transformers
from optimum.exporters.onnx import onnx_export_from_model
from optimum.exporters.tasks import TasksManager

from . import pytorch_trace
from .base import Exported, ExportOptions, Feed, LoadRequest, Operation, Refused, by_name, last_line


class TransformersModel:
    """See `onnxslim.converters.frameworks.base.FrameworkModel`.

    Args:
        folder: Of the model.
        known: Arrays of a sample.
        trust_code: Whether code in the folder may run.
    """

    narrows = False

    def __init__(self, folder: str, known: Feed, trust_code: bool) -> None:
        self.framework = f"transformers {transformers.__version__}"
        config = json.loads((Path(folder) / "config.json").read_text())
        if "auto_map" in config and not trust_code:
            raise Refused(
                "the model's code lies in its folder", why="config.json has auto_map", mend="give --trust-code"
            )
        architecture = next(iter(config.get("architectures") or ()), "")
        if not hasattr(transformers, architecture or " "):
            raise Refused(f"transformers has no {architecture or 'architecture'}", why="config.json names it")
        self.task = TasksManager.infer_task_from_model(getattr(transformers, architecture), library_name="transformers")
        self.model = TasksManager.get_model_from_task(
            self.task,
            folder,
            framework="pt",
            library_name="transformers",
            trust_remote_code=trust_code,
            local_files_only=True,
        ).eval()
        constructor = TasksManager.get_exporter_config_constructor(
            "onnx", self.model, task=self.task, library_name="transformers"
        )
        self.config = constructor(self.model.config)
        self.notes = [f"exported for the task {self.task}"]
        self.names = list(self.config.inputs)
        self._known = by_name(known, self.names)

    def example(self) -> Feed | None:
        """A sample, or what optimum makes up."""
        if self._known:
            return self._known
        torch.manual_seed(0)
        made = self.config.generate_dummy_inputs(framework="pt")
        return {name: pytorch_trace.array_of(made[name]) for name in self.names if name in made}

    def export(self, options: ExportOptions) -> Exported:
        """By optimum; it makes the axes dynamic that the architecture allows."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                onnx_export_from_model(self.model, folder, task=self.task, opset=options.opset, do_validation=False)
            except Exception as error:
                raise Refused("optimum cannot export the model", why=last_line(error)) from error
            made = sorted(Path(folder).glob("*.onnx"))
            if len(made) != 1 or list(Path(folder).glob("*.onnx_data")):
                names = ", ".join(each.name for each in made)
                raise Refused("the model takes more than one file", why=f"optimum made {names}")
            Path(options.path).write_bytes(made[0].read_bytes())
        return Exported(f"optimum {optimum.version.__version__}")

    def run(self, feed: Feed) -> list[tuple[str, np.ndarray]]:
        """The outputs that the architecture's configuration names, in its order."""
        given = {name: torch.from_numpy(np.ascontiguousarray(feed[name])) for name in self.names if name in feed}
        with torch.no_grad():
            found: Any = self.model(**given)
        return [(name, pytorch_trace.array_of(found[name])) for name in self.config.outputs if name in found]

    def trace(self, feed: Feed) -> list[Operation] | None:
        """Module by module."""
        given = {name: torch.from_numpy(np.ascontiguousarray(feed[name])) for name in self.names if name in feed}
        with torch.no_grad():
            return pytorch_trace.traced_modules(self.model, (), given)


def load(request: LoadRequest) -> TransformersModel:
    """A folder with config.json and weights; pickled ones are read as weights only."""
    if request.form == "module:object":
        raise Refused("an object of transformers is a torch module", mend="leave --from out")
    if not any(Path(request.source).glob("*.safetensors")) and not any(Path(request.source).glob("*.bin")):
        raise Refused("the folder holds no weights", why="neither .safetensors nor .bin is there")
    return TransformersModel(request.source, request.example, request.trust_code)
