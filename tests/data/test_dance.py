"""The dance data: windows, clips and the holdout."""

import shutil

import pytest
import torch

from core.errors import UserError
from dataloader import DanceWindows, test_clips, training_frames, validation_clips
from tests.support.data_sets import coded_pictures, numbers_in

CPU = torch.device("cpu")


# ------------------------------------------------------------------------------- windows


def batches_of(settings, epoch=0):
    return list(DanceWindows(settings, CPU).batches(epoch))


@pytest.mark.parametrize("fixed", [False, True])
def test_batches_hold_consecutive_frames_with_their_poses(settings, coded_root, fixed):
    chosen = settings(DR=str(coded_root), train_vi_len=4, batch_size=3, fixed_windows=fixed)
    data = DanceWindows(chosen, CPU)
    # Recordings of 11, 19 and 20 frames: windows of 4 at random places, or 2 + 4 + 5 fixed ones.
    assert data.windows_in(0) == (11 if fixed else 50 // 4)
    assert data.batches_in(0) == data.windows_in(0) // 3
    found = list(data.batches(0))
    assert len(found) == data.batches_in(0)
    for batch in found:
        for pictures, offset in ((batch.frames, 0), (batch.conditions, 100)):
            assert pictures.shape == (3, 4, 3, 32, 64)
            assert pictures.dtype == torch.float32
            numbers = numbers_in(pictures)
            assert torch.equal(pictures[..., 0, 0, 0], (numbers + offset) / 255)
            assert torch.equal(pictures[..., 1, 0, 0], 2 * numbers % 256 / 255)
        numbers = numbers_in(batch.frames)
        assert torch.equal(numbers, numbers_in(batch.conditions))
        assert torch.equal(numbers, numbers[:, :1] + torch.arange(4))
        for cut in (11, 30):
            assert not ((numbers[:, 0] < cut) & (numbers[:, -1] >= cut)).any()
        if fixed:
            assert set(numbers[:, 0].tolist()) <= {0, 4, *range(11, 27, 4), *range(30, 47, 4)}


def test_an_epoch_is_a_function_of_seed_and_number(settings, coded_root):
    def starts(epoch, **flags):
        chosen = settings(DR=str(coded_root), train_vi_len=4, **flags)
        return [numbers_in(b.frames)[:, 0].tolist() for b in batches_of(chosen, epoch)]

    data = DanceWindows(settings(DR=str(coded_root), train_vi_len=4), CPU)
    list(data.batches(0))  # what was asked for before does not matter
    again = [numbers_in(batch.frames)[:, 0].tolist() for batch in data.batches(3)]
    assert starts(3) == again
    assert starts(3) != starts(4)
    assert starts(3) != starts(3, seed=1)


def test_the_holdout_is_left_out_of_training_and_baselines(settings, coded_root):
    chosen = settings(DR=str(coded_root), train_vi_len=4, batch_size=1, holdout=(15, 25))
    data = DanceWindows(chosen, CPU)
    assert data.windows_in(0) == 40 // 4
    used = set()
    for epoch in range(30):
        for batch in data.batches(epoch):
            used |= set(numbers_in(batch.frames).flatten().tolist())
    assert used == {*range(15), *range(25, 50)}  # 11 to 14 is long enough for one window
    for pictures in training_frames(chosen):
        numbers = numbers_in(torch.from_numpy(pictures).permute(0, 3, 1, 2))
        assert numbers.tolist() == [*range(15), *range(25, 50)]


def test_partial_and_fast_train_use_the_first_frames(settings, coded_root):
    chosen = settings(
        DR=str(coded_root),
        train_vi_len=4,
        batch_size=1,
        partial=0.8,
        fast_train=True,
        fast_partial=0.2,
        fast_train_epoch=2,
    )
    data = DanceWindows(chosen, CPU)
    assert [data.windows_in(epoch) for epoch in (0, 1, 2, 69)] == [2, 2, 10, 10]
    for epoch, frames in ((1, 10), (2, 40)):
        assert max(numbers_in(b.frames).max() for b in data.batches(epoch)) < frames


@pytest.mark.parametrize(
    "flags",
    [
        {"batch_size": 13},
        {"train_vi_len": 21, "batch_size": 1},
        {"batch_size": 3, "fast_train": True, "fast_partial": 0.2},
    ],
)
def test_more_batch_than_windows_is_refused_before_decoding(settings, coded_root, decoded, flags):
    chosen = settings(**({"DR": str(coded_root), "train_vi_len": 4} | flags))
    with pytest.raises(UserError, match="--batch_size"):
        DanceWindows(chosen, CPU)
    assert decoded == []


@pytest.mark.parametrize("holdout", [(50, 60), (49, 55), (7, 8)])
def test_a_holdout_of_less_than_two_frames_is_refused(settings, coded_root, holdout):
    with pytest.raises(UserError, match="--holdout"):
        DanceWindows(settings(DR=str(coded_root), train_vi_len=4, holdout=holdout), CPU)


def test_cuts_that_are_no_numbers_are_refused(settings, coded_root):
    (coded_root / "train/cuts.txt").write_text("11\nthirty\n")
    with pytest.raises(UserError, match=r"cuts\.txt"):
        DanceWindows(settings(DR=str(coded_root), train_vi_len=4), CPU)


# --------------------------------------------------------------------------------- clips


def told(clip):
    """Numbers of the frames and of the poses of a clip."""
    assert clip.frames.dtype == clip.conditions.dtype == torch.uint8
    return numbers_in(clip.frames).tolist(), numbers_in(clip.conditions).tolist()


def test_val_is_cut_into_sequences(settings, coded_root):
    sets = validation_clips(settings(DR=str(coded_root), val_vi_len=8))
    assert list(sets) == ["val"]
    assert [clip.name for clip in sets["val"]] == ["val0", "val1"]
    for clip, start in zip(sets["val"], (0, 8)):
        numbers = list(range(start, start + 8))
        assert told(clip) == (numbers, numbers)
        assert clip.has_truth
        assert len(clip) == 8


def test_a_shorter_val_is_one_sequence(settings, coded_root):
    (clip,) = validation_clips(settings(DR=str(coded_root)))["val"]
    assert told(clip) == (list(range(20)), list(range(20)))


def test_the_holdout_comes_first_and_is_cut_where_the_recording_is(settings, coded_root):
    chosen = settings(DR=str(coded_root), holdout=(25, 40))
    sets = validation_clips(chosen)
    assert list(sets) == ["holdout", "val"]
    expected = [list(range(25, 30)), list(range(30, 40))]
    assert [told(clip) for clip in sets["holdout"]] == [(n, n) for n in expected]
    shutil.rmtree(coded_root / "val")
    assert list(validation_clips(chosen)) == ["holdout"]
    with pytest.raises(UserError, match="val_img"):
        validation_clips(settings(DR=str(coded_root)))


@pytest.fixture
def coded_test(coded_root):
    """Sequences 2 and 10, of 5 and 4 frames, without true frames."""
    for name, numbers in (("10", range(60, 64)), ("2", range(70, 75))):
        coded_pictures(coded_root / "test/test_img" / name, numbers[:1])
        coded_pictures(coded_root / "test/test_label" / name, numbers, offset=100)
    return coded_root


def test_test_sequences_without_truth(settings, coded_test):
    clips = test_clips(settings(DR=str(coded_test)))
    assert [clip.name for clip in clips] == ["2", "10"]
    assert told(clips[0]) == ([70], list(range(70, 75)))
    assert told(clips[1]) == ([60], list(range(60, 64)))
    assert not any(clip.has_truth for clip in clips)


@pytest.mark.parametrize("given_elsewhere", [False, True])
def test_test_sequences_with_truth(settings, coded_test, tmp_path, given_elsewhere):
    truth = tmp_path / "truth" if given_elsewhere else coded_test / "test/test_gt"
    coded_pictures(truth / "2", range(71, 75))  # frame 0 is the given one in any case
    flags = {"GT": str(truth)} if given_elsewhere else {}
    two, ten = test_clips(settings(DR=str(coded_test), **flags))
    assert told(two) == (list(range(70, 75)), list(range(70, 75)))
    assert two.has_truth
    assert not ten.has_truth  # its true frames are not known
    (truth / "2/73.png").unlink()
    with pytest.raises(UserError, match=r"73\.png"):
        test_clips(settings(DR=str(coded_test), **flags))


def test_a_test_set_that_is_not_there_is_refused(settings, coded_root, coded_test, tmp_path):
    with pytest.raises(UserError, match="--GT"):
        test_clips(settings(DR=str(coded_test), GT=str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match="--DR"):
        test_clips(settings(DR=str(tmp_path / "nowhere")))
    shutil.rmtree(coded_test / "test/test_img/2")
    with pytest.raises(UserError, match="test_img"):
        test_clips(settings(DR=str(coded_test)))
    shutil.rmtree(coded_test / "test/test_label")
    with pytest.raises(UserError, match="test_label"):
        test_clips(settings(DR=str(coded_test)))
