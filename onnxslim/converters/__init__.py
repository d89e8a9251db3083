"""Models of frameworks as ONNX files: which source is whose, its exporter in a process of its own, and the check.

`kinds` is the table of converters and `detect` finds the one for a source; `child` runs it in the user's environment,
where `frameworks` is imported and onnxslim is not; `verify` compares the framework's outputs with onnxruntime's, and
`blame` names the first operation that differs.
"""
