"""The lab's dataset classes: what an item holds, how names sort, what is refused."""

import shutil

import pytest
import torch
from PIL import Image
from torchvision import transforms

from core.errors import UserError
from dataloader import Dataset_Dance
from tests.support.data_sets import coded_pictures, numbers_in


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
