"""Settings are resolved once, and then stay."""

import copy
import pickle

import pytest

from settings.resolve import Settings, as_plain


def test_settings_cannot_be_set(settings):
    resolved = settings(lr=0.5)
    with pytest.raises(AttributeError, match=r"frozen; settings\.but\(lr=…\)"):
        resolved.lr = 1.0
    with pytest.raises(AttributeError, match="frozen"):
        resolved.anything = 1.0
    assert resolved.lr == 0.5
    assert not hasattr(resolved, "anything")


def test_others_are_made_of_them(settings):
    resolved = settings(lr=0.5)
    other = resolved.but(lr=1.0, seed=3)
    assert (other.lr, other.seed, other.tfr) == (1.0, 3, resolved.tfr)
    assert (resolved.lr, resolved.seed) == (0.5, 0)
    assert isinstance(other, Settings)


def test_they_travel_to_other_processes(settings):
    resolved = settings(holdout=(3, 9), lr_milestones=[2, 5])
    for travelled in (pickle.loads(pickle.dumps(resolved)), copy.deepcopy(resolved)):
        assert travelled == resolved
        with pytest.raises(AttributeError, match="frozen"):
            travelled.lr = 1.0


def test_stored_they_are_plain(settings):
    plain = as_plain(settings(holdout=(3, 9)))
    assert plain["holdout"] == [3, 9]
    assert all(isinstance(v, str | int | float | bool | list | None) for v in plain.values())
