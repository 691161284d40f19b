"""The process of one side: `python -m benchmarks.worker MODULE CASE KIND VARIANT`, a call for every line it reads.

Each call is answered by one line of JSON on the output that the process was started with; whatever the libraries print
goes elsewhere. Time and processor time cover the call alone; the checks come after it, with the first call only.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from benchmarks.cases import read_case


def main(module: str, path: str, kind: str, variant: str) -> None:
    """Prepare one side's work and do it once for every line that comes in."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    run = importlib.import_module(module).prepared(read_case(Path(path)), kind, variant)
    answers.write('{"ready": true}\n')
    is_first = True
    for _ in sys.stdin:
        gc.collect()
        gc.disable()
        processor, start = time.process_time(), time.perf_counter()
        outcome = run()
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - processor
        gc.enable()
        answer = {"seconds": seconds, "cpu_seconds": cpu_seconds, "log_likelihood": float(outcome.log_likelihood)}
        if is_first:
            answer["checks"] = {name: np.ravel(block).tolist() for name, block in outcome.checks().items()}
        del outcome
        if is_first:
            # What is loaded stays: to walk through all of it before every call would empty the processor's caches.
            gc.collect()
            gc.freeze()
        answers.write(json.dumps(answer) + "\n")
        is_first = False


if __name__ == "__main__":
    main(*sys.argv[1:])
