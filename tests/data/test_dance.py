"""Reading the dance data: the lab's dataset, the cache, odd pictures, windows and clips."""

import os
import shutil
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

import data.store.shards
from core.errors import UserError
from data.store.cache import default_cache_dir
from data.store.images import open_image, read_frame
from dataloader import (
    DanceWindows,
    Dataset_Dance,
    test_clips,
    training_frames,
    validation_clips,
)
from tests.conftest import decoded_frames

test_clips.__test__ = False  # a function of the project, not a test to collect
CPU = torch.device("cpu")


def coded_pictures(folder, numbers, offset=0, name="{}.png"):
    """Pictures of one color each, from which their number can be told."""
    folder.mkdir(parents=True)
    for number in numbers:
        color = (number + offset, 2 * number % 256, 255 - number)
        Image.new("RGB", (64, 32), color).save(folder / name.format(number))


@pytest.fixture
def coded_root(tmp_path):
    """50 training frames with cuts at 11 and 30, 20 to validate on; poses count from 100."""
    root = tmp_path / "coded"
    for split, frames in (("train", 50), ("val", 20)):
        coded_pictures(root / split / f"{split}_img", range(frames))
        coded_pictures(root / split / f"{split}_label", range(frames), offset=100)
    (root / "train/cuts.txt").write_text("11\n30\n")
    return root


def numbers_in(pictures):
    """The numbers of coded pictures (…, 3, H, W), checked to be of one color each."""
    levels = (pictures * 255).round().long() if pictures.is_floating_point() else pictures.long()
    assert (levels == levels[..., :1, :1]).all()
    red, _, blue = levels[..., 0, 0].unbind(-1)
    offset = red - (255 - blue)
    assert (offset == offset.flatten()[0]).all()
    return 255 - blue


def noise_picture(rng, size):
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


# -------------------------------------------------------------------- the lab's dataset


def test_items_are_what_torchvision_reads(dance_root):
    transform = transforms.Compose([transforms.Resize((32, 64)), transforms.ToTensor()])
    data = Dataset_Dance(str(dance_root), transform, video_len=7)
    assert len(data) == 60 // 7
    frames, poses = data[3]
    for kind, found in (("img", frames), ("label", poses)):
        assert found.shape == (7, 3, 32, 64)
        for step in range(7):
            path = dance_root / f"train/train_{kind}/{21 + step}.png"
            with Image.open(path) as image:
                assert torch.equal(found[step], transform(image.convert("RGB")))


@pytest.mark.parametrize(
    ("partial", "video_len", "windows"), [(1.0, 16, 3), (0.5, 16, 1), (0.4, 5, 4), (0.1, 16, 0)]
)
def test_length_with_partial(dance_root, partial, video_len, windows):
    data = Dataset_Dance(dance_root, transforms.ToTensor(), "train", video_len, partial)
    assert len(data) == windows


def test_indices_end_where_the_windows_do(dance_root):
    data = Dataset_Dance(str(dance_root), transforms.ToTensor(), mode="val", video_len=4)
    assert len(data) == len(list(data)) == 3  # iteration ends by IndexError
    assert torch.equal(data[-1][0], data[2][0])
    for index in (3, -4):
        with pytest.raises(IndexError):
            data[index]
    with pytest.raises(ValueError, match="test"):
        Dataset_Dance(str(dance_root), transforms.ToTensor(), mode="test")


@pytest.mark.parametrize("name", ["{}.png", "frame{}.png", "frame_{:04}.png", "{:03}.PNG"])
def test_names_sort_as_numbers(tmp_path, name):
    for kind, offset in (("img", 0), ("label", 100)):
        coded_pictures(tmp_path / f"train/train_{kind}", [10, 2, 1, 33, 100, 0], offset, name)
    frames, poses = Dataset_Dance(tmp_path, transforms.ToTensor(), video_len=6)[0]
    assert numbers_in(frames).tolist() == numbers_in(poses).tolist() == [0, 1, 2, 10, 33, 100]


@pytest.mark.parametrize("name", ["picture.png", "12b.png", "-1.png"])
def test_a_name_that_is_no_number_is_refused(dance_root, tmp_path, name):
    root = tmp_path / "copy"
    shutil.copytree(dance_root / "val", root / "val")
    shutil.copy(root / "val/val_img/0.png", root / "val/val_img" / name)
    with pytest.raises(UserError, match=name):
        Dataset_Dance(root, transforms.ToTensor(), mode="val")


