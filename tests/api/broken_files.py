"""Models that no runtime can run, by what is wrong with them: texts of onnx.parser, and edits of what no text states.

onnx.checker or onnxruntime refuses each; ``test_broken_operators.py`` holds ours to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx
from onnx import helper, parser

IMPORTS = '<ir_version: 8, opset_import: ["" : {}, "my" : 1]>'
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
ACTIVATIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}

TEXTS = {
    "out is initializer, dtype": (
        17,
        "g (float[2,3] x) => (float[2,3] y, int64[1] w) <float[1] w = {1}> { y = Neg(x) }",
        "the initializer 'w' is declared as a tensor(int64)",
    ),
    "out sequence but tensor": (
        17,
        "g (float[2,3] x) => (seq(float[2,3]) y) { y = Neg(x) }",
        "the value 'y' is declared as a seq(tensor(float))",
    ),
    "out tensor but sequence": (
        17,
        "g (float[2,3] x) => (float[2,3] y) { y = SequenceConstruct(x) }",
        "the value 'y' is declared as a tensor(float)",
    ),
    "function attribute missing": (
        17,
        (
            'g (float[2,3] x) => (float[2,3] y) { y = my.f(x) } <domain: "my", opset_import: ["" : 17]> '
            "f <k> (a) => (b) { b = Concat <axis : int = @k> (a, a) }"
        ),
        "a call of the function f lacks the attribute 'k'",
    ),
    "function shapes": (
        17,
        (
            'g (float[2,3] x) => (float[2,3] y) { y = my.f(x) } <domain: "my", opset_import: ["" : 17]> '
            "f (a) => (b) { b = MatMul(a, a) }"
        ),
        "Incompatible dimensions for matrix multiplication",
    ),
    "If condition shape": (
        17,
        (
            "g (bool[2] c, float x) => (float y) { y = If (c) <then_branch = a () => (float p) { p = "
            "Relu(x) }, else_branch = b () => (float q) { q = Neg(x) }> }"
        ),
        "input 0 has the dims [2], and must be one number",
    ),
    "If branch kind": (
        17,
        (
            "g (bool c, float x) => (float y) { y = If (c) <then_branch = a () => (seq(float) p) { p = "
            "SequenceConstruct(x) }, else_branch = b () => (float q) { q = Neg(x) }> }"
        ),
        "the branches of an If give a sequence and a tensor(float)",
    ),
    "Loop body state dtype": (
        17,
        (
            "g (int64 n, bool c, float[1] x) => (float[1] y) { y = Loop (n, c, x) <body = b (int64 i, "
            "bool d, float[1] v) => (bool e, int64[1] o) { e = Identity(d) o = Cast <to=7> (v) }> }"
        ),
        "a state of a Loop is, before and after, a tensor(float) and",
    ),
    "Loop too many body outputs": (
        17,
        (
            "g (int64 n, bool c, float[1] x) => (float[1] y) { y = Loop (n, c, x) <body = b (int64 i, "
            "bool d, float[1] v) => (bool e, float[1] o, float[1] o2) { e = Identity(d) o = Neg(v) o2 = "
            "Abs(v) }> }"
        ),
        "the body of a Loop gives 3 outputs",
    ),
    "Loop trip count rank": (
        17,
        (
            "g (int64[2] n, bool c, float[1] x) => (float[1] y) { y = Loop (n, c, x) <body = b (int64 i, "
            "bool d, float[1] v) => (bool e, float[1] o) { e = Identity(d) o = Neg(v) }> }"
        ),
        "input 0 has the dims [2], and must be one number",
    ),
    "Scan body inputs": (
        17,
        (
            "g (float[1] s, float[4,1] x) => (float[1] y, float[4,1] z) { y, z = Scan <num_scan_inputs = "
            "1, body = b (float[1] a) => (float[1] o, float[1] p) { o = Neg(a) p = Neg(a) }> (s, x) }"
        ),
        "the body of a Scan has 1 inputs",
    ),
    "Scan body outputs": (
        17,
        (
            "g (float[1] s, float[4,1] x) => (float[1] y, float[4,1] z) { y, z = Scan <num_scan_inputs = "
            "1, body = b (float[1] a, float[1] v) => (float[1] o) { o = Add(a, v) }> (s, x) }"
        ),
        "the body of a Scan gives 1 outputs",
    ),
    "Scan more body outputs": (
        17,
        (
            "g (float[1] s, float[4,1] x) => (float[1] y, float[4,1] z) { y, z = Scan <num_scan_inputs = "
            "1, body = b (float[1] a, float[1] v) => (float[1] o, float[1] p, float[1] q) { o = Add(a, "
            "v) p = Neg(v) q = Neg(v) }> (s, x) }"
        ),
        "the body of a Scan gives 3 outputs",
    ),
    "Scan num_scan_inputs": (
        17,
        (
            "g (float[1] s, float[4,1] x) => (float[1] y, float[4,1] z) { y, z = Scan <num_scan_inputs = "
            "5, body = b (float[1] a, float[1] v) => (float[1] o, float[1] p) { o = Add(a, v) p = Neg(v) "
            "}> (s, x) }"
        ),
        "num_scan_inputs of a Scan is 5",
    ),
    "Scan num_scan_inputs 0": (
        17,
        (
            "g (float[1] s, float[4,1] x) => (float[1] y, float[4,1] z) { y, z = Scan <num_scan_inputs = "
            "0, body = b (float[1] a, float[1] v) => (float[1] o, float[1] p) { o = Add(a, v) p = Neg(v) "
            "}> (s, x) }"
        ),
        "num_scan_inputs of a Scan is 0",
    ),
    "Scan state dtype": (
        17,
        (
            "g (float[1] s, float[4,1] x) => (float[1] y, float[4,1] z) { y, z = Scan <num_scan_inputs = "
            "1, body = b (float[1] a, float[1] v) => (int64[1] o, float[1] p) { o = Cast <to=7> (a) p = "
            "Neg(v) }> (s, x) }"
        ),
        "a state of a Scan is, before and after, a tensor(float) and",
    ),
    "Scan axes": (
        17,
        (
            "g (float[1] s, float[4,1] x) => (float[1] y, float[4,1] z) { y, z = Scan <num_scan_inputs = "
            "1, body = b (float[1] a, float[1] v) => (float[1] o, float[1] p) { o = Add(a, v) p = Neg(v) "
            "}, scan_input_axes = [7]> (s, x) }"
        ),
        "axis 7 of 2 dims is scanned",
    ),
    "Scan axes count": (
        17,
        (
            "g (float[1] s, float[4,1] x) => (float[1] y, float[4,1] z) { y, z = Scan <num_scan_inputs = "
            "1, body = b (float[1] a, float[1] v) => (float[1] o, float[1] p) { o = Add(a, v) p = Neg(v) "
            "}, scan_input_axes = [0, 0]> (s, x) }"
        ),
        "a Scan has 2 scan_input_axes",
    ),
    "Scan directions": (
        17,
        (
            "g (float[1] s, float[4,1] x) => (float[1] y, float[4,1] z) { y, z = Scan <num_scan_inputs = "
            "1, body = b (float[1] a, float[1] v) => (float[1] o, float[1] p) { o = Add(a, v) p = Neg(v) "
            "}, scan_input_directions = [7]> (s, x) }"
        ),
        "scan_input_directions of a Scan are [7]",
    ),
    "Scan output axes": (
        17,
        (
            "g (float[1] s, float[4,1] x) => (float[1] y, float[4,1] z) { y, z = Scan <num_scan_inputs = "
            "1, body = b (float[1] a, float[1] v) => (float[1] o, float[1] p) { o = Add(a, v) p = Neg(v) "
            "}, scan_output_axes = [7]> (s, x) }"
        ),
        "axis 7 of rank 2",
    ),
    "Scan lengths": (
        17,
        (
            "g (float[4,1] x, float[5,1] w) => (float y) { y = Scan <num_scan_inputs = 2, body = b "
            "(float[1] a, float[1] v) => (float[1] o) { o = Add(a, v) }> (x, w) }"
        ),
        "4 and 5 elements are scanned together",
    ),
    "Conv group of outputs": (
        17,
        "g (float[1,4,5,5] x, float[3,2,3,3] w) => (float y) { y = Conv <group = 2> (x, w) }",
        "3 maps are computed in 2 groups",
    ),
    "Conv bias": (
        17,
        "g (float[1,4,5,5] x, float[3,4,3,3] w, float[4] b) => (float y) { y = Conv(x, w, b) }",
        "the bias has the dims [4], and must have [3]",
    ),
    "Conv bias rank": (
        17,
        "g (float[1,4,5,5] x, float[3,4,3,3] w, float[3,1] b) => (float y) { y = Conv(x, w, b) }",
        "the bias has the dims [3, 1], and must have [3]",
    ),
    "Conv negative pads": (
        17,
        ("g (float[1,4,5,5] x, float[3,4,3,3] w) => (float y) { y = Conv <pads = [-1,-1,-1,-1]> (x, w) }"),
        "Attribute pads must not contain negative values",
    ),
    "Conv kernel beyond data": (
        17,
        "g (float[1,4,2,2] x, float[3,4,5,5] w) => (float y) { y = Conv(x, w) }",
        "the kernel covers 5 elements, the padded data has 2",
    ),
    "ConvTranspose channels": (
        17,
        "g (float[1,4,5,5] x, float[3,4,3,3] w) => (float y) { y = ConvTranspose(x, w) }",
        "the data has 4 channels, the weights take 3",
    ),
    "ConvTranspose group": (
        17,
        "g (float[1,4,5,5] x, float[4,4,3,3] w) => (float y) { y = ConvTranspose <group = 3> (x, w) }",
        "4 channels are taken in 3 groups",
    ),
    "ConvTranspose bias": (
        17,
        ("g (float[1,4,5,5] x, float[4,4,3,3] w, float[5] b) => (float y) { y = ConvTranspose(x, w, b) }"),
        "the bias has the dims [5], and must have [4]",
    ),
    "AveragePool kernel too large": (
        17,
        "g (float[1,4,2,2] x) => (float y) { y = AveragePool <kernel_shape = [5,5]> (x) }",
        "the window covers 5 elements, the padded data has 2",
    ),
    "GlobalAveragePool rank": (17, "g (float[4] x) => (float y) { y = GlobalAveragePool(x) }", "data of 1 dims"),
    "Reshape -2": (
        17,
        "g (float[2,3] x) => (float y) <int64[2] s = {-2, -3}> { y = Reshape(x, s) }",
        "the shape is [-2, -3]",
    ),
    "Reshape 0 wrong": (
        17,
        "g (float[2,3] x) => (float y) <int64[2] s = {0, 4}> { y = Reshape(x, s) }",
        "6 elements are given the shape [0, 4]",
    ),
    "Reshape rank of target": (
        17,
        "g (float[2,3] x, int64[1,2] s) => (float y) { y = Reshape(x, s) }",
        "shape input must be 1D tensor",
    ),
    "GatherElements rank": (
        17,
        "g (float[2,3] x, int64[1] i) => (float y) { y = GatherElements(x, i) }",
        "data of 2 dims and indices of 1",
    ),
    "GatherElements shape": (
        17,
        "g (float[2,3] x, int64[2,5] i) => (float y) { y = GatherElements(x, i) }",
        "the indices have 5 entries in axis 1, the data has 3",
    ),
    "GatherElements index": (
        17,
        "g (float[2,3] x) => (float y) <int64[1,1] i = {7}> { y = GatherElements(x, i) }",
        "the index 7 is none of 2 entries",
    ),
    "GatherND index": (
        17,
        "g (float[2,3] x) => (float y) <int64[1,1] i = {7}> { y = GatherND(x, i) }",
        "the index 7 is none of 2 entries",
    ),
    "ScatterElements index": (
        17,
        ("g (float[2,3] x, float[1,1] u) => (float y) <int64[1,1] i = {7}> { y = ScatterElements(x, i, u) }"),
        "the index 7 is none of 2 entries",
    ),
    "ScatterElements shapes": (
        17,
        "g (float[2,3] x, int64[1,1] i, float[2,2] u) => (float y) { y = ScatterElements(x, i, u) }",
        "the updates have the dims [2, 2], the indices [1, 1]",
    ),
    "ScatterND updates": (
        17,
        "g (float[2,3] x, int64[1,1] i, float[2] u) => (float y) { y = ScatterND(x, i, u) }",
        "the updates have the dims [2], and must have [1, 3]",
    ),
    "Split uneven": (
        17,
        "g (float[2,3] x) => (float a, float b) { a, b = Split <axis = 1> (x) }",
        "The input is not evenly splittable",
    ),
    "Split negative": (
        17,
        ("g (float[2,3] x) => (float a, float b) <int64[2] s = {4, -1}> { a, b = Split <axis = 1> (x, s) }"),
        "a size is -1",
    ),
    "Split 18 both": (
        18,
        (
            "g (float[2,3] x) => (float a, float b) <int64[2] s = {1,2}> { a, b = Split <axis = 1, "
            "num_outputs = 2> (x, s) }"
        ),
        "Both 'split' input and 'num_outputs' attribute were given",
    ),
    "Split 18 neither": (
        18,
        "g (float[2,3] x) => (float a, float b) { a, b = Split <axis = 0> (x) }",
        "Neither 'split' input nor 'num_outputs' attribute has been g",
    ),
    "Split 18 num_outputs": (
        18,
        "g (float[2,3] x) => (float a, float b) { a, b = Split <axis = 0, num_outputs = 3> (x) }",
        "num_outputs is not the number of outputs",
    ),
    "Flatten axis": (
        17,
        "g (float[2,3] x) => (float y) { y = Flatten <axis = 5> (x) }",
        "Invalid value(5) for attribute 'axis'",
    ),
    "Expand negative": (
        17,
        "g (float[2,3] x) => (float y) <int64[2] s = {-4, 3}> { y = Expand(x, s) }",
        "Incompatible dimensions",
    ),
    "Tile negative": (
        17,
        "g (float[2,3] x) => (float y) <int64[2] s = {2, -1}> { y = Tile(x, s) }",
        "'Repeats' input must not contain negative values",
    ),
    "CumSum axis": (17, "g (float[2,3] x) => (float y) <int64 s = {5}> { y = CumSum(x, s) }", "axis 5 of 2 dims"),
    "OneHot values": (
        17,
        "g (int64[2] x, float[3] v) => (float y) <int64 d = {3}> { y = OneHot(x, d, v) }",
        "Input 'values' must have exactly two elements",
    ),
    "Slice axis": (
        17,
        (
            "g (float[2,3] x) => (float y) <int64[1] a = {0}, int64[1] b = {1}, int64[1] c = {5}> { y = "
            "Slice(x, a, b, c) }"
        ),
        "axis 5 of 2 dims",
    ),
    "Slice lengths": (
        17,
        "g (float[2,3] x) => (float y) <int64[1] a = {0}, int64[2] b = {1, 1}> { y = Slice(x, a, b) }",
        "starts, ends, axes and steps have 1 and 2 entries",
    ),
    "Slice ranks": (
        17,
        ("g (float[2,3] x) => (float y) <int64[3] a = {0,0,0}, int64[3] b = {1,1,1}> { y = Slice(x, a, b) }"),
        "3 axes are cut of 2 dims",
    ),
    "Slice axes twice": (
        17,
        ("g (float[2,3] x) => (float y) <int64[2] a = {0,0}, int64[2] b = {1,1}> { y = Slice(x, a, b, a) }"),
        "an axis stands twice in [0, 0]",
    ),
    "Pad too negative": (
        17,
        "g (float[2,3] x) => (float y) <int64[4] p = {-5,0,0,0}> { y = Pad(x, p) }",
        "5 elements are cut off 2",
    ),
    "Gemm bias": (
        17,
        "g (float[2,3] x, float[3,5] w, float[4] b) => (float y) { y = Gemm(x, w, b) }",
        "C has the dims [4], and is added to [2, 5]",
    ),
    "Gemm bias rank": (
        17,
        "g (float[2,3] x, float[3,5] w, float[1,2,5] b) => (float y) { y = Gemm(x, w, b) }",
        "C has the dims [1, 2, 5], and is added to [2, 5]",
    ),
    "Einsum sizes": (
        17,
        'g (float[2,3] x, float[4,5] w) => (float y) { y = Einsum <equation = "ij,jk->ik"> (x, w) }',
        "'j' stands for 3 and for 4 elements",
    ),
    "Einsum syntax": (
        17,
        'g (float[2,3] x) => (float y) { y = Einsum <equation = "i!j->"> (x) }',
        "the equation 'i!j->' is malformed",
    ),
    "BatchNorm rank": (
        17,
        "g (float[1,4,5,5] x, float[4,1] w) => (float y) { y = BatchNormalization(x, w, w, w, w) }",
        "Input 1 expected to have rank 1 but has rank 2 in node Batch",
    ),
    "InstanceNorm": (
        17,
        "g (float[1,4,5,5] x, float[3] w) => (float y) { y = InstanceNormalization(x, w, w) }",
        "input 1 has the dims [3] for 4 channels",
    ),
    "LayerNorm axis": (
        17,
        "g (float[1,4] x, float[4] w) => (float y) { y = LayerNormalization <axis = 5> (x, w) }",
        "axis 5 of 2 dims",
    ),
    "LayerNorm scale": (
        17,
        "g (float[1,4] x, float[5] w) => (float y) { y = LayerNormalization(x, w) }",
        "input 1 has the dims [5], the data [1, 4]",
    ),
    "GroupNorm groups": (
        21,
        ("g (float[1,4,5,5] x, float[4] w) => (float y) { y = GroupNormalization <num_groups = 3> (x, w, w) }"),
        "4 channels in 3 groups",
    ),
    "PRelu slope": (
        17,
        "g (float[1,4,5,5] x, float[3] w) => (float y) { y = PRelu(x, w) }",
        "slopes of the dims [3] for data of [1, 4, 5, 5]",
    ),
    "DepthToSpace": (
        17,
        "g (float[1,5,2,2] x) => (float y) { y = DepthToSpace <blocksize = 2> (x) }",
        "5 channels in blocks of 2 x 2",
    ),
    "DepthToSpace mode": (
        17,
        'g (float[1,4,2,2] x) => (float y) { y = DepthToSpace <blocksize = 2, mode = "foo"> (x) }',
        "the mode of DepthToSpace is 'foo'",
    ),
    "SpaceToDepth": (
        17,
        "g (float[1,4,3,3] x) => (float y) { y = SpaceToDepth <blocksize = 2> (x) }",
        "an image of [3, 3] in blocks of 2",
    ),
    "SpaceToDepth rank": (
        17,
        "g (float[4,2] x) => (float y) { y = SpaceToDepth <blocksize = 2> (x) }",
        "Input tensor must be 4-dimensional",
    ),
    "Resize scales count": (
        17,
        "g (float[1,1,2,2] x) => (float y) <float[2] s = {2.0, 2.0}> { y = Resize(x, , s) }",
        "Number of elements of input 'scales' must be same as rank of",
    ),
    "Resize mode": (
        17,
        ('g (float[1,1,2,2] x) => (float y) <float[4] s = {1,1,2,2}> { y = Resize <mode = "foo"> (x, , s) }'),
        "the mode of Resize is 'foo'",
    ),
    "Resize coordinate": (
        17,
        (
            "g (float[1,1,2,2] x) => (float y) <float[4] s = {1,1,2,2}> { y = Resize "
            '<coordinate_transformation_mode = "foo"> (x, , s) }'
        ),
        "the coordinate_transformation_mode of Resize is 'foo'",
    ),
    "Resize negative scale": (
        17,
        "g (float[1,1,2,2] x) => (float y) <float[4] s = {1,1,-2,2}> { y = Resize(x, , s) }",
        "a scale is -2.0",
    ),
    "TopK negative": (
        17,
        "g (float[2,3] x) => (float v, int64 i) <int64[1] k = {-1}> { v, i = TopK(x, k) }",
        "-1 elements are asked for",
    ),
    "TopK k shape": (
        17,
        "g (float[2,3] x) => (float v, int64 i) <int64[2] k = {1, 1}> { v, i = TopK(x, k) }",
        "K input must be a one-dimensional tensor of size 1",
    ),
    "Range step 0": (17, "g () => (int64 y) <int64 a = {0}, int64 b = {5}> { y = Range(a, b, a) }", "the step is 0"),
    "ConstantOfShape negative": (
        17,
        "g () => (float y) <int64[2] s = {-2, 3}> { y = ConstantOfShape(s) }",
        "shape input tensor must have non-negative elements",
    ),
    "ConstantOfShape value two": (
        17,
        ("g () => (float y) <int64[2] s = {2, 3}> { y = ConstantOfShape <value = float[2] {1, 2}> (s) }"),
        "the value has 2 elements, and must have 1",
    ),
    "QuantizeLinear axis": (
        17,
        ("g (float[2,3] x, float[3] s, uint8[3] z) => (uint8 y) { y = QuantizeLinear <axis = 5> (x, s, z) }"),
        "axis 5 of 2 dims",
    ),
    "QuantizeLinear scale size": (
        17,
        ("g (float[2,3] x, float[4] s, uint8[4] z) => (uint8 y) { y = QuantizeLinear <axis = 1> (x, s, z) }"),
        "4 scales are given for 3 entries of axis 1",
    ),
    "DequantizeLinear scale size": (
        17,
        ("g (uint8[2,3] x, float[4] s, uint8[4] z) => (float y) { y = DequantizeLinear <axis = 1> (x, s, z) }"),
        "4 scales are given for 3 entries of axis 1",
    ),
    "Trilu rank": (17, "g (float[3] x) => (float y) { y = Trilu(x) }", "Input rank must be >= 2"),
    "Clip bounds shape": (
        17,
        "g (float[2,3] x, float[2] r) => (float y) { y = Clip(x, r) }",
        "a bound has the dims [2]",
    ),
    "LRN size": (17, "g (float[1,4,5,5] x) => (float y) { y = LRN <size = 0> (x) }", "size is 0"),
    "NMS boxes": (
        17,
        "g (float[1,5,3] b, float[1,1,5] s) => (int64 y) { y = NonMaxSuppression(b, s) }",
        "a box has 3 numbers",
    ),
    "RoiAlign rois": (
        17,
        "g (float[1,4,5,5] x, float[2,3] r, int64[2] i) => (float y) { y = RoiAlign(x, r, i) }",
        "regions of the dims [2, 3]",
    ),
    "BitShift direction": (
        17,
        'g (uint8[2] x) => (uint8 y) { y = BitShift <direction = "UP"> (x, x) }',
        "the direction of BitShift is 'UP'",
    ),
    "SequenceAt of a tensor": (
        17,
        "g (float[2,3] x, int64 i) => (float y) { y = SequenceAt(x, i) }",
        "input 0 of SequenceAt is a tensor(float)",
    ),
    "Relu of a sequence": (
        17,
        "g (seq(float[2]) x) => (float y) { y = Relu(x) }",
        "input 0 of Relu is a seq(tensor(float))",
    ),
    "ReverseSequence axes": (
        17,
        ("g (float[2,3] x, int64[3] l) => (float y) { y = ReverseSequence <batch_axis = 0, time_axis = 0> (x, l) }"),
        "batch_axis and time_axis are both 0",
    ),
    "MaxUnpool": (
        17,
        ("g (float[1,1,2,2] x, float[1,1,2,2] i) => (float y) { y = MaxUnpool <kernel_shape = [2,2]> (x, i) }"),
        "input 1 of MaxUnpool is a tensor(float)",
    ),
}
"""Fault -> operator set, text, and words of the message."""


def model(text: str, version: int = 17) -> onnx.ModelProto:
    """The model; outputs that a text gives as scalars are declared without a shape."""
    made = parser.parse_model(f"{IMPORTS.format(version)} {text}")
    for value in made.graph.output:
        kind = value.type.tensor_type
        if kind.HasField("shape") and not kind.shape.dim:
            kind.ClearField("shape")
    return made


def recurrent() -> Iterator[tuple[str, onnx.ModelProto, str]]:
    """LSTM, GRU and RNN of 4 inputs and 8 hidden units over 5 steps, with one wrong size or word each."""
    for kind, gates in GATES.items():
        rows = 8 * gates
        good = {"x": "5,1,4", "w": f"1,{rows},4", "r": f"1,{rows},8", "b": f"1,{2 * rows}", "h": "1,1,8"}
        names = ", ".join(['"Tanh"'] * ACTIVATIONS[kind])
        for fault, sizes, extra, words in (
            ("rows of W", {"w": f"1,{rows + 1},4"}, "", "W has the dims"),
            ("columns of W", {"w": f"1,{rows},5"}, "", "W has the dims"),
            ("columns of R", {"r": f"1,{rows},7"}, "", "R has the dims"),
            ("bias of one half", {"b": f"1,{rows}"}, "", "B has the dims"),
            ("state", {"h": "1,1,7"}, "", "initial_h has the dims"),
            ("rank of R", {"r": f"{rows},8"}, "", "R has 2 dims"),
            ("direction", {}, ', direction = "sideways"', "the direction of"),
            ("both directions", {}, ', direction = "bidirectional"', "must have [2, "),
            ("layout", {}, ", layout = 2", "the layout of"),
            (
                "too few activations",
                {},
                f', direction = "bidirectional", activations = [{names}]',
                "activations are given",
            ),
            ("activation", {}, f", activations = [{names.replace('Tanh', 'Foo')}]", "has the activation 'Foo'"),
        ):
            inputs = ", ".join(f"float[{dims}] {name}" for name, dims in {**good, **sizes}.items())
            text = f"g ({inputs}) => (float y) {{ y = {kind} <hidden_size = 8{extra}> (x, w, r, b, , h) }}"
            yield f"{fault} of {kind}", model(text), words


def edited() -> Iterator[tuple[str, onnx.ModelProto, str]]:
    """Faults that no text states."""

    def edit(fault: str, text: str, change: Callable[[onnx.ModelProto], object], words: str) -> None:
        made = model(text)
        change(made)
        found.append((fault, made, words))

    found: list[tuple[str, onnx.ModelProto, str]] = []
    joined = "g (float[2,3] x) => (float y) { y = Concat <axis = 0> (x, x) }"
    negated = "g (float[2,3] x) => (float[2,3] y) { y = Neg(x) }"

    def refer(made: onnx.ModelProto) -> None:
        made.graph.node[0].attribute[0].ClearField("i")
        made.graph.node[0].attribute[0].ref_attr_name = "k"

    edit("reference outside a function", joined, refer, "it stands in no function")
    edit(
        "output of no element type",
        negated,
        lambda made: made.graph.output[0].type.tensor_type.ClearField("elem_type"),
        "declared to be of no type",
    )
    edit(
        "result without a name",
        negated,
        lambda made: made.graph.node.append(helper.make_node("Neg", ["x"], [""])),
        "output 0 of Neg has no name",
    )
    yield from found


def broken_files() -> dict[str, tuple[onnx.ModelProto, str]]:
    """Every one: fault -> model, words of the message."""
    found = {fault: (model(text, version), words) for fault, (version, text, words) in TEXTS.items()}
    found.update({fault: (made, words) for fault, made, words in (*recurrent(), *edited())})
    return found
