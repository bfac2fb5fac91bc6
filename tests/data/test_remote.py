"""Data behind a URL is the data."""

import fsspec
import pytest
import torch

from core.errors import UserError
from data.store.remote import as_path
from dataloader import DanceWindows, test_clips, training_data_digest, validation_clips
from tests.support.data_sets import assert_same_batch, assert_same_clips, run_prepare
from tests.support.scripts import TINY, train

CPU = torch.device("cpu")


@pytest.fixture
def remote(dance_root) -> str:
    """The dataset in fsspec's file system in memory."""
    system = fsspec.filesystem("memory")
    system.put(str(dance_root), "/bucket/dance", recursive=True)
    yield "memory://bucket/dance"
    system.rm("/bucket", recursive=True)


def test_data_behind_a_url_is_the_data(settings, dance_root, remote, decoded):
    one, other = (
        settings(DR=str(root), train_vi_len=4, holdout=(40, 50)) for root in (dance_root, remote)
    )
    assert training_data_digest(one) == training_data_digest(other)
    for batch, expected in zip(
        DanceWindows(other, CPU).batches(0), DanceWindows(one, CPU).batches(0), strict=True
    ):
        assert_same_batch(batch, expected)
    assert_same_clips(validation_clips(one), validation_clips(other))
    assert_same_clips({"test": test_clips(one)}, {"test": test_clips(other)})
    decoded.clear()
    DanceWindows(other, CPU)
    assert decoded == []  # found in the cache

    system = fsspec.filesystem("memory")
    system.pipe(
        "/bucket/dance/train/train_img/3.png", system.cat("/bucket/dance/val/val_img/5.png")
    )
    DanceWindows(other, CPU)
    assert len(decoded) == 60  # noticed


def test_a_url_that_leads_nowhere_is_refused(settings, remote):
    for url, reason in (
        ("memory://bucket/none", "no such folder"),
        ("nothing://bucket", "nothing"),
        (f"{remote}/train", "no folder memory://bucket/dance/train/train/train_img"),
    ):
        with pytest.raises(UserError, match=reason):
            DanceWindows(settings(DR=url), CPU)
    fsspec.filesystem("memory").pipe("/bucket/dance/train/train_img/3.png", b"broken")
    with pytest.raises(UserError, match=r"memory://bucket/dance/train/train_img/3\.png"):
        DanceWindows(settings(DR=remote, train_vi_len=4), CPU)


@pytest.mark.parametrize("call", ["info", "ls"])
def test_an_object_store_that_does_not_answer_is_an_os_error(remote, monkeypatch, call):
    def refuse(*_, **__):
        raise LookupError("no such account")

    root = as_path(remote)
    ask = root.stat if call == "info" else root.iterdir
    with monkeypatch.context() as patch:
        patch.setattr(type(fsspec.filesystem("memory")), call, refuse)
        with pytest.raises(OSError, match="no such account"):
            ask()


def test_a_remote_dataset_is_prepared_and_trained_from(
    dance_root, remote, prepared, tmp_path, monkeypatch, capsys
):
    run_prepare(monkeypatch, capsys, f"--DR {remote} --out {tmp_path / 'fetched'}")
    names = [sorted(p.name for p in f.rglob("*.png")) for f in (tmp_path / "fetched", prepared)]
    assert names[0] == names[1]
    flags = f"--save_root {tmp_path / 'run'} {TINY} --num_epoch 1"
    code, said = train(f"--DR file://{dance_root} {flags}", tmp_path / "out")
    assert code == 0, said
