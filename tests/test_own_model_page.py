"""The page on models of one's own runs, block after block."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "your_own_model.md"


def test_the_blocks_run_one_after_another(capsys) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"your_own_model.md, block {number + 1}", "exec"), names)
    assert "ManyZeros" in capsys.readouterr().out
