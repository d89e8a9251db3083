"""Numbers of some bits, gaps, and all ways to store a tensor: onnxruntime gives every bit of it back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.packing import Content, Packing, packings, restored
from onnxslim.packing.packing import GAP_BITS, bits_for, gap_codes, gaps, pack, payload, skips
from tests.packing.arrays import DTYPES, Array, name_of, unpacking, words

BITS = range(1, 9)


def unpacked(packed: npt.NDArray[np.uint8], bits: int, count: int) -> list[int]:
    """What the decoder computes, in numpy."""
    if 8 % bits:
        planes = np.array(unpacked(packed, 1, 8 * len(packed))).reshape(bits, -1)
        return [int(each) for each in (planes * (1 << np.arange(bits))[:, np.newaxis]).sum(axis=0)][:count]
    if bits == 1:
        return [int(byte) >> place & 1 for byte in packed for place in range(8)][:count]
    rows = [(packed >> (place * bits)) & (2**bits - 1) for place in range(8 // bits)]
    return [int(each) for each in np.concatenate(rows)][:count]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_numbers_are_packed_without_loss(data: st.DataObject) -> None:
    bits = data.draw(st.sampled_from(BITS))
    codes = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=40))
    packed = pack(np.array(codes, np.uint8), bits)
    assert unpacked(packed, bits, len(codes)) == codes
    assert len(packed) == (bits * -(-len(codes) // 8) if 8 % bits else -(-len(codes) * bits // 8))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 700), max_size=12), st.integers(0, 5), st.sampled_from(list(GAP_BITS)))
def test_gaps_of_any_length_are_read_back(lengths: list[int], behind: int, bits: int) -> None:
    array = np.zeros(sum(lengths) + len(lengths) + behind, np.uint8)
    places = np.cumsum([each + 1 for each in lengths]) - 1 if lengths else np.zeros(0, np.int64)
    array[places] = 7
    content = Content.of(array)
    assert gaps(content).tolist() == lengths
    codes = gap_codes(content, bits)
    place, found, longest = 0, [], 2**bits - 1
    for code in codes.tolist():
        place += code
        if code < longest:
            found.append(place)
            place += 1
    assert found == places.tolist()
    assert len(codes) == len(lengths) + skips(content, bits)


@pytest.mark.parametrize("values", [0, 1, 3, 100, 255, 256])
@pytest.mark.parametrize("zeros", [0.0, 0.5, 1.0])
def test_only_what_can_be_stored_is_tried(zeros: float, values: int) -> None:
    array = np.arange(1, 3001, dtype=np.float32) % (values or 3000) + 1
    array[: round(3000 * zeros)] = 0
    found = list(packings(Content.of(array)))
    palette = 0 if zeros == 1 else min(values or 3000, round(3000 * (1 - zeros)))
    everywhere = [each for each in found if each.places == "all"]
    entries = palette + (zeros > 0)
    assert [each.value_bits for each in everywhere] == ([bits_for(entries)] if entries <= 256 else [])
    sparse = [each for each in found if each.places != "all"]
    ways = 1 + len(GAP_BITS)
    assert len(sparse) == (0 if zeros in (0, 1) else 2 * ways if palette < 256 else ways)
    assert {each.value_bits for each in sparse} <= {0, bits_for(palette + 1)}
    assert len({str(each) for each in found}) == len(found)


def assert_bits_come_back(arrays: list[Array]) -> None:
    """Every array, packed in every way that there is for it, all in one run."""
    cases = [(array, way) for array in arrays for way in packings(Content.of(array))]
    assert len(cases) > len(arrays)
    model, values = unpacking([([array], way) for array, way in cases])
    found = restored(values, model.opset_imports[""])
    assert found is not None
    for (array, way), back in zip(cases, found, strict=True):
        assert (back.dtype, back.shape) == (array.dtype, array.shape), str(way)
        assert back.tobytes() == array.tobytes(), str(way)


@pytest.mark.parametrize("dtype", DTYPES, ids=name_of)
def test_every_way_gives_the_same_bits_back(dtype: npt.DTypeLike) -> None:
    some = ((0.0, 5), (0.3, 0), (0.3, 1), (0.9, 0), (0.9, 200), (0.995, 5), (1.0, 0))
    assert_bits_come_back([words(dtype, (11, 61), zeros, values) for zeros, values in some])


def test_every_length_gives_the_same_bits_back() -> None:
    shapes = [(1,), (7,), (8,), (9,), (2, 3, 5, 7), (4096,), (1, 1, 1)]
    assert_bits_come_back([words(np.int16, shape, zeros, 3) for shape in shapes for zeros in (0.5, 0.97)])


def test_values_at_the_edges_come_back() -> None:
    arrays = [np.zeros(1000, np.float32) for _ in range(4)]
    for array, places in zip(arrays, ([0], [999], [0, 999], [998]), strict=True):
        array[places] = np.float32(-0.0)
    assert_bits_come_back(arrays)


def test_nans_and_negative_zeros_come_back() -> None:
    array = np.zeros(512, np.float32)
    odd = np.array([0x7FA00001, 0xFFC00000, 0x80000000, 0x7F800000], np.uint32).view(np.float32)
    array[::5] = odd[np.arange(103) % 4]
    assert_bits_come_back([array])


@pytest.mark.parametrize(
    "way",
    [
        Packing("all", value_bits=4),
        Packing("mask"),
        Packing("mask", value_bits=4),
        Packing("gaps", 3),
        Packing("gaps", 4, 3),
    ],
    ids=str,
)
def test_tensors_of_many_shapes_are_unpacked_together(way: Packing) -> None:
    shapes = [(3, 5), (1,), (64,), (2, 1, 9), (0, 4), (31,)]
    generator = np.random.default_rng(0)
    arrays = [generator.choice(np.array([0, 0, 1.5, -2, 3], np.float32), shape) for shape in shapes]
    model, values = unpacking([(arrays, way)])
    found = restored(values, 17)
    assert found is not None
    assert [each.shape for each in found] == shapes
    assert [each.tobytes() for each in found] == [each.tobytes() for each in arrays]
    assert sum(node.op_type == "Split" for node in model.graph) == 1


@pytest.mark.parametrize("values", [0, 3, 40])
def test_the_payload_is_what_the_constants_take(values: int) -> None:
    array = words(np.float32, (3000,), 0.8, values)
    content = Content.of(array)
    for way in packings(content):
        model, _ = unpacking([([array], way)])
        sizes = [value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value]
        table = 256 if any(bits and bits not in (2, 4, 8) for bits in (way.gap_bits, way.value_bits)) else 0
        held = sum(sizes) - (256 if way.places == "mask" else table)
        small = 8 * 4 + 4 * 64  # numbers and sizes that are there however large the tensor is
        assert 0 <= held - payload(content, way) <= small, str(way)


def test_a_value_that_depends_on_an_input_is_not_restored() -> None:
    from onnxslim.graph import parse

    model = parse('<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = Relu (x) }')
    assert restored(list(model.graph.outputs), 17) is None
