"""The patient of each image, by a map, a public set, a table of labels or the files' own ids."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.data.files import nearest
from pleura.data.groups import Bearer, IdUse, group_by, judge_ids
from pleura.data.image_labels import ImageLabels
from pleura.data.matching import first_id_alike
from pleura.data.patients import nih_patient
from pleura.data.records import ImageRecord
from pleura.data.scan import Scan
from pleura.data.sources import Part
from pleura.errors import DataError
from pleura.formats.labels import key_of

MOST_OF_A_STUDY = 20
"""A study with more images than that is none of radiographs, but a number that stands for none."""


@dataclass(frozen=True, slots=True)
class ImagePatients:
    """Images with their patients, and how these are known.

    Attributes:
        records: The images with `patient`, `group` and `nih_patient`.
        own_ids: What the patient id of each file is good for, by path.
        source: As :attr:`pleura.data.index.Index.patients_from`.
    """

    records: list[ImageRecord]
    own_ids: Mapping[str, IdUse]
    source: str


@dataclass(frozen=True, slots=True)
class KnownPatients:
    """What patient maps say.

    Attributes:
        of: Image id -> patient.
        named: The path of the map, where one was named.
        found: The paths of those that were found.
    """

    of: Mapping[str, str] = field(default_factory=dict)
    named: str = ""
    found: tuple[Path, ...] = ()

    def covered(self, paths: Sequence[str]) -> set[str]:
        """Return the files of which a found map is all that counts: those of its own folder."""
        return {path for found in self.found for path in nearest(found, paths)}


def find_patients(
    records: Sequence[ImageRecord],
    read: Sequence[tuple[Scan, Part]],
    maps: KnownPatients,
    drawn_on: Mapping[str, int],
    labels: ImageLabels,
) -> ImagePatients:
    """Return images with their patients and groups; files set aside link them, too.

    A map that is named is all that counts, and one that is found for the files of its own folder.
    Else each image of NIH ChestX-ray14, and so of the SIIM-ACR set, is known by its number. For the
    others it is what the table of labels says, or the files' own ids, if they group anything.

    Args:
        records: The images.
        read: All files, those set aside, too, each with its part.
        maps: What patient maps say.
        drawn_on: Image id of a simulated radiograph -> NIH patient of the one it was drawn on.
        labels: What a table of labels says.

    Raises:
        DataError: The map that is named knows none of the images.
    """
    own_ids = _uses_of_ids(records, read)
    public = [_public_patient(scan, drawn_on) for scan, _ in read]
    if maps.named:
        ids = [scan.image_id for scan, _ in read]
        patients, source = number_patients(patients_by_map(ids, maps.of, maps.named)), "map"
    else:
        patients, source = _by_what_is_known(read, maps, own_ids, public, labels)
    studies = _studies(records, read)
    if maps.named:  # it says which images are of one patient, but for those that it lacks
        lacking = {study for study, own in zip(studies, patients, strict=True) if own is None}
        studies = [study if study in lacking else None for study in studies]
    groups = group_by(patients, public, studies, *_pictures(records, read))
    return ImagePatients(_with_groups(records, read, patients, public, groups), own_ids, source)


def _uses_of_ids(
    records: Sequence[ImageRecord], read: Sequence[tuple[Scan, Part]]
) -> dict[str, IdUse]:
    """Return what the patient id of each file is good for, by path; a copy says nothing new."""
    pictures = {r.path: r.cluster or r.pixel_hash or r.path for r in records}
    uses = judge_ids(
        [
            Bearer(scan.patient_key if scan.path in pictures else "", part, pictures.get(scan.path))
            for scan, part in read
        ]
    )
    of_key = {(s.patient_key, part): use for (s, part), use in zip(read, uses, strict=True) if use}
    return {scan.path: of_key.get((scan.patient_key, part), "") for scan, part in read}


def _studies(records: Sequence[ImageRecord], read: Sequence[tuple[Scan, Part]]) -> list[str | None]:
    """Return the study of each file, all of whose images are of one patient; None where none is.

    A study that most files carry, or that has more images than a study of radiographs has, stands
    for none.

    Source: DICOM PS3.3 A.1.2 (a study is of one patient).
    """
    pictures = {r.path: r.cluster or r.pixel_hash or r.path for r in records}
    bearers = [Bearer(scan.study_uid, part, pictures.get(scan.path)) for scan, part in read]
    sizes = Counter(bearer.key for bearer in bearers)
    return [
        bearer.key if use == "groups" and sizes[bearer.key] <= MOST_OF_A_STUDY else None
        for bearer, use in zip(bearers, judge_ids(bearers), strict=True)
    ]


def _public_patient(scan: Scan, drawn_on: Mapping[str, int]) -> int | None:
    """Return the NIH patient of a picture of that set, by its id or name, or of one drawn on it."""
    name = key_of(Path(scan.path).name)
    return drawn_on.get(scan.image_id) or nih_patient(scan.image_id) or nih_patient(name)


def _by_what_is_known(
    read: Sequence[tuple[Scan, Part]],
    maps: KnownPatients,
    own_ids: Mapping[str, IdUse],
    public: Sequence[int | None],
    labels: ImageLabels,
) -> tuple[list[str | None], str]:
    """Return the patient of each file, and where that is known from."""
    said = [
        [
            (source, name)
            for source, name in (
                ("map", maps.of.get(scan.image_id, "")),
                ("siim", f"{number or ''}"),
                ("labels", labels.patient(scan.path)),
                ("header", scan.patient_key if own_ids[scan.path] == "groups" else ""),
            )
            if name
        ]
        for (scan, _), number in zip(read, public, strict=True)
    ]
    # An image that no map names may be of a patient whom one calls by another name.
    aliases = {
        name: names[0]
        for names in reversed(said)
        if names and names[0][0] == "map"
        for name in names
    }
    covered = maps.covered([scan.path for scan, _ in read])
    named = [
        aliases.get(names[0], names[0])
        if names and (names[0][0] == "map" or scan.path not in covered)
        else None
        for (scan, _), names in zip(read, said, strict=True)
    ]
    used = {name[0] for name in named if name is not None}
    sources = [source for source in ("map", "siim", "labels", "header") if source in used]
    return number_patients(named), "+".join(sources)


def patients_by_map(ids: Sequence[str], table: Mapping[str, str], name: str) -> list[str | None]:
    """Return the patients of images by a map, which must know one of them."""
    patients = [table.get(image_id) for image_id in ids]
    if ids and not any(patients):
        raise DataError(
            f"{name}: none of the {len(table):,} images of this patient map is here; the first "
            f"image here is {ids[0]}; "
            + (
                first_id_alike(table, ids)
                or "name the map of these files with `patients`, or move it away"
            )
        )
    return patients


def number_patients(names: Sequence[Hashable | None]) -> list[str | None]:
    """Return a number for each patient in place of what a file or a map calls him."""
    numbers = {
        name: n for n, name in enumerate(dict.fromkeys(n for n in names if n is not None), 1)
    }
    return [None if name is None else f"p{numbers[name]:05d}" for name in names]


def _pictures(
    records: Sequence[ImageRecord], read: Sequence[tuple[Scan, Part]]
) -> tuple[list[Hashable], ...]:
    """Return what tells of each file which picture it shows: cluster, id and pixels."""
    clusters = {record.path: record.cluster for record in records}
    return (
        [clusters.get(scan.path) for scan, _ in read],
        [scan.image_id for scan, _ in read],
        [scan.pixel_hash for scan, _ in read],
    )


def _with_groups(
    records: Sequence[ImageRecord],
    read: Sequence[tuple[Scan, Part]],
    patients: Sequence[str | None],
    public: Sequence[int | None],
    groups: NDArray[np.int64],
) -> list[ImageRecord]:
    """Return the records with their patients and groups; both are by file, as in `read`."""
    places = {scan.path: place for place, (scan, _) in enumerate(read)}
    numbers = groups.tolist()

    def known(record: ImageRecord) -> ImageRecord:
        place = places[record.path]
        return replace(
            record, patient=patients[place], group=numbers[place], nih_patient=public[place]
        )

    return [known(record) for record in records]
