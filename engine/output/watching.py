"""A bar for work that takes a while beside training: rolling out, scoring, writing."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

from core import distributed
from engine.evaluation.rollout import Watch

T = TypeVar("T")
SECONDS_PER_REFRESH = 0.2


@contextlib.contextmanager
def watched(name: str) -> Iterator[Watch]:
    """Give a watch that shows what it hears as a bar; nothing where the output is no terminal."""
    with _bar(name, None) as bar:
        shown = 0.0

        def show(what: str, done: int, of: int) -> None:
            nonlocal shown
            if bar.disable or (time.perf_counter() - shown < SECONDS_PER_REFRESH and done < of):
                return
            shown = time.perf_counter()
            bar.set_description_str(f"{name}: {what}", refresh=False)
            bar.total, bar.n = of, done
            bar.refresh()

        yield show


def each(name: str, items: Iterable[T], total: int) -> Iterator[T]:
    """Yield the items while a bar counts them."""
    with _bar(name, total) as bar:
        for item in items:
            yield item
            bar.update()


def counted(name: str, items: Sequence[T]) -> Iterator[T]:
    """Yield the items of a sequence while a bar counts them."""
    return each(name, items, len(items))


def _bar(name: str, total: int | None) -> tqdm:
    return tqdm(
        total=total,
        desc=name,
        disable=None if distributed.is_main() else True,
        leave=False,
        dynamic_ncols=True,
        bar_format="{desc} |{bar:20}| {n_fmt}/{total_fmt}",
    )
