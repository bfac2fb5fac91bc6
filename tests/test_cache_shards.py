"""Data in shards: read as one array, built in parts, prepared ahead, far larger than memory."""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image

import data.store.shards
import prepare
from core.errors import UserError
from data.augmentation import Augmentation
from data.store.images import read_frame
from data.store.shards import Shards
from data.types import Batch, Clip
from dataloader import DanceWindows, test_clips, training_data_digest, validation_clips
from engine.checkpoints import checkpoint
from engine.training.prediction_buffer import check_memory
from tests.conftest import TINY_WIDTHS, decoded_frames
from tests.scripts import TINY, join, start, train
from tests.test_resume import same

test_clips.__test__ = False  # a function of the project, not a test to collect
CPU = torch.device("cpu")


@pytest.fixture
def two_a_shard(monkeypatch):
    """Shards of two frames of 8×16, so that few pictures make several."""
    monkeypatch.setattr(data.store.shards, "SHARD_BYTES", 2 * 3 * 8 * 16)


@pytest.fixture
def pictures(tmp_path) -> list[Path]:
    rng = np.random.default_rng(3)
    paths = [tmp_path / "pictures" / f"{n}.png" for n in range(7)]
    paths[0].parent.mkdir()
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture
def decoded(monkeypatch) -> list[Path]:
    """The pictures that were decoded, in a list that fills as it happens."""
    seen = []

    def watched(path, *size):
        seen.append(path)
        return read_frame(path, *size)

    monkeypatch.setattr(data.store.shards, "read_frame", watched)
    return seen


# ---------------------------------------------------------------------------- shards


def test_shards_are_read_as_one_array(pictures, two_a_shard, own_cache):
    found = decoded_frames(pictures, 8, 16)
    expected = np.stack([read_frame(path, 8, 16) for path in pictures])
    assert isinstance(found, Shards)
    assert len(list(own_cache.rglob("*.npy"))) == 4
    assert found.shape == expected.shape
    assert len(found) == 7
    assert found.nbytes == expected.nbytes
    assert np.array_equal(found, expected)
    assert np.array_equal(found[1:6], expected[1:6])
    assert np.array_equal(found[np.array([6, 0, 3, 3])], expected[[6, 0, 3, 3]])
    index = torch.tensor([[0, 5, 2], [1, 6, 3]])
    assert torch.equal(found[index], torch.from_numpy(expected)[index])
    assert torch.equal(found.to(CPU), torch.from_numpy(expected))


def test_only_what_changed_is_decoded_again(pictures, two_a_shard, decoded, own_cache):
    decoded_frames(pictures[:5], 8, 16)
    decoded.clear()
    grown = decoded_frames(pictures, 8, 16)  # frames 4 and 5 share a shard
    assert sorted(decoded) == pictures[4:]
    decoded.clear()
    os.utime(pictures[2], ns=(0, 5))
    assert np.array_equal(decoded_frames(pictures, 8, 16), grown)
    assert sorted(decoded) == pictures[2:4]
    assert len(list(own_cache.rglob("*.npy"))) == 4  # what went before is gone

    decoded.clear()
    file = max(own_cache.rglob("*.npy"), key=lambda path: path.stat().st_mtime_ns)
    whole = file.read_bytes()
    file.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    assert np.array_equal(decoded_frames(pictures, 8, 16), grown)
    assert sorted(decoded) == pictures[2:4]
    assert file.read_bytes() == whole


def test_an_interrupted_build_goes_on(pictures, two_a_shard, decoded, monkeypatch):
    def crash(path, *size):
        if path == pictures[4]:
            raise KeyboardInterrupt
        return read_frame(path, *size)

    with monkeypatch.context() as patch:
        patch.setattr(data.store.shards, "read_frame", crash)
        with pytest.raises(KeyboardInterrupt):
            decoded_frames(pictures, 8, 16)
    decoded_frames(pictures, 8, 16)
    assert sorted(decoded) == pictures[4:]


def test_training_windows_do_not_depend_on_shards(settings, dance_root, monkeypatch):
    chosen = settings(DR=str(dance_root), train_vi_len=4, holdout=(40, 50))
    whole, whole_clips = DanceWindows(chosen, CPU), validation_clips(chosen)
    monkeypatch.setattr(data.store.shards, "SHARD_BYTES", 7 * 3 * 32 * 64)
    parts = DanceWindows(chosen, CPU)
    assert isinstance(parts.frames, Shards)
    for one, other in zip(whole.batches(0), parts.batches(0), strict=True):
        assert_same_batch(one, other)
    assert_same_clips(whole_clips, validation_clips(chosen))


def assert_same_batch(batch: Batch, other: Batch) -> None:
    for name in ("frames", "conditions", "index"):
        assert torch.equal(getattr(batch, name), getattr(other, name))


def test_augmentation_learns_the_same_from_shards(settings, dance_root):
    data = DanceWindows(settings(DR=str(dance_root), train_vi_len=4), CPU)
    sets = [data.frames, data.poses]
    parts = [Shards([x[:25].numpy(), x[25:].numpy()]) for x in sets]
    one, other = (Augmentation(*x, np.arange(60), 0) for x in (sets, parts))
    assert torch.equal(one.background, other.background)
    assert np.array_equal(one.margins, other.margins)


