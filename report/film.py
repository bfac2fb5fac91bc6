"""Clips as films for the page, where differences of pixels do not fit (report/codec.py).

VP9 in WebM, colors at full resolution (4:4:4), which browsers show without a plug-in or a network.
A key frame stands every second, so that the page finds any frame soon. Films are lossy; scores are
those of the exact frames.
"""

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

RATE = 25  # frames a second, each a whole number of milliseconds, as WebM counts them
QUALITIES = (12, 20, 28, 36, 44, 52, 60)  # of VP9: 0 is the best, 63 the worst


def has_encoder() -> bool:
    """Tell whether films can be made here."""
    try:
        import av
    except ImportError:
        return False
    return "libvpx-vp9" in av.codecs_available


def film(frames: np.ndarray, quality: int) -> bytes:
    """Encode (T, H, W, 3) uint8 as WebM; the same frames are the same bytes."""
    import av  # here, for it takes a while, and only a large page needs it

    file = io.BytesIO()
    with av.open(file, "w", format="webm", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libvpx-vp9", rate=RATE)
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt, stream.gop_size, stream.thread_count = "yuv444p", RATE, 1
        stream.options = {
            **{"crf": str(quality), "b": "0", "deadline": "realtime", "cpu-used": "8"},
            **{"lag-in-frames": "0", "auto-alt-ref": "0"},  # a picture for every frame, in order
        }
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels))))
        container.mux(stream.encode())
    return file.getvalue()


def film_all(clips: Sequence[np.ndarray], budget: int) -> list[str]:
    """Return the clips as base64 texts of at most `budget` characters together.

    All in the best quality that fits; the worst is taken where none does.
    """
    with ThreadPoolExecutor() as pool:  # the encoder works outside of Python's lock

        def encoded(quality: int, some: Sequence[np.ndarray]) -> list[bytes]:
            return list(pool.map(partial(film, quality=quality), some))

        # A second of each tells about how large all of it will be.
        seconds = [frames[len(frames) // 2 :][:RATE] for frames in clips]
        times = [len(frames) / len(second) for frames, second in zip(clips, seconds)]
        for quality in QUALITIES:
            if quality != QUALITIES[-1]:
                sizes = map(len, encoded(quality, seconds))
                if sum(size * n for size, n in zip(sizes, times)) * 4 / 3 > 1.2 * budget:
                    continue
            texts = [base64.b64encode(content).decode() for content in encoded(quality, clips)]
            if sum(map(len, texts)) <= budget:
                break
    return texts
