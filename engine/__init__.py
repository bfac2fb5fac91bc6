"""Everything around a model that keeps `engine.contract`: evaluation, output, checkpoints, training.

No model, no task and no layout of a data set is named here.
"""
