"""Records and small cohorts that several tests use."""

import hashlib

from pleura.data.records import ImageRecord


def make_record(
    image_id: str,
    *,
    patient: str | None = None,
    positive: bool = False,
    labelled: bool = True,
    path: str = "none.dcm",
    part: str = "train",
) -> ImageRecord:
    """Return a record of a 64 x 64 image; a positive one has a 10-pixel mask."""
    return ImageRecord(
        image_id=image_id,
        path=path,
        part="test" if part == "test" else "train",
        rows=64,
        columns=64,
        sex="F",
        age_years=50,
        view="PA",
        modality="CR",
        photometric_interpretation="MONOCHROME2",
        transfer_syntax="JPEG Baseline (Process 1)",
        patient=patient,
        pixel_hash=hashlib.md5(image_id.encode()).hexdigest(),
        labelled=labelled,
        positive=positive if labelled else None,
        mask_rows=int(positive),
        area_px=(10 if positive else 0) if labelled else None,
        encoded_pixels=("100 10" if positive else "-1") if labelled else None,
        label=float(positive) if labelled else None,
        label_weight=float(labelled),
    )
