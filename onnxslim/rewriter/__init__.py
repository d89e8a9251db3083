"""What passes are written with that rewrite graphs node by node.

``place`` and ``rule`` are local rules and their driver. ``scopes`` says where nodes live and when one value may stand
for another, ``size`` what parts of a model take in its file, ``shape_facts`` shares one inference among passes, and
``purity`` says which nodes may be merged or moved. ``opset`` rewrites what changed
between operator sets.
"""
