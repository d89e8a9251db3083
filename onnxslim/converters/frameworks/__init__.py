"""What runs in a framework's own environment: load a model, export it, run it. Nothing here imports onnxslim.

`main` is the child process's end of `onnxslim.converters.child`; each other module knows one framework and is imported
when a source needs it. They use only numpy, the framework and its own exporter.
"""
