"""What a message of the page may be, and how many a second."""

import functools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from player import protocol
from player.protocol import SCHEMAS, Allowance, Refused, parse
from tests.support.bad_messages import BAD
from tests.support.playing import tiny, world_of

ACTS = {
    "dance": [
        {"do": "drag", "joint": "wrist_left", "x": 0.5, "y": -0.2, "n": 7},
        {"do": "move", "name": "jump", "n": 1},
        {"do": "come", "by": -0.3, "n": 1},
        {"do": "play", "on": True},
        {"do": "latent", "z": "sample", "temperature": 0},
        {"do": "shown", "frame": 2**32 - 1},
    ],
    "robot": [
        {"do": "aim", "x": 1, "y": 0.0, "n": 0},
        {"do": "grip", "open": False, "n": 4},
        {"do": "save", "kind": "gif"},
    ],
}


@pytest.mark.parametrize("kind", ACTS)
def test_good_messages_pass(kind):
    for message in ACTS[kind]:
        assert parse(json.dumps(message), kind) == message


@pytest.mark.parametrize("what", BAD)
def test_bad_messages_are_refused(what):
    with pytest.raises(Refused):
        parse(BAD[what], "dance")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inside: (
        st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=6), inside, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(SCHEMAS["dance"])), st.data())
def test_a_world_survives_every_message_that_passes(word, data):
    """Fields of right and wrong kinds: either refused, or done without an error."""
    likely = st.sampled_from([True, 0, 1, 0.5, "mean", "sample", "wave", "gif", "nose", "mid_hip"])
    fields = {name: data.draw(likely | anything) for name in SCHEMAS["dance"][word]}
    try:
        message = parse(json.dumps({"do": word, **fields}), "dance")
    except Refused:
        return
    assert set(message) == {"do", *fields}
    if word not in ("play", "step", "pace", "save", "shown"):
        world = _dance_world()
        world.act(message)
        world.look()


@functools.cache
def _dance_world():
    return world_of(tiny("dance"))[0]()


def test_the_allowance_is_so_many_a_second():
    now = [0.0]
    allowance = Allowance(lambda: now[0])
    for _ in range(protocol.AT_ONCE):
        allowance.take()
    with pytest.raises(Refused):
        allowance.take()
    now[0] = 1.0
    for _ in range(protocol.PER_SECOND):
        allowance.take()
    with pytest.raises(Refused):
        allowance.take()
