"""The picture of an audit's page in the documentation: ``python -m recipes.page_picture``.

Draws phantoms, spoils a few, audits them, and photographs the page with Debian's chromium.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from playwright.sync_api import ViewportSize, sync_playwright

from pleura.cli.app import execute
from pleura.data.files import dicom_files
from pleura.dicom.radiograph import read_radiograph
from pleura.dicom.secondary import write_secondary_capture
from pleura.storage.atomic import write_bytes
from pleura.synthesis.phantom import write_cohort

PICTURE = Path(__file__).parents[1] / "docs/images/audit-page.png"
WINDOW: ViewportSize = {"width": 1280, "height": 1500}

SPOILED: tuple[Callable[[NDArray[Any]], NDArray[Any]], ...] = (
    lambda pixels: 255 - pixels,
    lambda pixels: pixels[::-1],
    np.rot90,
    lambda pixels: 110 + pixels // 12,
)


def main() -> None:
    """Write the picture."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("there is no chromium; install it: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_cohort(Path("phantoms"), train=120, test=20, seed=11, size=512)
        for path, change in zip(dicom_files(Path("phantoms"))[::17], SPOILED, strict=False):
            _spoil(path, change)
        execute(["audit", "phantoms", "--out", "audit"])
        write_bytes(PICTURE, photographed(Path("audit/audit.html").resolve(), chromium, WINDOW))
    print(f"wrote {PICTURE}")


def _spoil(path: Path, change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    header = pydicom.dcmread(path, stop_before_pixels=True)
    write_secondary_capture(
        path,
        np.ascontiguousarray(change(read_radiograph(path).pixels)).astype(np.uint8),
        sop_uid=header.SOPInstanceUID,
        study_uid=header.StudyInstanceUID,
        series_uid=header.SeriesInstanceUID,
        patient_id=str(header.PatientID),
        patient_name="",
        age=40,
        sex="F",
        view="PA",
        spacing_mm=float(header.PixelSpacing[0]),
    )


def photographed(page: Path, chromium: str, window: ViewportSize) -> bytes:
    """Return a PNG of a page once its pictures are there."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport=window, color_scheme="light")
        tab.goto(page.as_uri())
        tab.wait_for_timeout(1000)
        picture: bytes = tab.screenshot()
        browser.close()
    return picture


if __name__ == "__main__":
    main()
