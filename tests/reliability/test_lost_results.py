"""What a run, a preparation or a test has finished is not lost, mixed or left out in silence."""

import os
import shutil
import signal
from pathlib import Path

import pytest

import prepare
import Tester
import Trainer
from core.files import atomic_write, earlier, remove_leftovers
from engine.checkpoints import checkpoint
from engine.training.run import Run
from tests.support import toy
from tests.support.faults import Faults, dying, in_one_order, operations_of  # noqa: F401
from tests.support.hostile import call, contents, rollout_flags

TOY = (
    *("--model", "toy", "--DR", ".", "--num_epoch", "2", "--batch_size", "12", "--device", "cpu"),
    *("--precision", "fp32", "--toy_rank", "3"),
)


pytestmark = pytest.mark.usefixtures("in_one_order")


@pytest.fixture(autouse=True)
def known():
    with toy.registered():
        yield


def train(folder: Path, *flags) -> tuple[int, str]:
    return call(Trainer, *TOY, *flags, "--save_root", folder)


@pytest.fixture
def run(tmp_path) -> Path:
    code, said = train(tmp_path / "run")
    assert code == 0, said
    return tmp_path / "run"


@pytest.fixture
def at_step(monkeypatch):
    """`at_step(n, act)` calls `act` after the n-th step of a run."""

    def let(number: int, act) -> None:
        taken = Run.train_step

        def step(self, *arguments):
            metrics = taken(self, *arguments)
            if self.step == number:
                act()
            return metrics

        monkeypatch.setattr(Run, "train_step", step)

    return let


# ------------------------------------------------------------------------ resume points


def test_a_resume_point_that_is_linked_to_the_one_before_is_replaced(run):
    """So a process leaves them that is killed between the two renamings of a save."""
    (run / "last-1.ckpt").unlink()
    os.link(run / "last.ckpt", run / "last-1.ckpt")
    code, said = train(run, "--num_epoch", "4")
    assert code == 0, said
    assert "File exists" not in said
    last, before = (checkpoint.load(run / name)["step"] for name in ("last.ckpt", "last-1.ckpt"))
    assert last > before


def test_kept_files_stay_in_order_wherever_a_process_is_killed(tmp_path):
    def write(folder: Path, *versions: int) -> None:
        for version in versions:
            with atomic_write(folder / "a.txt", keep=2) as file:
                file.write(str(version).encode())

    write(tmp_path / "counted", 1, 2, 3)
    points = operations_of(tmp_path, lambda: write(tmp_path / "counted", 4))
    assert len(points) > 10
    for at in range(len(points)):
        folder = tmp_path / f"killed {at}"
        write(folder, 1, 2, 3)
        with Faults(tmp_path, at), dying():
            write(folder, 4)
        write(folder, 5)
        kept = [int(earlier(folder / "a.txt", age).read_text()) for age in range(3)]
        assert kept in ([5, 3, 2], [5, 4, 3]), points[at]


def test_a_warm_start_from_the_run_folder_leaves_its_source(run):
    shutil.copy(run / "best.ckpt", run / "start.ckpt")
    (run / "mine.gif").write_bytes(b"not of the run")
    for source in ("start.ckpt", "best.ckpt"):
        before = (run / source).read_bytes()
        flags = ("--warm_start", run / source, "--seed", "3")
        code, said = train(run, *flags)
        assert code == 0, said
        assert "files moved to" in said
        if source == "start.ckpt":
            assert (run / source).read_bytes() == before
        else:  # the new run has written its own, as it does
            kept = [path.read_bytes() for path in run.glob("previous-*/best.ckpt")]
            assert before in kept
        code, said = train(run, *flags)
        assert code == 0, said
        assert "trained to its end" in said
    assert (run / "mine.gif").exists()


