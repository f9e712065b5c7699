"""The picture of a worklist in the documentation.

``python -m recipes.worklist_picture MODEL DIR`` predicts the radiographs of a folder, phantoms for
one, and photographs the page with Debian's chromium.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import ViewportSize

from pleura.data.files import dicom_files
from pleura.dicom.radiograph import open_radiograph
from pleura.inference.predictor import load
from pleura.inference.row import Row
from pleura.inference.tables import WORKLIST
from pleura.inference.worklist import Worklist
from pleura.storage.atomic import write_bytes
from recipes.page_picture import photographed

PICTURE = Path(__file__).parents[1] / "docs/images/worklist.png"
RADIOGRAPHS = 40
WINDOW: ViewportSize = {"width": 1280, "height": 860}


def main() -> None:
    """Write the picture."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("there is no chromium; install it: apt-get install chromium")
    model = load(sys.argv[1])
    writer = Worklist.of(model)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        answers = []
        for path in dicom_files(Path(sys.argv[2]))[:RADIOGRAPHS]:
            found = model.predict(path)
            wrote = writer.write(open_radiograph(path), found, out)
            answers.append(Row.of(str(path), found, areas=wrote.areas))
        writer.finish(answers, out)
        write_bytes(PICTURE, photographed(out / WORKLIST, chromium, WINDOW))
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
