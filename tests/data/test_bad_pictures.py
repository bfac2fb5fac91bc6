"""Known-bad pictures and tables: exit code 2, the name of the file, no traces.

`refused` (conftest.py) checks that nothing was left half-written.
"""

import io
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import Tester
import Trainer
from data.store.images import MAX_PIXELS, read_frame
from tests.support.hostile import NO_FILES, call, rollout_flags, trainer_flags, turned

# --------------------------------------------------------------------- pictures


def chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def png(rows: np.ndarray, depth: int, color: int, extra: bytes = b"", claims=None) -> bytes:
    """Write a PNG by its specification: rows (H, bytes a row), bit depth, color type."""
    width = rows.shape[1] * 8 // (depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color])
    size = claims or (width, len(rows))
    header = struct.pack(">IIBBBBB", *size, depth, color, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows), 9)
    parts = chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def big_endian(values: np.ndarray) -> np.ndarray:
    """(H, W, channels) of 16 bits → (H, bytes a row)."""
    return values.astype(">u2").reshape(len(values), -1).view(np.uint8)


RNG = np.random.default_rng(5)
DEEP = RNG.integers(0, 65536, (12, 12, 4), dtype=np.uint16)
LEVELS = RNG.integers(0, 256, (12, 12, 4), dtype=np.uint8)
HIGH = (DEEP >> 8).astype(np.uint8)
COLORS = RNG.integers(0, 256, (256, 3), dtype=np.uint8)
FLAT = np.full((12, 12), 2, np.uint8)
PLAIN = png(LEVELS[..., :3].reshape(12, -1), 8, 2)

HANDLED = {  # pictures, and the colors they must be read as
    "palette": (
        png(LEVELS[..., 0], 8, 3, chunk(b"PLTE", COLORS.tobytes())),
        COLORS[LEVELS[..., 0]],
    ),
    "palette with transparency": (
        png(LEVELS[..., 0], 8, 3, chunk(b"PLTE", COLORS.tobytes()) + chunk(b"tRNS", bytes(9))),
        COLORS[LEVELS[..., 0]],
    ),
    "gray": (png(LEVELS[..., 0], 8, 0), LEVELS[..., [0, 0, 0]]),
    "gray with a transparent level": (
        png(LEVELS[..., 0], 8, 0, chunk(b"tRNS", b"\0\7")),
        LEVELS[..., [0, 0, 0]],
    ),
    "gray of 16 bits": (png(big_endian(DEEP[..., :1]), 16, 0), HIGH[..., [0, 0, 0]]),
    "gray of 16 bits, alpha": (png(big_endian(DEEP[..., :2]), 16, 4), HIGH[..., [0, 0, 0]]),
    "colors of 16 bits": (png(big_endian(DEEP[..., :3]), 16, 2), HIGH[..., :3]),
    "colors of 16 bits, alpha": (png(big_endian(DEEP), 16, 6), HIGH[..., :3]),
    "alpha": (png(LEVELS.reshape(12, -1), 8, 6), LEVELS[..., :3]),
    "one bit": (
        png(np.packbits(LEVELS[:, :8, 0] & 1, axis=1), 1, 0),
        (255 * (LEVELS[:, :8, 0] & 1))[..., None].repeat(3, -1),
    ),
    "a text that is small": (PLAIN[:33] + chunk(b"tEXt", b"a\0b") + PLAIN[33:], LEVELS[..., :3]),
    "a JPEG of gray": (saved(Image.fromarray(FLAT), "JPEG"), FLAT[..., None].repeat(3, -1)),
    # In CMYK the channels are ink: light = 255 − ink, times what black leaves.
    "a JPEG of CMYK": (
        saved(Image.new("CMYK", (12, 12), (55, 155, 255, 0)), "JPEG", quality=100),
        np.full((12, 12, 3), (200, 100, 0), np.uint8),
    ),
    "a JPEG turned by its camera": (
        saved(
            Image.fromarray(FLAT),
            "JPEG",
            exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0",
        ),
        FLAT[..., None].repeat(3, -1),
    ),
    "the first frame of several": (
        saved(
            Image.fromarray(LEVELS[..., :3]),
            "PNG",
            save_all=True,
            append_images=[Image.new("RGB", (12, 12))],
        ),
        LEVELS[..., :3],
    ),
}


@pytest.mark.parametrize("case", HANDLED)
def test_odd_pictures_are_read_as_the_colors_they_hold(tmp_path, case):
    data, expected = HANDLED[case]
    (tmp_path / "0.png").write_bytes(data)
    found = read_frame(tmp_path / "0.png", *expected.shape[:2])
    near = 2 if "JPEG" in case else 0
    assert np.abs(found.astype(int) - expected).max() <= near


