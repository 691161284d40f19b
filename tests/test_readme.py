"""The README runs: every block of Python, and the commands that the checks take from it."""

import re
import shlex
from pathlib import Path

import pytest

from kalman_em import cli

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def command(number: int) -> str:
    found = re.findall(rf"^<!-- command {number} -->\n```sh\n(.*)\n```$", TEXT, flags=re.MULTILINE)
    assert len(found) == 1, "expected one block of one line after its marker"
    return str(found[0])


def test_there_is_an_example_of_each_use() -> None:
    assert len(BLOCKS) == TEXT.count("```python") == 5


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_examples_run(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = compile(BLOCKS[number], f"README.md, block {number + 1}", "exec")
    names: dict[str, object] = {"__name__": "readme"}
    exec(code, names)
    assert "fitted" in names


def test_the_first_command_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = command(1).split(" && ")
    assert steps[:2] == ["python3 -m venv .venv", ".venv/bin/pip install ."]
    program, *arguments = shlex.split(steps[2])
    assert program == ".venv/bin/kalman-em"
    (tmp_path / "datasets").mkdir()
    for file in (ROOT / "datasets").glob("nile*.csv"):
        (tmp_path / "datasets" / file.name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 0
    assert "agrees" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "nile").iterdir()} == {
        "parameters.json",
        "smoothed.csv",
        "forecast.csv",
        "plot.png",
    }


def test_the_second_command_runs_the_tests() -> None:
    assert command(2).split(" && ") == [
        "python3 -m venv .venv",
        '.venv/bin/pip install -e ".[test]"',
        ".venv/bin/python -m pytest -n auto",
    ]


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#:]+)\)", TEXT))
def test_links_lead_to_files(target: str) -> None:
    assert (ROOT / target).exists()
