"""Layers on rows: MatMul(X[.., L, K], W) + b -> Gemm(X'[R, K], W, b), where X' is X with its leading dims made one.

An int8 kernel adds the bias to its integer sums, but only onnxruntime's QGemm does so, and that takes matrices. All
operators that treat each row alike (products, sums, normalization, activations, conversions) compute the same on the
matrix of all rows, bit for bit. So whole regions of such operators are computed on matrices: one Reshape where a value
enters, one where it leaves. A Reshape that stands there anyway takes the other's part.

The bias of an int8 product becomes int32 on the grid of the sums, scale of the activation times that of the weight.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import ShapeFacts, infer_shapes
from onnxslim.graph.edit import Names, add_initializer, constant_tensor, drop_unused
from onnxslim.pipeline import Context

from .dead import drop_dead
from .form_region import RowRegion, fixed, regions_of, row_operands, sum_scale


def use_rows(model: ir.Model, context: Context) -> None:
    """Computes each region on matrices, in place.

    Args:
        model: Opset 13 or newer.
        context: Is asked before each region.
    """
    facts = infer_shapes(model)
    for region in regions_of(model, facts, context):
        if context.allow(region.action):
            _Editor(model, facts, region).run()


class _Editor:
    """Puts one region on matrices."""

    def __init__(self, model: ir.Model, facts: ShapeFacts, region: RowRegion) -> None:
        self._model, self._graph, self._facts, self._region = model, model.graph, facts, region
        self._names = Names.of(model)
        self._inside = set(region.nodes)
        self._entered: dict[ir.Value, ir.Value] = {}
        self._targets: dict[tuple[int, ...], ir.Value] = {}
        self._first = region.nodes[0]
        self._dims: ir.Value | None = None

    def run(self) -> None:
        """Reshapes what enters and what leaves, then lets products add their biases."""
        made = {node.outputs[0] for node in self._region.nodes}
        self._source = self._anchor(made)
        leaving = [node for node in self._region.nodes if self._leaves(node.outputs[0])]
        for node in self._region.nodes:
            for index in row_operands(node, self._facts):
                value = node.inputs[index]
                if value is not None and value not in made:
                    node.replace_input_with(index, self._enter(value, node))
        for node in leaving:
            self._leave(node)
        for node in self._region.nodes:
            y = node.outputs[0]
            shape = self._facts.shape(y)
            assert shape is not None
            y.shape = None if y.type is None else ir.Shape([None, shape[-1] if isinstance(shape[-1], int) else None])
            if node.op_type == "LayerNormalization" and "axis" in node.attributes:
                node.attributes["axis"] = ir.AttrInt64("axis", -1)
        for product, (add, bias) in self._region.biases.items():
            self._fuse(product, add, bias)
        for value in self._entered:
            drop_dead(self._graph, value)

    def _anchor(self, made: set[ir.Value]) -> ir.Value:
        """A value that enters before anything leaves, to read the leading dims of."""
        for index in row_operands(self._first, self._facts):
            value = self._first.inputs[index]
            if value is not None and value not in made:
                return value
        raise AssertionError("the first node of a region reads what enters it")

    def _enter(self, value: ir.Value, reader: ir.Node) -> ir.Value:
        if value not in self._entered:
            shape = self._facts.shape(value)
            assert shape is not None
            last = shape[-1]
            assert isinstance(last, int)
            producer = value.producer()
            source = value
            if producer is not None and (producer.domain, producer.op_type) == ("", "Reshape"):
                assert producer.inputs[0] is not None
                source = producer.inputs[0]
            self._entered[value] = self._reshape(source, self._target((), last), value, before=reader)
        return self._entered[value]

    def _leaves(self, value: ir.Value) -> bool:
        return value.is_graph_output() or any(use.node not in self._inside for use in value.uses())

    def _leave(self, node: ir.Node) -> None:
        """Gives readers outside the shape that they know."""
        y, shape = node.outputs[0], self._facts.shape(node.outputs[0])
        assert shape is not None
        last, rank = shape[-1], len(self._region.lead)
        assert isinstance(last, int)
        rest = [(use.node, use.idx) for use in y.uses() if use.node not in self._inside]
        for user, index in list(rest):
            after = self._facts.shape(user.outputs[0]) if (user.domain, user.op_type) == ("", "Reshape") else None
            if index or after is None or after[:rank] != self._region.lead:
                continue
            tail = tuple(dim for dim in after[rank:] if isinstance(dim, int))
            if len(tail) == len(after) - rank and 0 not in tail:
                old = user.inputs[1]
                user.replace_input_with(1, self._target(self._region.lead, *tail))
                self._declare(user.outputs[0], user.outputs[0])
                self._allow_zero(user)
                if old is not None:
                    drop_dead(self._graph, old)
                rest.remove((user, index))
        if not rest and not y.is_graph_output():
            return
        target = self._target(self._region.lead, last)
        back = self._reshape(y, target, y, after=node)
        for user, index in rest:
            user.replace_input_with(index, back)
        if y.is_graph_output():
            name = y.name
            y.name, back.name = self._names.fresh(f"{name}_rows"), name
            back.type, back.shape = y.type, y.shape
            for place, output in enumerate(self._graph.outputs):
                if output is y:
                    self._graph.outputs[place] = back

    def _target(self, lead: tuple[object, ...], *rest: int) -> ir.Value:
        """The shape ``lead + rest`` for a Reshape, or that of the matrix where no lead is given."""
        dims, key = fixed(lead) if lead else [-1], (len(lead), *rest)
        if key in self._targets:
            return self._targets[key]
        if dims is not None:
            made = self._constant("rows_shape", np.array([*dims, *rest], np.int64))
        else:
            tail = self._constant("rows_shape", np.array(rest, np.int64))
            concat = ir.node("Concat", [self._leading(), tail], {"axis": 0})
            concat.name = concat.outputs[0].name = self._names.fresh("rows_shape")
            self._first.prepend(concat)
            made = concat.outputs[0]
        self._targets[key] = made
        return made

    def _leading(self) -> ir.Value:
        """The leading dims as they are in a run."""
        if self._dims is None:
            node = ir.node("Shape", [self._source], {"end": len(self._region.lead)})
            node.name = node.outputs[0].name = self._names.fresh("rows_dims")
            self._first.prepend(node)
            self._dims = node.outputs[0]
        return self._dims

    def _allow_zero(self, reshape: ir.Node) -> None:
        """A dim of 0 in a computed target is 0; in a constant one there is none."""
        reshape.attributes.pop("allowzero", None)
        if fixed(self._region.lead) is None:
            reshape.attributes["allowzero"] = ir.AttrInt64("allowzero", 1)

    def _declare(self, value: ir.Value, like: ir.Value) -> None:
        """Writes down what no inference finds through a computed target."""
        shape, dtype = self._facts.shape(like), self._facts.dtype(like)
        if shape is not None and dtype is not None and fixed(self._region.lead) is None and value.shape is None:
            value.type = ir.TensorType(dtype)
            value.shape = ir.Shape([dim if isinstance(dim, int) else None for dim in shape])

    def _constant(self, name: str, array: np.ndarray) -> ir.Value:
        return add_initializer(self._graph, self._names.fresh(name), array)

    def _reshape(
        self,
        value: ir.Value,
        target: ir.Value,
        like: ir.Value,
        *,
        before: ir.Node | None = None,
        after: ir.Node | None = None,
    ) -> ir.Value:
        node = ir.node("Reshape", [value, target])
        if after is not None:
            self._allow_zero(node)
        node.name = node.outputs[0].name = self._names.fresh("rows")
        if after is not None:
            self._declare(node.outputs[0], like)
        if before is not None:
            before.prepend(node)
        elif after is not None:
            after.append(node)
        return node.outputs[0]

    def _fuse(self, product: ir.Node, add: ir.Node, bias: ir.Value) -> None:
        """Makes one Gemm of a product and the sum behind it."""
        x, weight = product.inputs
        added = bias if constant_tensor(weight) is not None else self._integer_bias(product, bias)
        gemm = ir.node("Gemm", [x, weight, added])
        y, name = add.outputs[0], add.outputs[0].name
        made = gemm.outputs[0]
        made.type, made.shape, gemm.name = y.type, y.shape, product.name
        product.prepend(gemm)
        y.replace_all_uses_with(made)
        self._graph.remove([add, product], safe=True)
        made.name = name
        drop_unused(self._graph, bias)

    def _integer_bias(self, product: ir.Node, bias: ir.Value) -> ir.Value:
        scale, tensor = sum_scale(product), constant_tensor(bias)
        assert tensor is not None
        assert isinstance(scale, np.ndarray)
        columns = tensor.shape.numpy()[0]
        scale = np.broadcast_to(scale, (columns,)).copy()
        integers = np.rint(tensor.numpy().astype(np.float64) / scale).astype(np.int32)
        inputs = [self._constant("rows_bias", integers), self._constant("rows_bias_scale", scale)]
        node = ir.node("DequantizeLinear", inputs, {"axis": 0})
        node.name = node.outputs[0].name = self._names.fresh("rows_bias_float")
        product.prepend(node)
        return node.outputs[0]
