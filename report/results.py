"""What a test leaves to look at: its rollouts for the Reporter, and a page of its own."""

from collections.abc import Sequence
from pathlib import Path

from core.files import printable
from engine.checkpoints.results_folder import finish_results
from report.page import write_page
from report.rollouts import Rollout, write_rollouts
from report.runs import Record
from report.style import Figure, to_svg


def leave_results(
    folder: Path, rollouts: Sequence[Rollout], figures: dict[str, Figure], *, page: bool
) -> None:
    """Write the rollouts of one run and, with `page`, report.html with figures by name."""
    write_rollouts(folder, rollouts)
    if page:
        record = Record(rollouts[0].about["run"], rollouts=list(rollouts))
        shown = {name: to_svg(figure, name) for name, figure in figures.items()}
        write_page(folder / "report.html", record.label, [record], shown)
    finish_results(folder)
    if page:
        print(f"{folder / 'report.html'}: open it in a browser to play them")


def about_test(path: Path, settings, others: Sequence[Path] = ()) -> dict[str, str]:
    """Return in words which test of which checkpoint rollouts are of, or of which, averaged."""
    paths = (path, *others)
    about = {
        "run": " + ".join(printable(one.resolve().parent.name) for one in paths),
        "checkpoint": " + ".join(printable(one.name) for one in paths),
        "split": settings.split,
        "z": settings.latent,
        "temperature": f"{settings.temperature:g}",
    }
    if settings.fill_poses:
        about["poses"] = f"completed over up to {settings.fill_poses} frames"
    return about | ({"averaged over": "views"} if settings.tta else {})
