"""From videos and an estimator's poses to a dance data set: `python -m data.video`."""
