"""What the flags are, their defaults, and how the settings of a run follow from them.

A flag is declared once, with its models and its scope. Nothing here reads data or checkpoints.
"""
