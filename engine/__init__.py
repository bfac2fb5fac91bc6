"""Everything around a model: settings, data cache, training, roll-out, checkpoints, outputs.

Nothing here imports `modules`: the engine serves any model that keeps the contract of
`engine.contract`. The scripts bring engine, data and model together.
"""
