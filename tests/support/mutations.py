"""What fuzzing draws: mutated bytes, near-pictures, odd names, things that are no files, values."""

import io
import os
import shutil
from pathlib import Path

import torch
from hypothesis import strategies as st
from PIL import Image

# ------------------------------------------------------------------ bytes, mutated


@st.composite
def mutations(draw):
    """Draw a function of bytes: some flips, cuts, splices and insertions."""
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["flip", "cut", "splice", "insert", "zero", "keep"]),
                st.floats(0, 1),
                st.floats(0, 1),
                st.binary(min_size=1, max_size=8),
            ),
            min_size=1,
            max_size=4,
        )
    )

    def mutate(data: bytes) -> bytes:
        for kind, start, stop, new in steps:
            a, b = sorted((int(start * len(data)), int(stop * len(data))))
            near = min(b, a + 16)
            data = {
                "flip": data[:a] + bytes(x ^ new[0] for x in data[a : a + 1]) + data[a + 1 :],
                "cut": data[:a] + data[near:],
                "splice": data[:a] + data[b : b + 64] + data[a + 64 :],
                "insert": data[:a] + new + data[a:],
                "zero": data[:a] + bytes(near - a) + data[near:],
                "keep": data[:b] if start < 0.2 else data,
            }[kind]
        return data

    return mutate


# ------------------------------------------------------------------- names and files

stems = st.one_of(
    st.integers(0, 14).map(str),
    st.integers(0, 14).map("frame{:03}".format),
    st.sampled_from(["=1+1", "-1", "1e3", "٣", "²", ".5", "9" * 9, "9" * 10, "9" * 250, "cuts"]),
    st.text(max_size=6),
    st.binary(max_size=6).map(os.fsdecode),
)
suffixes = st.sampled_from([".png", ".png", ".png", ".PNG", ".jpg", ".jpeg", ".txt", ".gif", ""])


@st.composite
def pictures(draw) -> bytes:
    """Draw a file that is more or less a picture."""
    size = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    mode = draw(st.sampled_from(["RGB", "L", "P", "1", "RGBA", "LA", "I;16", "CMYK"]))
    kind = draw(st.sampled_from(["PNG", "PNG", "JPEG", "GIF", "TIFF"]))
    file = io.BytesIO()
    try:
        Image.effect_noise(size, 90).convert("RGB").convert(mode).save(file, kind)
    except (OSError, ValueError):  # not every kind holds every mode
        Image.new("RGB", size).save(file, "PNG")
    return draw(st.one_of(st.just(lambda data: data), mutations()))(file.getvalue())


files = st.one_of(pictures(), st.binary(max_size=60), st.text(max_size=20).map(str.encode))
plants = st.one_of(
    files.map(lambda data: lambda path: path.write_bytes(data)),
    st.sampled_from(
        [
            os.mkfifo,
            Path.mkdir,
            lambda path: path.symlink_to("nowhere"),
            lambda path: path.symlink_to(path.name),
            lambda path: path.symlink_to("/dev/zero"),
            lambda path: path.symlink_to(path.parent),
            lambda path: path.symlink_to("../../../elsewhere/0.png"),
        ]
    ),
)


def plant(root: Path, folder: str, name: str, what) -> None:
    """Put something at a name, if the system allows it, in the place of what was there."""
    path = root / folder / name.replace("/", "_").replace("\0", "_")
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        what(path)
    except OSError:
        return


# --------------------------------------------------------------- contents of checkpoints

TENSORS = [
    torch.tensor(float("nan")),
    torch.tensor([1, 2]),
    torch.ones(3, 3, dtype=torch.complex64),
    torch.ones(2, 2).to_sparse(),
    torch.zeros(1).expand(9, 9),
    torch.zeros(0),
    torch.zeros(5, 12, 12, 3, dtype=torch.uint8),
    torch.ones((), dtype=torch.float16),
]
values = st.one_of(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    st.sampled_from([0, 1, -1, 10**9, 2**63, 10**400, 1e300, b"x", 1j, "lab", "Adam", "0.001"]),
    st.sampled_from(TENSORS),
    st.just([]) | st.just({}) | st.lists(st.integers(0, 9), max_size=3),
)


def change(content, path, what: str, value) -> None:
    """Walk down along the numbers and replace, drop, add or double what is there."""
    for step, number in enumerate(path):
        if not isinstance(content, dict | list) or not content:
            return
        names = list(content) if isinstance(content, dict) else range(len(content))
        name = names[number % len(names)]
        inner = content[name]
        if step + 1 < len(path) and isinstance(inner, dict | list) and inner:
            content = inner
            continue
        if what == "drop":
            del content[name]
        elif what == "add" and isinstance(content, dict):
            content[value if isinstance(value, str | int) else "extra"] = value
        elif what == "tensor" and torch.is_tensor(inner):
            content[name] = [inner.double(), inner.int(), inner[:1] if inner.ndim else inner][
                number % 3
            ]
        elif what == "itself":
            content[name] = content
        else:
            content[name] = value
        return
