"""Runs the code cells of a notebook one after another, and prints what each has printed, as JSON.

python run_notebook.py NOTEBOOK
"""

import contextlib
import io
import json
import sys
from pathlib import Path

import matplotlib

# Figures are drawn, and shown to nobody.
matplotlib.use("Agg")

notebook = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
names: dict[str, object] = {"__name__": "__main__"}
printed = []
for number, cell in enumerate(notebook["cells"]):
    if cell["cell_type"] == "code":
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
        printed.append(out.getvalue())
print(json.dumps(printed))
