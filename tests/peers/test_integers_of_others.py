"""Integer quantization against PyTorch's and ONNX Runtime's: every code, where the quotient is computed as theirs."""

import warnings

import numpy as np
import pytest

import refimpl as rf

CASES = [(scale, zero) for scale in (0.3, 1.0, 0.07, 0.11, 2.0**-20) for zero in (0, 1, 7, 10, 128, 255)]


def values(scale):
    """Return ties of the quotient and others, some of them beyond the codes."""
    rng = np.random.default_rng(0)
    ties = (np.arange(-600, 600) * 0.5 * scale).astype(np.float32)
    return np.r_[ties, (rng.standard_normal(50_000) * 80 * scale).astype(np.float32)]


def ours(x, scale, zero, quotient, **how):
    return rf.quantize_int(x, "uint8", scale=scale, zero_point=zero, quotient=quotient, **how)[0]


@pytest.mark.parametrize("scale, zero", CASES)
def test_reciprocal_is_fake_quantize_of_pytorch(scale, zero):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    scale, x = float(np.float32(scale)), values(scale)
    theirs = torch.fake_quantize_per_tensor_affine(torch.from_numpy(x), scale, zero, 0, 255).numpy()
    assert (rf.decode_int(ours(x, scale, zero, "reciprocal"), scale, zero) == theirs).all()
    rows = np.stack([x, -x])
    scales, zeros = np.float32([scale, 2 * scale]), [zero, 3]
    theirs = torch.fake_quantize_per_channel_affine(
        torch.from_numpy(rows), torch.from_numpy(scales), torch.tensor(zeros, dtype=torch.int32), 0, 0, 255
    ).numpy()
    codes = ours(rows, scales, zeros, "reciprocal", axis=0)
    assert (rf.decode_int(codes, scales, zeros, axis=0) == theirs).all()


@pytest.mark.parametrize("scale, zero", CASES)
def test_fbgemm_is_quantize_per_tensor_of_pytorch(scale, zero):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if (
        "fbgemm" not in torch.backends.quantized.supported_engines
        or not torch.backends.cpu.get_cpu_capability().startswith("AVX")
    ):
        pytest.skip("this PyTorch does not quantize through FBGEMM's vector code")
    scale, x = float(np.float32(scale)), values(scale)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = torch.quantize_per_tensor(torch.from_numpy(x), scale, zero, torch.quint8).int_repr().numpy()
    assert (ours(x, scale, zero, "fbgemm") == theirs).all()


@pytest.mark.parametrize("scale, zero", CASES)
def test_float32_is_quantize_linear_of_onnx_runtime(scale, zero):
    onnx = pytest.importorskip("onnx", reason="ONNX is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    make, kinds = onnx.helper, onnx.TensorProto
    scale, x = float(np.float32(scale)), values(scale)
    graph = make.make_graph(
        [make.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"])],
        "one",
        [make.make_tensor_value_info("x", kinds.FLOAT, [x.size])],
        [make.make_tensor_value_info("y", kinds.UINT8, [x.size])],
        [make.make_tensor("scale", kinds.FLOAT, [], [scale]), make.make_tensor("zero", kinds.UINT8, [], [zero])],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=9)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert (ours(x, scale, zero, "float32") == session.run(None, {"x": x})[0]).all()


def test_ways_to_a_quotient_differ_where_the_exact_one_is_beside_a_tie():
    scale = np.float32(0.3)
    codes = [
        int(rf.quantize_int(np.float32(-11.25), "int8", scale=scale, quotient=how)[0]) for how in ("exact", "float32")
    ]
    assert codes == [-37, -38]  # -37.4999985, which float32 rounds to the tie