def assert_same_clips(sets: dict[str, list[Clip]], others: dict[str, list[Clip]]) -> None:
    assert sets.keys() == others.keys()
    for name in sets:
        for clip, other in zip(sets[name], others[name], strict=True):
            assert torch.equal(clip.frames, other.frames)
            assert torch.equal(clip.conditions, other.conditions)


def test_a_replay_that_does_not_fit_is_refused():
    small = np.zeros((2, 8, 16, 3), np.uint8)
    check_memory(Shards([small]))
    huge = np.lib.stride_tricks.as_strided(small, (1 << 40, 8, 16, 3), (0, *small.strides[1:]))
    with pytest.raises(UserError, match="--no-replay"):
        check_memory(Shards([huge]))


# ---------------------------------------------------------------------------- prepare


def run_prepare(monkeypatch, capsys, flags: str) -> str:
    monkeypatch.setattr(sys, "argv", ["prepare", *flags.split()])
    prepare.main()
    return capsys.readouterr().out


@pytest.fixture
def prepared(dance_root, tmp_path, monkeypatch, capsys) -> Path:
    monkeypatch.setattr(data.store.shards, "SHARD_BYTES", 25 * 3 * 32 * 64)
    run_prepare(monkeypatch, capsys, f"--DR {dance_root} --out {tmp_path / 'prepared'}")
    return tmp_path / "prepared"


def test_prepared_data_is_the_data(settings, dance_root, prepared, decoded):
    one, other = (
        settings(DR=str(root), train_vi_len=4, holdout=(40, 50)) for root in (dance_root, prepared)
    )
    assert training_data_digest(one) == training_data_digest(other)
    clips = validation_clips(other)
    windows = DanceWindows(other, CPU)
    assert decoded == []
    assert not list(prepared.rglob("train_*/*.png"))
    assert_same_clips(validation_clips(one), clips)
    for batch, expected in zip(windows.batches(1), DanceWindows(one, CPU).batches(1), strict=True):
        assert_same_batch(batch, expected)
    assert_same_clips({"test": test_clips(one)}, {"test": test_clips(other)})


def test_a_run_goes_on_with_its_data_prepared(dance_root, prepared, tmp_path):
    flags = f"{TINY} --precision fp32 --num_epoch"
    for folder, roots in (("one", [dance_root]), ("two", [dance_root, prepared])):
        for root in roots:
            epochs = 1 if root == dance_root and len(roots) > 1 else 2
            code, said = train(
                f"--DR {root} --save_root {tmp_path / folder} {flags} {epochs} "
                "--lr_schedule constant --kl_anneal_type None --per_save 10",
                tmp_path / "out",
            )
            assert code == 0, said
    assert "going on from" in said
    one, two = (checkpoint.load(tmp_path / name / "last.ckpt") for name in ("one", "two"))
    assert same(one["state_dict"], two["state_dict"])


def files_of(folder: Path) -> dict[Path, bytes]:
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_shares_together_make_the_whole(
    settings, dance_root, prepared, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "shared"
    said = run_prepare(monkeypatch, capsys, f"--DR {dance_root} --out {out} --shard 1/2")
    assert "60 frames in 3 shards, 1 of them made now" in said
    with pytest.raises(UserError, match="not finished"):
        DanceWindows(settings(DR=str(out), train_vi_len=4), CPU)
    run_prepare(monkeypatch, capsys, f"--DR {dance_root} --out {out} --shard 0/2")
    assert files_of(out) == files_of(prepared)


def test_preparing_again_makes_what_is_missing_or_changed(
    settings, dance_root, prepared, tmp_path, monkeypatch, capsys, decoded
):
    root = shutil.copytree(dance_root, tmp_path / "root", copy_function=shutil.copy2)
    again = f"--DR {root} --out {prepared}"
    assert "60 frames in 3 shards, 0 of them made now" in run_prepare(monkeypatch, capsys, again)
    assert decoded == []

    os.utime(root / "train/train_img/30.png", ns=(0, 7))
    said = run_prepare(monkeypatch, capsys, again)
    assert said.count("60 frames in 3 shards, 1 of them made now") == 1
    assert {path.parent.name for path in decoded} == {"train_img"}
    assert len(decoded) == 25

    before = files_of(prepared)
    damaged = max((prepared / "train/train_img").glob("*.npy"), key=lambda p: p.stat().st_mtime_ns)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(UserError, match="1 of 3 shards are missing or damaged"):
        DanceWindows(settings(DR=str(prepared), train_vi_len=4), CPU)
    run_prepare(monkeypatch, capsys, again)
    assert files_of(prepared) == before


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--DR {root}/none --out {out}", "no such folder"),
        ("--DR {root} --out {root}/train/train_img/0.png", "--out"),
        ("--DR {root} --out {out} --shard 2/2", "must have 0 <= i < n"),
        ("--DR {root} --out {out} --shard one", "not of the form i/n"),
        ("--DR nothing://here --out {out}", "nothing://here"),
    ],
)
def test_bad_input_to_prepare(dance_root, tmp_path, monkeypatch, capsys, flags, reason):
    flags = flags.format(root=dance_root, out=tmp_path / "out")
    with pytest.raises(SystemExit) as ended:
        run_prepare(monkeypatch, capsys, flags)
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


