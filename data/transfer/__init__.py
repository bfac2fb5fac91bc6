"""Somebody else's dance for a dancer of one's own: `python -m data.transfer`."""
