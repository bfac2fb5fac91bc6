"""The settings that make a run what it is: with the same, a command resumes it."""

import math

from settings.flags import tester_parser
from settings.resolve import Settings, as_plain, present_names


def run_fingerprint(settings: Settings, processes: int) -> dict:
    """Return what a run with these settings, shared by so many processes, is known by.

    Flags of other models are no part of it.
    """
    parser, plain = tester_parser(), as_plain(settings)
    own = [
        name
        for name in parser.names(lambda scope: scope.in_fingerprint)
        if name in plain and parser.model_of.get(name, settings.model) == settings.model
    ]
    return {name: plain[name] for name in own} | {"processes": processes}


def global_batch_size(fingerprint: dict) -> int | None:
    """Return how many windows a step of the run takes, in all of its processes; None: unknown."""
    parts = fingerprint.get("batch_size"), fingerprint.get("processes", 1)
    return math.prod(parts) if all(isinstance(part, int) for part in parts) else None


def differences(old: dict, new: dict) -> list[str]:
    """Return in words what differs between two fingerprints, `name: old → new`.

    Another number of processes makes no other run; nor does another --batch_size that makes up
    for it. A setting that one of them does not know says nothing.
    """
    old = present_names(tester_parser(), old)
    if old.get("output_activation") is None:  # nobody had said
        old.pop("output_activation", None)
    same_step = global_batch_size(old) == global_batch_size(new)
    free = {"processes", *(["batch_size"] if same_step else [])}
    common = [name for name in new if name in old and old[name] != new[name] and name not in free]
    return [f"{name}: {old[name]} → {new[name]}" for name in common]
