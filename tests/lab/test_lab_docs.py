"""The example of docs/lab.md, as it stands."""

import re

from PIL import Image

from Tester import Test_model
from tests.support import ROOT
from Trainer import VAE_Model, kl_annealing


def test_the_example_runs_as_it_stands(dance_root, tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs/lab.md").read_text()
    (code,) = re.findall(r"test_lab_docs\.py runs this\. -->\n```python\n(.*?)```", page, re.S)
    (tmp_path / "LAB4_Dataset").symlink_to(dance_root)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    exec(compile(code, "docs/lab.md", "exec"), {"__name__": "mine"})
    assert "NoisyVAE has its own training_one_step" in capsys.readouterr().out
    assert (home / "checkpoints/metrics.csv").read_text().count("\n") == 3
    with Image.open(home / "predicted.gif") as gif:
        assert gif.size == (64, 32)


def test_every_name_of_the_tables_is_there():
    page = (ROOT / "docs/lab.md").read_text()
    for cls in (VAE_Model, kl_annealing, Test_model):
        table = page.split(f"| of `{cls.__name__}` |")[1].split("\n\n")[0]
        cells = [line.split("|")[1] for line in table.splitlines()[2:]]
        names = [name for cell in cells for name in re.findall(r"`(\w+)", cell)]
        assert len(names) > 3
        for name in names:
            assert hasattr(cls, name) or name == "mse_criterion", name
    hooks = set(VAE_Model.HOOKS)
    table = page.split("| of `VAE_Model` |")[1].split("\n\n")[0]
    assert hooks <= set(re.findall(r"\w+", table)), "what may be overridden is listed"
