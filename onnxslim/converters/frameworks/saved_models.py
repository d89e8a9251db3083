"""TensorFlow: a SavedModel's signature ``serving_default``, a ``tf.function`` or a ``tf.Module``; by tf2onnx."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from .base import Exported, ExportOptions, Feed, LoadRequest, Operation, Refused, by_name, random_example
from .tf_functions import TensorFunction

SIGNATURE = "serving_default"
HARMFUL = frozenset(
    {
        "PyFunc",
        "PyFuncStateless",
        "EagerPyFunc",
        "WriteFile",
        "Save",
        "SaveSlices",
        "SaveV2",
        "SaveDataset",
        "SaveDatasetV2",
        "MergeV2Checkpoints",
        "DatasetToTFRecord",
        "CreateSummaryFileWriter",
        "CreateSummaryDbWriter",
        "ShardedFilename",
    }
)
"""Operators that run Python or write files."""


class TensorFlowModel:
    """See `onnxslim.converters.frameworks.base.FrameworkModel`.

    Args:
        function: What is exported.
        example: Example arrays; None to make some up.
        notes: Of loading.
        kept: What owns the function's variables, which live no longer than this.
    """

    narrows = False

    def __init__(self, function: TensorFunction, example: Feed | None, notes: list[str], kept: Any) -> None:
        self.function, self.notes, self._example, self._kept = function, notes, example, kept
        self.framework = f"TensorFlow {tf.__version__}"

    def example(self) -> Feed | None:
        """The example arguments, else random inputs of the sizes that are declared."""
        if self._example is not None:
            return self._example
        return random_example(
            [(spec.name, tuple(spec.shape), np.dtype(spec.dtype.as_numpy_dtype)) for spec in self.function.specs]
        )

    def export(self, options: ExportOptions) -> Exported:
        """By ``tf2onnx.convert.from_function``."""
        if options.exporter not in (None, "tf2onnx"):
            raise Refused(f"TensorFlow has no exporter {options.exporter!r}", mend="use tf2onnx")
        unknown = options.dynamic.keys() - set(self.function.names)
        if unknown:
            mend = "use {}".format(", ".join(self.function.names))
            raise Refused(f"there is no input {sorted(unknown)[0]!r}", mend=mend)
        specs = [
            tf.TensorSpec(
                [
                    None if axis in options.dynamic.get(spec.name, {}) else size
                    for axis, size in enumerate(tuple(spec.shape))
                ],
                spec.dtype,
                spec.name,
            )
            for spec in self.function.specs
        ]
        return TensorFunction(self.function.call, specs).export(options)

    def run(self, feed: Feed) -> list[tuple[str, np.ndarray]]:
        """The outputs by name, in alphabetical order as in the file."""
        return self.function.run(feed)

    def trace(self, feed: Feed) -> list[Operation] | None:
        """Every operation of the graph."""
        return self.function.trace(feed)


def load(request: LoadRequest) -> TensorFlowModel:
    """A SavedModel's signature, or a function with example arguments.

    Raises:
        Refused: It is none, or holds operators that are not trusted.
    """
    if request.form == "module:object" or request.loaded is not None:
        found = request.loaded
        if (
            request.arguments is None
            and not request.example
            and isinstance(getattr(found, "signatures", None), Mapping)
        ):
            return _of_signature(found, [])
        return _of_callable(found, request)
    if not request.trust_code:
        refuse_harmful(request.source)
    return _of_signature(tf.saved_model.load(request.source), [])


def _of_signature(loaded: Any, notes: list[str]) -> TensorFlowModel:
    signatures = loaded.signatures
    if SIGNATURE not in signatures:
        others = ", ".join(map(repr, signatures)) or "none"
        raise Refused(
            f"the SavedModel has no signature {SIGNATURE!r}",
            why=f"its signatures are {others}",
            mend="save it with signatures={'serving_default': ...}, or name a module:function that returns "
            "(tf.saved_model.load(...).signatures[...], example inputs)",
        )
    function = signatures[SIGNATURE]
    if len(signatures) > 1:
        notes.append(f"the signature {SIGNATURE!r} is converted, one of {', '.join(map(repr, signatures))}")
    return TensorFlowModel(_named(function), None, notes, loaded)


def _named(function: Any) -> TensorFunction:
    """A signature's function, which takes its tensors by name."""
    declared = function.structured_input_signature[1]
    specs = [tf.TensorSpec(declared[name].shape, declared[name].dtype, name) for name in declared]
    names = list(declared)
    return TensorFunction(lambda *leaves: function(**dict(zip(names, leaves, strict=True))), specs)


