"""What a model predicts and how good that is: rollout, samples, metrics, validation.

No files are written here, and no weights change.
"""