ZEROS = zlib.compress(bytes(30_000_000), 9)  # 30 kB
REFUSED = {
    "empty": b"",
    "text": b"hello",
    "a signature alone": PLAIN[:8],
    "a header alone": PLAIN[:33],
    "cut in the middle": PLAIN[: len(PLAIN) // 2],
    "cut before its end": PLAIN[:-40],
    "damaged pixels": turned(PLAIN, range(60, 80)),
    "damaged header": turned(PLAIN, range(20, 24)),
    "a size of nothing": png(LEVELS[..., 0], 8, 0, claims=(0, 12)),
    "30 kB of gigapixels": png(np.zeros((5000, 6000), np.uint8), 8, 0, claims=(40_000, 40_000)),
    "one pixel too many": png(LEVELS[..., 0], 8, 0, claims=(MAX_PIXELS + 1, 1)),
    "the largest size": png(LEVELS[..., 0], 8, 0, claims=(2**31 - 1, 2**31 - 1)),
    "a text of 30 MB in 30 kB": PLAIN[:33] + chunk(b"zTXt", b"a\0\0" + ZEROS) + PLAIN[33:],
    "a profile of 30 MB": PLAIN[:33] + chunk(b"iCCP", b"a\0\0" + ZEROS) + PLAIN[33:],
    "international text": PLAIN[:33] + chunk(b"iTXt", b"a\0\1\0\0\0" + ZEROS) + PLAIN[33:],
    "an unknown color type": turned(PLAIN, range(25, 26)),
    "a GIF": saved(Image.new("P", (8, 8)), "GIF"),
    "a TIFF": saved(Image.new("RGB", (8, 8)), "TIFF"),
    "a BMP": saved(Image.new("RGB", (8, 8)), "BMP"),
    "a WebP": b"RIFF\x24\0\0\0WEBPVP8 \x18\0\0\0",
    "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>',
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) (w) file\n",
    "a JPEG cut short": saved(Image.fromarray(LEVELS[..., :3]), "JPEG")[:400],
    "a JPEG of gigapixels": saved(Image.fromarray(FLAT), "JPEG").replace(
        b"\0\x0b\x08\0\x0c\0\x0c", b"\0\x0b\x08\xff\xff\xff\xff"
    ),
    "a zip": b"PK\3\4" + bytes(30),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_picture_is_named(refused, root, case):
    path = root / "train/train_img/9.png"
    path.write_bytes(REFUSED[case])
    assert len(REFUSED[case]) < 100_000
    assert str(path) in refused(Trainer, *trainer_flags(root))


@pytest.mark.parametrize("case", NO_FILES)
@pytest.mark.parametrize("name", ["train/train_img/0.png", "train/cuts.txt"])
def test_what_is_no_file_is_named_and_not_waited_for(refused, root, name, case):
    path = root / name
    path.unlink()
    NO_FILES[case](path)
    assert str(path) in refused(Trainer, *trainer_flags(root))


@pytest.mark.parametrize("name", ["test_img/0/0.png", "test_label/0/3.png", "test_gt/0/3.png"])
def test_a_bad_picture_of_the_test_is_named(refused, root, ours, name):
    (root / "test" / name).write_bytes(b"\x89PNG")
    assert name in refused(Tester, *rollout_flags(root, ours))


# ----------------------------------------------------------------------- tables


@pytest.mark.parametrize(
    "text",
    [
        b"ten\n",
        b"-3\n",
        b"1.5\n",
        b"=1+1\n",
        b"9" * 30,
        b"\x89PNG\r\n\x1a\n\0\0",
        b"\xff\xfe1\0",
        b"1\n" * (1 << 23) + b"2",
    ],
    ids=["word", "negative", "fraction", "formula", "long", "picture", "UTF-16", "16 MB"],
)
def test_cuts_that_are_not_frame_numbers(refused, root, text):
    (root / "train/cuts.txt").write_bytes(text)
    assert "cuts.txt" in refused(Trainer, *trainer_flags(root))


def log_of(run: Path) -> bytes:
    return (run / "metrics.csv").read_bytes()


CONTINUED = ("--prediction_buffer", "--batch_size", "1", "--num_epoch", "3")
LOGS = {  # what becomes of metrics.csv
    "torn": lambda log: log[: -len(log) // 4],
    "a row too long": lambda log: log.replace(b"\r\n", b",9\r\n").replace(b",9\r\n", b"\r\n", 1),
    "no epoch": lambda log: log.replace(b"epoch", b"=epoch"),
    "an epoch of words": lambda log: log.replace(b"\r\n0,", b"\r\n=cmd(),"),
    "an epoch too long": lambda log: log.replace(b"\r\n0,", b"\r\n" + b"9" * 5000 + b","),
    "a field of a megabyte": lambda log: log + b"1" * 1_000_000,
    "a picture": lambda log: PLAIN,
    "zeros": lambda log: bytes(100),
    "something else's": lambda log: b"name,age\nAda,36\n",
}


@pytest.mark.parametrize("case", LOGS)
def test_a_log_that_is_not_of_the_run_is_named(refused, root, small_run, tmp_path, case):
    run = Path(shutil.copytree(small_run, tmp_path / "out"))
    (run / "metrics.csv").write_bytes(LOGS[case](log_of(run)))
    said = refused(Trainer, *trainer_flags(root, *CONTINUED))
    assert "metrics.csv" in said
    assert "--resume never" in said


def test_a_log_that_was_emptied_is_begun_anew(root, small_run, tmp_path):
    run = Path(shutil.copytree(small_run, tmp_path / "out"))
    (run / "metrics.csv").write_bytes(b"")
    code, said = call(Trainer, *trainer_flags(root, *CONTINUED))
    assert code == 0, said
    assert log_of(run).splitlines()[1].startswith(b"2,")


@pytest.mark.parametrize("case", ["a pipe", "a folder", "a link to a device"])
def test_a_log_that_is_no_file_is_named(refused, root, small_run, tmp_path, case):
    run = Path(shutil.copytree(small_run, tmp_path / "out"))
    (run / "metrics.csv").unlink()
    NO_FILES[case](run / "metrics.csv")
    assert "metrics.csv" in refused(Trainer, *trainer_flags(root, *CONTINUED))