def _of_callable(found: Any, request: LoadRequest) -> TensorFlowModel:
    if not callable(found):
        raise Refused(f"it is a {type(found).__name__}, which cannot be called")
    arguments = request.arguments
    if isinstance(arguments, Mapping):
        example = {str(name): np.asarray(each) for name, each in arguments.items()}
        call: Any = _by_names(found, list(example))
    elif arguments is not None:
        given = list(arguments) if isinstance(arguments, (tuple, list)) else [arguments]
        example = {name: np.asarray(each) for name, each in zip(_names(found, len(given)), given, strict=True)}
        call = found
    elif request.example:
        names = _names(found, len(request.example))
        example = by_name(request.example, names)
        call = _by_names(found, list(example)) if set(example) <= set(_parameters(found)) else found
    else:
        raise Refused(
            "a function needs example inputs",
            mend="give --samples, or a function that returns (function, example inputs)",
        )
    specs = [tf.TensorSpec(each.shape, each.dtype, name) for name, each in example.items()]
    return TensorFlowModel(TensorFunction(call, specs), example, [], found)


def _by_names(found: Any, names: Sequence[str]) -> Any:
    return lambda *leaves: found(**dict(zip(names, leaves, strict=True)))


def _parameters(found: Any) -> list[str]:
    try:
        signature = inspect.signature(getattr(found, "python_function", found))
    except (TypeError, ValueError):
        return []
    wanted = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, each in signature.parameters.items() if each.kind in wanted and name != "self"]


def _names(found: Any, count: int) -> list[str]:
    known = _parameters(found)
    return known[:count] if len(known) >= count else [f"input_{place}" for place in range(count)]


def refuse_harmful(folder: str) -> None:
    """Looks at a SavedModel's operators before TensorFlow loads it, which runs some.

    Raises:
        Refused: One runs Python or writes a file, other than those by which it saves its own variables.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    stored = saved_model_pb2.SavedModel()
    with open(os.path.join(folder, "saved_model.pb"), "rb") as file:
        stored.ParseFromString(file.read())
    for graph in stored.meta_graphs:
        # The saver's functions are called by name from these nodes, which nothing else may reach.
        saver = {name.partition(":")[0] for name in (graph.saver_def.save_tensor_name, graph.saver_def.restore_op_name)}
        own = {called for node in graph.graph_def.node if node.name in saver for called in _called(node)}
        functions = {each.signature.name: each for each in graph.graph_def.library.function}
        bodies = {name: list(each.node_def) for name, each in functions.items() if name not in own}
        main = [node for node in graph.graph_def.node if node.name not in saver]
        legacy = not functions  # of TensorFlow 1: the saver's nodes lie in the graph itself
        for node in _all([main, *bodies.values()]):
            if legacy and node.name.startswith("save/"):
                continue
            reached = own & set(_called(node))
            if node.op in HARMFUL or reached:
                raise Refused(
                    f"the SavedModel has an operator {node.op} (node {node.name!r}), which may write files or run code",
                    mend="give --trust-code if you trust who made it",
                )


def _called(node: Any) -> Iterator[str]:
    for attribute in node.attr.values():
        if attribute.func.name:
            yield attribute.func.name
        yield from (each.name for each in attribute.list.func)


def _all(groups: Iterable[Iterable[Any]]) -> Iterator[Any]:
    for group in groups:
        yield from group
