"""What a spreadsheet shows for a file, according to SheetJS, whose number formats imitate Excel's."""

import json
import subprocess
import sys
from pathlib import Path

from tests.servers import NotInstalled

PACKAGE = Path(sys.prefix) / "node_modules" / "xlsx"
SECONDS = 60.0
SCRIPT = """
const XLSX = require(process.argv[1]);
const book = XLSX.readFile(process.argv[2]);
const options = { header: 1, raw: false, defval: "", blankrows: true };
const rows = (name) => XLSX.utils.sheet_to_json(book.Sheets[name], options);
process.stdout.write(JSON.stringify(book.SheetNames.map(rows)));
"""


def displayed(path: Path) -> list[list[list[str]]]:
    """Return the sheets of an XLSX or CSV file as rows of the texts that the cells show; "" for an empty cell.

    How wide the columns are makes no difference. Raises NotInstalled.
    """
    if not PACKAGE.is_dir():
        raise NotInstalled(
            "SheetJS is not installed: npm install --prefix .venv --no-save "
            "xlsx@0.18.5 axe-core@4.11.0 typescript@5.9.3"
        )
    command = ["node", "-e", SCRIPT, str(PACKAGE), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS)
    return json.loads(done.stdout)
