"""Picture files: decoded as torchvision does, odd ones, broken ones."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from core.errors import UserError
from data.store.images import open_image, read_frame
from tests.support.data_sets import decoded_frames, noise_picture


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
