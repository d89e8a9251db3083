"""PyPI's OnnxSlim as its callers know it: their command line, functions and arguments, answered by this project.

``command_line`` is ``onnxslim IN OUT``, and ``slim`` the function of that name, with its ``arguments`` and registered
``patterns``. ``information``, ``running``, ``files`` and ``console`` are what scripts import from ``onnxslim.utils``.
Nothing below imports this package: ``onnxslim``, ``onnxslim.cli`` and ``onnxslim.utils`` hand on what it holds.
"""
