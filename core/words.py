"""Words of messages."""


def number_of(count: int, what: str) -> str:
    """Return `1 frame` or `12 frames`."""
    return f"{count} {what}{'' if count == 1 else 's'}"
