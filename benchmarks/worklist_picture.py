"""The picture of a worklist in the documentation.

``python -m benchmarks.worklist_picture MODEL DIR`` predicts the films of a folder, phantoms for
one, and photographs the page with Debian's chromium.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import ViewportSize

from benchmarks.page_picture import photographed
from pleura.data.files import dicom_files
from pleura.formats.atomic import write_bytes
from pleura.inference.answer import Answer
from pleura.inference.predictor import load
from pleura.inference.worklist import PAGE, Worklist

PICTURE = Path(__file__).parents[1] / "docs" / "worklist.png"
FILMS = 40
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
        for path in dicom_files(Path(sys.argv[2]))[:FILMS]:
            found = model.predict(path)
            writer.write(path, found.image_id, found, out)
            size = found.mask.shape
            answers.append(
                Answer(str(path), found.image_id, found.score, found.area_px, *size, rle=found.rle)
            )
        writer.finish(answers, out)
        write_bytes(PICTURE, photographed(out / PAGE, chromium, WINDOW))
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
