"""Reading one folder or one picture: numbered names, checked headers, resized pixels."""

import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from core.errors import UserError
from data.store.remote import open_binary

# The size is checked here, below what Pillow warns of.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}
MAX_PIXELS = 1 << 26  # 64 megapixels; the pictures of the lab have half a one


def numbered_images(folder: Path) -> dict[int, Path]:
    """Return the pictures of a folder by the number in their name, in rising order.

    Names are `N.png` or `frameN.png` (JPEG too). Hidden files and other suffixes are passed over.
    Raises UserError for a missing or empty folder, a name that is no number, a number twice.
    """
    pictures = (path for path in _entries(folder) if path.suffix.lower() in IMAGE_SUFFIXES)
    complaint = "the name is not a frame number (expected such as 12.png)"
    if not (found := _by_number(pictures, r"(?:frame[_-]?)?(\d{1,9})\.\w+", complaint)):
        raise UserError(f"no pictures in {folder}: expected files such as 0.png")
    return found


def numbered_folders(folder: Path) -> dict[int, Path]:
    """Return the sub-folders `K/` of a folder by their number, as `numbered_images` does."""
    folders = (path for path in _entries(folder) if path.is_dir())
    complaint = "the name of a sequence folder is not a number"
    if not (found := _by_number(folders, r"(\d{1,9})", complaint)):
        raise UserError(f"no sequence folders in {folder}: expected {folder / '0'} and so on")
    return found


def _entries(folder: Path) -> Iterator[Path]:
    """Yield what is in a folder and not hidden. Raises UserError where there is none."""
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: check --DR (layout in docs/data.md)")
    yield from (path for path in folder.iterdir() if not path.name.startswith("."))


def _by_number(paths: Iterable[Path], pattern: str, complaint: str) -> dict[int, Path]:
    by_number: dict[int, Path] = {}
    for path in paths:
        match = re.fullmatch(pattern, path.name, re.IGNORECASE)
        if match is None:
            raise UserError(f"{path}: {complaint}")
        number = int(match.group(1))
        if number in by_number:
            raise UserError(f"{path} and {by_number[number].name} have the same number")
        by_number[number] = path
    return dict(sorted(by_number.items()))


def open_image(path: Path) -> Image.Image:
    """Open and decode a picture as RGB. Raises UserError naming the file.

    PNG and JPEG only, and the size in the header is checked before a pixel is decoded.
    Transparency is dropped, as the lab's loader does; 16-bit gray keeps its high byte.
    """
    try:
        with open_binary(path) as file, Image.open(file, formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(
                    f"{path}: {image.width}x{image.height} pixels, more than {MAX_PIXELS} allowed"
                )
            if image.mode.startswith("I"):
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            return image.convert("RGB")
    except (UserError, MemoryError):
        raise
    except OSError as error:
        # Pillow's own text holds the address of the open file.
        why = error.strerror or ("of another kind" if "cannot identify" in str(error) else error)
        raise UserError(f"{path}: not a readable PNG or JPEG ({why})") from None
    except Exception as error:  # what Pillow raises on damaged pictures is not told anywhere
        raise UserError(f"{path}: not a readable PNG or JPEG ({error})") from None


def read_frame(path: Path, height: int, width: int) -> np.ndarray:
    """Return a picture as (height, width, 3) uint8, bilinear with antialiasing.

    Pillow's resize is what torchvision's Resize calls for PIL images, as the lab's code does.
    """
    image = open_image(path)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image)
