"""The material of a data set: frames of the films on disk, and where the person's joints are."""

from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from core.words import number_of
from data.estimates.alignment import check_length, counted_from_0, in_picture
from data.estimates.following import Mending, follow_person, mended
from data.estimates.reading import read_poses
from data.pose.skeleton import JOINTS, SIDES
from data.video.film import Film
from data.video.scenes import SceneChanges
from data.video.window import Window, choose_window


@dataclass
class Material:
    """Frames by number. Where a recording begins a number is left out, so that neighbors in
    number are neighbors in time."""

    places: dict[int, np.ndarray] = field(default_factory=dict)  # (J, 2), of frames with the person
    stretches: list[list[int]] = field(default_factory=list)  # frames that follow each other
    next_number: int = 0
    report: list[str] = field(default_factory=list)  # a line for every film

    def add(self, film: Film, path: Path, folder: Path, args: Namespace) -> None:
        """Add a film with the poses at `path`: its frames are written into `folder`.

        Raises UserError where poses and film do not belong together, or nobody is seen.
        """
        estimates = in_picture(read_poses(path), film.width, film.height, path, args.pose_size)
        estimates = counted_from_0(estimates, film.announced, path)
        if film.announced:  # before hours of decoding
            check_length(estimates, film.announced, path, film.path, film.announced // 10)
        followed = follow_person(estimates, path, args)
        height, width = args.size
        shape = film.width, film.height, width, height
        window = choose_window(followed, *shape, close=args.crop == "person")
        begins = self._write(film, window, folder, args)
        check_length(estimates, film.decoded, path, film.path)

        done = Mending()
        for (begin, number), (end, _) in zip(begins, [*begins[1:], (film.decoded, 0)]):
            places, mending = mended(followed[begin:end], args)
            shown = window.places(places, width, height)
            seen = np.flatnonzero(np.isfinite(places[..., 0]).any(axis=1))
            self.places |= {number + k: shown[k] for k in seen.tolist()}
            self.stretches += [(number + part).tolist() for part in _runs(seen)]
            lost = set(range(end - begin)) - set(seen.tolist())
            for k in lost:
                (folder / f"{number + k}.png").unlink()
            done = Mending(*map(sum, zip(done, mending._replace(lost=len(lost)))))
        kept = window.described(film.width, film.height)
        if film.height > film.width and height < width:
            kept += f" (in portrait: --size {width}x{height} fits better)"
        self.report.append(
            f"{film.path.name}: {film.width}x{film.height}, {number_of(film.decoded, 'frame')}, "
            f"{film.rate:.4g} a second{_oddities(film)}, {kept}, "
            f"{number_of(len(begins), 'recording')}; {estimates.format}: {done.said()}"
            f"{_never_seen(followed)}"
        )

    def _write(
        self, film: Film, window: Window, folder: Path, args: Namespace
    ) -> list[tuple[int, int]]:
        """Write every frame; return where recordings begin: (frame of the film, number) each."""
        scenes, begins = SceneChanges(), []
        bar = tqdm(
            film.frames(), film.path.name, film.announced or None, unit="frame", disable=None
        )
        for index, frame in enumerate(bar):
            if scenes.begins(frame) or index == 0:
                self.next_number += 1 if self.next_number else 0
                begins.append((index, self.next_number))
            picture = window.cut(frame, args.size[1], args.size[0])
            picture.save(folder / f"{self.next_number}.png", compress_level=1)
            self.next_number += 1
        return begins


def _runs(numbers: np.ndarray) -> list[np.ndarray]:
    """Split rising numbers where one is left out."""
    if not len(numbers):
        return []
    return np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)


def _never_seen(places: np.ndarray) -> str:
    """Say which joints (T, J, 2) are seen in no frame; those of both sides by one name."""
    seen = np.isfinite(places[..., 0]).any(axis=0)
    unseen = [joint for joint, found in zip(JOINTS, seen) if not found]
    names = []
    for joint in unseen:
        part, _, side = joint.rpartition("_")
        both = side in SIDES and all(f"{part}_{one}" in unseen for one in SIDES)
        names.append(f"{part}s" if both else joint)
    return f"; never seen: {', '.join(dict.fromkeys(names))}" if names else ""


def _oddities(film: Film) -> str:
    said = f", turned by {film.rotation % 360}°" if film.rotation % 360 else ""
    return said + (" at a variable rate, taken frame by frame" if film.uneven else "")
