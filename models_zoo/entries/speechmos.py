"""Microsoft's opinion scores of speech quality. Fetch only, until a scored task with speech and noise is written."""

from __future__ import annotations

from models_zoo.entry import Entry, PackageFile
from models_zoo.package import Package

_SPEECHMOS = Package(
    "speechmos",
    "0.0.1.1",
    {
        "dnsmos_models/bak_ovr.onnx": "5f335c90994618150192a656a474bcf8a9cbcedbc47965494ba8da79605d1308",
        "dnsmos_models/model_v8.onnx": "9246480c58567bc6affd4200938e77eef49468c8bc7ed3776d109c07456f6e91",
        "dnsmos_models/sig.onnx": "d2fbdb293bc2366dfbae2b7477c490f981d24a8b4405efd3c11787569c6549d7",
        "dnsmos_models/sig_bak_ovr.onnx": "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd",
        "pdnsmos_models/sig_bak_ovr.onnx": "9e3a197449ca2177f0997afec3bd6b890117ce2f17b89d6eea7fa0d47272c81c",
        "plcmos_models/plcmos_v2.onnx": "c0ad3fc64ef9682b4749c0e96636b41c73b4b30bd123b9348feea06a96895286",
        "aecmos_models/Run_1663829550_Stage_0.onnx": "b517d8d9ca2f91ea55d15f605a15917c19be5d832868fe115c7c5bc48986dae1",
        "aecmos_models/Run_1663915512_Stage_0.onnx": "f53122f43cb7e5b77ec797e85c8b997cfc2aac8220857c709226d876de8c0a99",
        "aecmos_models/Run_1668423760_Stage_0.onnx": "b57bc007046d7230008ad2b802cb378f998ff3d96be074389a4d07533b7d4aaf",
    },
    folder="speechmos",
)
_MODELS = {
    "dnsmos_bak_ovr": ("dnsmos_models/bak_ovr.onnx", 12, "keras2onnx audio CNN on a log-power spectrogram"),
    "dnsmos_model_v8": ("dnsmos_models/model_v8.onnx", 12, "keras2onnx audio CNN on a mel spectrogram"),
    "dnsmos_sig": ("dnsmos_models/sig.onnx", 12, "keras2onnx audio CNN on a log-power spectrogram"),
    "dnsmos_sig_bak_ovr": ("dnsmos_models/sig_bak_ovr.onnx", 12, "keras2onnx audio CNN, spectrogram in the graph"),
    "pdnsmos_sig_bak_ovr": ("pdnsmos_models/sig_bak_ovr.onnx", 12, "keras2onnx audio CNN, spectrogram in the graph"),
    "plcmos": ("plcmos_models/plcmos_v2.onnx", 11, "audio CNN with a GRU"),
    "aecmos_1663829550": ("aecmos_models/Run_1663829550_Stage_0.onnx", 9, "audio CNN with a GRU"),
    "aecmos_1663915512": ("aecmos_models/Run_1663915512_Stage_0.onnx", 9, "audio CNN with a GRU"),
    "aecmos_1668423760": ("aecmos_models/Run_1668423760_Stage_0.onnx", 9, "audio CNN with a GRU"),
}

ENTRIES = tuple(
    Entry(name=name, source=PackageFile(_SPEECHMOS, file), license="MIT (speechmos)", opset=opset, notes=notes)
    for name, (file, opset, notes) in _MODELS.items()
)