def test_broken_folders_are_refused_by_name(coded_root):
    (coded_root / "val/val_label/7.png").unlink()
    with pytest.raises(UserError, match=r"7\.png has no pose"):
        Dataset_Dance(coded_root, transforms.ToTensor(), mode="val")
    shutil.copy(coded_root / "val/val_img/3.png", coded_root / "val/val_img/frame3.png")
    with pytest.raises(UserError, match="same number"):
        Dataset_Dance(coded_root, transforms.ToTensor(), mode="val")
    shutil.rmtree(coded_root / "val/val_img")
    with pytest.raises(UserError, match="val_img"):
        Dataset_Dance(coded_root, transforms.ToTensor(), mode="val")
    with pytest.raises(UserError, match="--DR"):
        Dataset_Dance(coded_root / "nowhere", transforms.ToTensor())


# ------------------------------------------------------------------------------ pictures


@pytest.mark.parametrize("size", [(1024, 512), (128, 64), (64, 32), (50, 70), (31, 97)])
def test_decoded_frames_are_those_of_torchvision(tmp_path, size):
    """Exactly: both end in Pillow's bilinear filter."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{n}.png" for n in range(2)]
    for path in paths:
        noise_picture(rng, size).save(path)
    found = decoded_frames(paths, 32, 64)
    assert found.shape == (2, 32, 64, 3)
    assert found.dtype == np.uint8
    for path, frame in zip(paths, found):
        with Image.open(path) as image:
            resized = transforms.Resize((32, 64))(image.convert("RGB"))
        assert np.array_equal(frame, np.asarray(resized))


def test_odd_pictures_become_rgb(tmp_path):
    """Palette, gray in 1, 8 and 16 bits, alpha in three ways; the colors survive."""
    rng = np.random.default_rng(1)
    colors = noise_picture(rng, (64, 32))
    gray = colors.convert("L")
    palette = colors.quantize(16)
    deep = rng.integers(0, 65536, (32, 64), dtype=np.uint16)
    alpha = Image.fromarray(rng.integers(0, 256, (32, 64), dtype=np.uint8))
    with_alpha, gray_alpha = colors.copy(), Image.merge("LA", (gray, alpha))
    with_alpha.putalpha(alpha)
    bits = gray.point(lambda level: 255 * (level > 127)).convert("1")
    cases = {
        "palette": (palette, palette.convert("RGB")),
        "gray": (gray, Image.merge("RGB", (gray,) * 3)),
        "bits": (bits, Image.merge("RGB", (bits.convert("L"),) * 3)),
        "alpha": (with_alpha, colors),
        "gray_alpha": (gray_alpha, Image.merge("RGB", (gray,) * 3)),
    }
    for name, (image, expected) in cases.items():
        image.save(tmp_path / f"{name}.png")
        found = read_frame(tmp_path / f"{name}.png", 32, 64)
        assert np.array_equal(found, np.asarray(expected)), name
    palette.save(tmp_path / "transparent.png", transparency=3)
    assert np.array_equal(
        read_frame(tmp_path / "transparent.png", 32, 64), np.asarray(palette.convert("RGB"))
    )
    Image.fromarray(deep).save(tmp_path / "deep.png")
    with Image.open(tmp_path / "deep.png") as image:
        assert image.mode.startswith("I")  # 16 bits indeed
    found = read_frame(tmp_path / "deep.png", 32, 64)
    assert np.array_equal(found, (deep >> 8).astype(np.uint8)[..., None].repeat(3, axis=2))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_is_read(tmp_path, mode):
    Image.new("RGB", (64, 32), (200, 60, 30)).convert(mode).save(tmp_path / "0.jpg", quality=95)
    found = read_frame(tmp_path / "0.jpg", 32, 64)
    expected = (200, 60, 30) if mode != "L" else (98,) * 3
    assert np.abs(found.astype(int) - expected).max() <= 4


def png_that_claims(width, height):
    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "size", [(8193, 8192), (10_000, 10_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)]
)
def test_a_picture_that_claims_gigapixels_is_refused_undecoded(tmp_path, monkeypatch, size):
    def decode(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    path = tmp_path / "13.png"
    path.write_bytes(png_that_claims(*size))
    with pytest.raises(UserError, match=r"13\.png"):
        open_image(path)


@pytest.mark.parametrize("content", [b"", b"GIF89a not a png", b"\x89PNG\r\n\x1a\n", b"text"])
def test_a_broken_picture_is_refused_by_name(tmp_path, content):
    path = tmp_path / "5.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"5\.png"):
        open_image(path)


def test_cut_off_and_foreign_pictures_are_refused_by_name(tmp_path):
    picture = noise_picture(np.random.default_rng(0), (64, 32))
    picture.save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "5.png").write_bytes(data[: len(data) // 2])
    picture.save(tmp_path / "6.png", format="BMP")
    for name in ("5.png", "6.png"):
        with pytest.raises(UserError, match=name):
            open_image(tmp_path / name)


# --------------------------------------------------------------------------------- cache


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(3)
    paths = [tmp_path / "pictures" / f"{n}.png" for n in range(5)]
    paths[0].parent.mkdir()
    for path in paths:
        noise_picture(rng, (40, 30)).save(path)
    return paths


@pytest.fixture
def decoded(monkeypatch):
    """The paths that were decoded, in a list that fills as it happens."""
    seen = []

    def watched(path, *size):
        seen.append(path)
        return read_frame(path, *size)

    monkeypatch.setattr(data.store.shards, "read_frame", watched)
    return seen


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_second_call_decodes_nothing(pictures, decoded, own_cache):
    first = decoded_frames(pictures, 8, 16)
    assert sorted(decoded) == pictures
    decoded.clear()
    second = decoded_frames(pictures, 8, 16)
    assert decoded == []
    assert np.array_equal(first, second)
    assert len(files_in(own_cache)) == 1
    second[:] = 0  # a private view: the file stays as it is
    assert np.array_equal(decoded_frames(pictures, 8, 16), first)


def test_the_cache_lies_where_it_was_asked_for(pictures, own_cache, tmp_path):
    assert default_cache_dir().is_relative_to(own_cache)
    decoded_frames(pictures, 8, 16, tmp_path / "here")
    assert files_in(own_cache) == []
    assert len(files_in(tmp_path / "here")) == 1


def test_another_size_has_its_own_cache(pictures, decoded):
    small = decoded_frames(pictures, 8, 16)
    assert decoded_frames(pictures, 16, 8).shape == (5, 16, 8, 3)
    decoded.clear()
    assert np.array_equal(decoded_frames(pictures, 8, 16), small)
    assert decoded == []


def test_a_changed_picture_is_decoded_anew_and_the_old_cache_dropped(pictures, decoded, own_cache):
    before = decoded_frames(pictures, 8, 16).copy()
    noise_picture(np.random.default_rng(9), (40, 30)).save(pictures[2])
    after = decoded_frames(pictures, 8, 16)
    same = [np.array_equal(*pair) for pair in zip(before, after)]
    assert same == [True, True, False, True, True]
    assert len(files_in(own_cache)) == 1

    decoded.clear()
    stat = pictures[0].stat()
    os.utime(pictures[0], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    decoded_frames(pictures, 8, 16)
    assert sorted(decoded) == pictures
    assert np.array_equal(decoded_frames(pictures[:3], 8, 16), after[:3])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:100],
        lambda data: data[:10],
        lambda data: b"",
        lambda data: bytes(len(data)),
        lambda data: b"garbage" * 100,
        lambda data: b"PK\x03\x04" + data[4:],
        lambda data: data[:10] + b"?" * 20 + data[30:],
    ],
    ids=["one_short", "header", "magic", "empty", "zeros", "garbage", "zip", "header_lost"],
)
def test_a_damaged_cache_is_rebuilt(pictures, decoded, own_cache, damage):
    expected = decoded_frames(pictures, 8, 16).copy()
    (file,) = files_in(own_cache)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    decoded.clear()
    assert np.array_equal(decoded_frames(pictures, 8, 16), expected)
    assert sorted(decoded) == pictures
    assert file.read_bytes() == whole


def test_a_cache_of_another_shape_or_type_is_not_taken(pictures, own_cache):
    expected = decoded_frames(pictures, 8, 16).copy()
    (file,) = files_in(own_cache)
    for wrong in (expected[:4], expected.astype(np.float32), expected.transpose(0, 2, 1, 3)):
        with file.open("wb") as opened:
            np.save(opened, wrong)
        assert np.array_equal(decoded_frames(pictures, 8, 16), expected)


def test_without_a_place_for_the_cache_frames_stay_in_memory(pictures, tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    found = decoded_frames(pictures, 8, 16, tmp_path / "file")
    assert np.array_equal(found[1], read_frame(pictures[1], 8, 16))
    assert "--cache_dir" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_crash_while_decoding_or_writing_leaves_no_file(pictures, own_cache, monkeypatch):
    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(data.store.shards, "read_frame", crash)
        with pytest.raises(KeyboardInterrupt):
            decoded_frames(pictures, 8, 16)
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", lambda file, _: (file.write(b"half"), crash()))
        with pytest.raises(KeyboardInterrupt):
            decoded_frames(pictures, 8, 16)
    pictures[3].write_bytes(b"broken")
    with pytest.raises(UserError, match=r"3\.png"):
        decoded_frames(pictures, 8, 16)
    pictures[3].unlink()
    with pytest.raises(UserError, match=r"3\.png"):
        decoded_frames(pictures, 8, 16)
    assert files_in(own_cache) == []


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