def test_prepared_data_of_another_size_or_format_is_refused(settings, prepared):
    with pytest.raises(UserError, match="--frame_H 32 --frame_W 64"):
        DanceWindows(settings(DR=str(prepared), frame_H=16, frame_W=32), CPU)
    index = prepared / "train/train_img/frames.json"
    content = json.loads(index.read_text())
    for wrong in ("{", "[]", json.dumps(content | {"format": "other"}), "{}"):
        index.write_text(wrong)
        with pytest.raises(UserError, match="not prepared as it should be"):
            DanceWindows(settings(DR=str(prepared)), CPU)


# ------------------------------------------------------------------------- far away


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
        (f"{remote}/train", "no folder memory:///bucket/dance/train/train/train_img"),
    ):
        with pytest.raises(UserError, match=reason):
            DanceWindows(settings(DR=url), CPU)
    fsspec.filesystem("memory").pipe("/bucket/dance/train/train_img/3.png", b"broken")
    with pytest.raises(UserError, match=r"memory:///bucket/dance/train/train_img/3\.png"):
        DanceWindows(settings(DR=remote, train_vi_len=4), CPU)


def test_a_remote_dataset_is_prepared_and_trained_from(
    dance_root, remote, prepared, tmp_path, monkeypatch, capsys
):
    run_prepare(monkeypatch, capsys, f"--DR {remote} --out {tmp_path / 'fetched'}")
    names = [sorted(p.name for p in f.rglob("*.png")) for f in (tmp_path / "fetched", prepared)]
    assert names[0] == names[1]
    flags = f"--save_root {tmp_path / 'run'} {TINY} --num_epoch 1"
    code, said = train(f"--DR file://{dance_root} {flags}", tmp_path / "out")
    assert code == 0, said


# ------------------------------------------------------------------ larger than memory

HEIGHT, WIDTH, FRAMES = 256, 512, 65_536  # 24 GiB, twice: frames and pose images


def sparse_folder(folder: Path) -> int:
    """Write a prepared folder of black frames whose pixels take no room on the disk."""
    folder.mkdir(parents=True)
    in_shard = data.store.shards.frames_in_shard(HEIGHT, WIDTH)
    black = data.store.shards.checksums(np.zeros((1, HEIGHT, WIDTH, 3), np.uint8), [0])
    names, size = [], 0
    for number, part in enumerate(data.store.shards.shard_slices(FRAMES, in_shard)):
        shape = (part.stop - part.start, HEIGHT, WIDTH, 3)
        names.append(f"{number}.npy")
        with (folder / names[-1]).open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + int(np.prod(shape)))
            size += file.seek(0, os.SEEK_END)
            file.write(black.repeat(shape[0]).tobytes())
    np.save(folder / "numbers.npy", np.arange(FRAMES))
    index = {
        "format": "conditional-video-vae frames 1",
        "height": HEIGHT,
        "width": WIDTH,
        "frames_in_shard": in_shard,
        "content": "black",
        "shards": names,
    }
    (folder / "frames.json").write_text(json.dumps(index))
    return size


def memory_mib(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 1024


def train_on_more_than_memory(settings, folder: Path) -> None:
    from Trainer import VAE_Model

    torch.set_num_threads(1)
    run = VAE_Model(settings).trainer.run
    before = memory_mib("VmRSS")
    began = time.process_time()
    data = DanceWindows(settings, CPU)
    seconds = time.process_time() - began
    steps = 0
    for batch in data.batches(0):
        run.train_step(batch, [True], 1e-4)
        steps += 1
        if steps == 2:
            warm = memory_mib("VmHWM")
        if steps == 12:
            break
    figures = {
        "seconds": seconds,
        "steps": steps,
        "to_open": memory_mib("VmHWM") - before,
        "growth": memory_mib("VmHWM") - warm,
    }
    (folder / "figures.json").write_text(json.dumps(figures))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's own account")
def test_fifty_gigabytes_open_at_once_and_train_in_little_memory(settings, tmp_path):
    sizes = [sparse_folder(tmp_path / f"data/train/train_{kind}") for kind in ("img", "label")]
    assert sum(sizes) > 50e9
    chosen = settings(
        DR=str(tmp_path / "data"),
        frame_H=HEIGHT,
        frame_W=WIDTH,
        train_vi_len=2,
        batch_size=1,
        patch_size=4,
        num_epoch=1,
        **TINY_WIDTHS,
    )
    assert join([start(train_on_more_than_memory, chosen, tmp_path)]) == [0]
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["steps"] == 12
    assert figures["seconds"] < 1
    assert figures["to_open"] < 1000
    assert figures["growth"] < 200