def test_killed_before_its_first_save_a_warm_start_finds_its_source_again(run, at_step):
    def give_up() -> None:
        raise KeyboardInterrupt

    flags = ("--warm_start", run / "best.ckpt", "--seed", "3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "train_step", lambda *_: give_up())
        assert train(run, *flags)[0] == 130
    code, said = train(run, *flags)
    assert code == 0, said


# ----------------------------------------------------------------------------- the folder


@pytest.mark.parametrize("begun_anew", [False, True])
def test_a_run_whose_folder_is_removed_does_not_write_into_that_of_another(
    tmp_path, at_step, begun_anew
):
    folder, other = tmp_path / "run", tmp_path / "other"
    assert train(other)[0] == 0

    def remove() -> None:
        folder.rename(tmp_path / "removed")
        if begun_anew:
            shutil.copytree(other, folder)

    at_step(4, remove)
    code, said = train(folder)
    assert code == 2, said
    assert "taken over" in said.splitlines()[-1]
    expected = list(contents(other).values()) if begun_anew else []
    assert list(contents(folder).values()) == expected


def test_who_cleans_up_leaves_what_another_process_is_writing(tmp_path):
    """As a Tester does that writes into the folder of a run."""
    (tmp_path / ".last.ckpt.1-1.tmp").write_bytes(b"of a process that was killed")
    with atomic_write(tmp_path / "last.ckpt", keep=1) as file:
        remove_leftovers(tmp_path)
        assert len(list(tmp_path.glob(".*.tmp"))) == 1
        file.write(b"whole")
    assert (tmp_path / "last.ckpt").read_bytes() == b"whole"

    child = os.fork()
    if child == 0:
        with atomic_write(tmp_path / "last.ckpt") as file:
            file.write(b"torn")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(list(tmp_path.glob(".*.tmp"))) == 1
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


# ---------------------------------------------------------------------------- preparation


def prepare_data(root: Path, out: Path, *flags) -> tuple[int, str]:
    size = ("--frame_H", "12", "--frame_W", "12", "--num_workers", "1")
    return call(prepare, "--DR", root, "--out", out, *size, *flags)


def test_prepared_again_a_folder_holds_what_the_source_holds(root, tmp_path):
    out = tmp_path / "prepared"
    shutil.copytree(root / "test/test_label/0", root / "test/test_label/1")
    assert prepare_data(root, out)[0] == 0
    (out / "test/mine.txt").write_text("not of the source")
    (root / "train/cuts.txt").write_text("7\n")  # as long as before
    shutil.rmtree(root / "test/test_label/1")
    shutil.rmtree(root / "val")
    assert prepare_data(root, out)[0] == 0
    assert (out / "train/cuts.txt").read_text() == "7\n"
    assert not (out / "test/test_label/1").exists()
    assert not (out / "val").exists()
    assert (out / "test/mine.txt").exists()
    (root / "train/cuts.txt").unlink()
    assert prepare_data(root, out)[0] == 0
    assert not (out / "train/cuts.txt").exists()


def test_shares_of_a_preparation_are_missed_until_all_are_done(root, tmp_path):
    out = tmp_path / "prepared"
    for share in ("1/3", "0/3"):
        code, said = prepare_data(root, out, "--shard", share)
        assert code == 0
        assert "--shard" in said.splitlines()[-1]
        assert (out / "unfinished.json").exists()
    assert prepare_data(root, out, "--shard", "2/3")[0] == 0
    assert not list(out.glob("*done*"))
    assert not (out / "unfinished.json").exists()


@pytest.mark.parametrize("link", ["test/loop", "test/test_label/0/up"])
def test_a_link_that_leads_back_is_refused_before_anything_is_copied(root, tmp_path, link):
    (root / link).symlink_to(os.path.relpath(root / "test", (root / link).parent))
    code, said = prepare_data(root, tmp_path / "prepared")
    assert code == 2
    assert str(root / "test") in said.splitlines()[-1]
    assert not (tmp_path / "prepared").exists()


def test_a_folder_is_not_prepared_into_itself(root, tmp_path):
    before = contents(root)
    for out in (root, root / "test" / "prepared"):
        code, said = prepare_data(root, out)
        assert code == 2
        assert "--out" in said
    assert contents(root) == before


# ------------------------------------------------------------------------------- results


@pytest.mark.parametrize("lacking", ["test_img", "test_label"])
def test_a_sequence_of_which_a_part_is_missing_is_named(refused, root, ours, lacking):
    other = {"test_img": "test_label", "test_label": "test_img"}[lacking]
    shutil.copytree(root / "test" / other / "0", root / "test" / other / "8")
    said = refused(Tester, *rollout_flags(root, ours))
    assert str(root / "test" / other / "8") in said
    assert str(root / "test" / lacking / "8") in said
