"""A made-up audit with pictures, for the tests of its page."""

from dataclasses import dataclass

import cv2
import numpy as np

from pleura.audit.findings import (
    Association,
    Audit,
    AuditCounts,
    Balance,
    BalanceRow,
    Finding,
    ImageSummary,
    Item,
    Label,
    Quantile,
    found,
    in_order,
)
from pleura.audit.thumbs import Thumb, thumb


@dataclass(frozen=True)
class Pages:
    """What :func:`pleura.audit.page.write_page` takes."""

    audit: Audit
    thumbs: dict[str, Thumb]
    negative: list[str]
    positive: list[str]


def image(number: int, hostile: str = "") -> ImageSummary:
    label: Label = ("negative", "positive", "negative", "test", "unlabelled")[number % 5]
    image_id = f"1.2.826.{number:06d}{hostile}"
    return ImageSummary(
        id=image_id,
        path=f"train/{number:06d}/{image_id}.dcm",
        part="test" if label == "test" else "train",
        label=label,
        area_px=100 * (number % 997) + 1 if label == "positive" else None,
        rows=1024,
        columns=1024 if number % 7 else 896,
        sex=("F", "M")[number % 2] + hostile,
        age_years=None if number % 11 == 0 else number % 90,
        view=("AP", "PA", "")[number % 3] + hostile,
        encoding="JPEG Baseline, 8 bits" + hostile,
        pixel_hash=f"{number:016x}",
        cluster=None,
    )


def picture(number: int) -> Thumb:
    """Return a ramp from left to right with a dark and a light square, and a mask for some."""
    pixels = np.tile(np.linspace(0, 255, 96, dtype=np.uint8), (80 + 16 * (number % 2), 1))
    pixels[8:24, 8:24] = 20
    pixels[40:56, 60:76] = 235
    mask = np.zeros(pixels.shape, dtype=np.uint8)
    if number % 5 == 1:
        cv2.circle(mask, (48, 40), 24, 1, -1)
        cv2.circle(mask, (48, 40), 8, 0, -1)
    return thumb(pixels, mask.astype(bool))


def balance(hostile: str = "") -> Balance:
    return Balance(
        images=10_712,
        positive=2_379,
        patients=6_171,
        area_quantiles=(Quantile(0.0, 37, 0.0035), Quantile(0.5, 9_800, 0.93)),
        area_edges_percent=(0.01, 0.1, 1.0, 10.0, 100.0),
        area_counts=(20, 900, 1_300, 159),
        strata=(
            BalanceRow("sex", "F" + hostile, 4_821, 1_010, 2_410),
            BalanceRow("sex", "M", 5_891, 1_369, 2_945),
            BalanceRow("age", "40-49", 1_880, 400, 940),
            BalanceRow("age", "", 11, 0, 5),
            BalanceRow("view", "AP" + hostile, 4_288, 1_201, 2_144),
            BalanceRow("view", "PA", 6_424, 1_178, 3_212),
        ),
        associations=(
            Association("sex", 8.1, 1, 0.0044, 0.0275, 10_712, 6_171),
            Association("age", 12.3, 9, 0.2, 0.034, 10_701, 6_171),
            Association("view", 143.2, 1, 5e-33, 0.1156, 10_712, 6_171),
        ),
    )


def findings(ids: list[str], hostile: str = "") -> tuple[Finding, ...]:
    positive = ids[1::5]
    return in_order(
        [
            found("truncated", [Item(f"train/broken{hostile}.dcm", f"it breaks off{hostile}")]),
            found("missing-transpose", [Item(positive[0])]),
            found(
                "near-duplicates",
                [
                    Item(ids[2], f"cluster 1{hostile}", (ids[4],)),
                    Item(ids[4], f"cluster 1{hostile}", (ids[2],)),
                ],
                count=1,
            ),
            found("duplicate-pixels", [Item(f"9.9.9{hostile}", "is set aside", (ids[0],))]),
            found("no-patients", [Item(i) for i in ids]),
            found("tiny-mask", [Item(i, f"{n} px") for n, i in enumerate(positive[1:4])]),
            found("shortcut", [Item("view", "Cramér's V 0.12")]),
            found(
                "several-rows",
                [Item(i, "2 rows") for i in positive[:2]],
                {"images with rows that overlap": 1, "share of pixels lost": 0.4213},
            ),
            found("header-variant", [Item("train-rle.csv")]),
        ]
    )


def pages(images: int = 40, pictures: int = 12, hostile: str = "") -> Pages:
    summaries = tuple(image(number, hostile) for number in range(images))
    ids = [summary.id for summary in summaries]
    counts = AuditCounts(
        files_train=10_712,
        files_test=1_377,
        rows=12_954,
        images=12_047,
        positive=2_669,
        empty=9_378,
        several_rows=624,
        overlapping=122,
        labelled=10_675,
        labelled_positive=2_379,
        unlabelled=37,
        rows_without_file=0,
        duplicates=1,
        unreadable=1,
        patients=4_000,
    )
    audit = Audit(
        source=f"data/siim{hostile}",
        counts=counts,
        balance=balance(hostile),
        findings=findings(ids, hostile),
        images=summaries,
        patients_from="map",
    )
    return Pages(
        audit=audit,
        thumbs={image_id: picture(number) for number, image_id in enumerate(ids[:pictures])},
        negative=[ids[0], ids[2], ids[5]],
        positive=[ids[1], ids[6]],
    )
