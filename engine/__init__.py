"""Everything around a model that keeps `engine.contract`.

Evaluation, output, checkpoints and training; no model, no task and no layout of data is named here.
"""
