"""The radiographs that can be drawn on: those without a pneumothorax whose lungs are found."""

import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from pleura.data.known_labels import Label, known_labels
from pleura.data.patients import nih_patient
from pleura.data.radiographs import (
    header_patient,
    radiograph_files,
    radiograph_id,
    read_any_radiograph,
)
from pleura.errors import InputError, LimitError, is_about_memory
from pleura.processes.guarded import guarded_list
from pleura.processes.isolation import next_file
from pleura.processes.progress import OnProgress, untold
from pleura.storage.database import Store
from pleura.storage.elsewhere import path_at
from pleura.synthesis.lungs import find_lungs

if TYPE_CHECKING:
    from pleura.cluster.shards import Cluster


@dataclass(frozen=True, slots=True)
class SourceRadiograph:
    """A radiograph to draw on.

    Attributes:
        path: Its file.
        patient: Who is on it, as it may be written.
        nih_patient: The patient's number where it is one of NIH ChestX-ray14's radiographs.
    """

    path: Path
    patient: str
    nih_patient: int | None = None


@dataclass(frozen=True, slots=True)
class SourceRadiographs:
    """The radiographs that can be drawn on, and what became of the others.

    Attributes:
        radiographs: Usable radiographs, in the order of their paths.
        negatives: These and those whose lungs were not found: all that show no pneumothorax.
        refused: Path and reason of those that could not be read or whose lungs were not found.
        positive: How many were left out because the labels say they show a pneumothorax.
        unlabelled: How many were left out because the labels do not name them.
        excluded: How many were left out because of who is on them.
    """

    radiographs: tuple[SourceRadiograph, ...]
    negatives: tuple[SourceRadiograph, ...]
    refused: tuple[tuple[str, str], ...]
    positive: int
    unlabelled: int
    excluded: int


def find_radiographs(
    folder: Path,
    labels: Path | None = None,
    *,
    exclude: Path | None = None,
    size: int = 512,
    workers: int = 0,
    cluster: "Cluster | None" = None,
    store: Store | None = None,
    on_progress: OnProgress = untold,
) -> SourceRadiographs:
    """Return the radiographs below a folder that show no pneumothorax and whose lungs are found.

    Args:
        folder: DICOM files, JPEGs or PNGs.
        labels: A table, see :func:`pleura.data.known_labels.known_labels`; radiographs that are
            positive or not in it are left out. None takes every radiograph for one without a
            pneumothorax.
        exclude: A folder of radiographs; those of the same patients are left out, so that a network
            trained on what is drawn can be judged there.
        size: Side in pixels that they are drawn on at.
        workers: Processes; 0 means one per core.
        cluster: Where the radiographs are read; None: by this machine.
        store: Keeps what is known of each.
        on_progress: Told (radiographs done, radiographs in all).

    Raises:
        InputError: No radiograph is there, or the table cannot be read.
        UsageError: No cluster is there, or has no room.
    """
    paths = radiograph_files(folder)
    known = None if labels is None else known_labels(labels)
    key = _key_of(store)
    look = partial(_looked_at, size, known, _patients_of(exclude), key)

    def looked(names: Sequence[str], told: OnProgress) -> Iterator[tuple[str, str]]:
        if cluster is None or not names:
            yield from zip(names, _verdicts(look, workers, names, told), strict=True)
            return
        from pleura.data.scan_on_ray import read_on

        read = partial(_of_shard, look, workers or cluster.share.cpus)
        for done, (name, text) in enumerate(read_on(cluster, names, read), 1):
            yield name, _died(name) if text is None else text
            told(done, len(names))

    found = kept(store, "looked at", [str(path) for path in paths], looked, on_progress)
    answers: list[_Verdict] = [tuple(json.loads(text)) for text in found]
    numbers: dict[str, str] = {}
    radiographs, negatives, refused = [], [], []
    for path, (verdict, reason, patient) in zip(paths, answers, strict=True):
        if verdict in ("usable", "doubtful"):
            own = numbers.setdefault(patient or str(path), f"source-{len(numbers) + 1}")
            public = patient.removeprefix(_PUBLIC) if patient.startswith(_PUBLIC) else own
            negatives.append(SourceRadiograph(path, public, _nih_patient(path)))
        if verdict == "usable":
            radiographs.append(negatives[-1])
        elif verdict in ("doubtful", "unreadable"):
            refused.append((str(path), reason))
    counts = Counter(verdict for verdict, _, _ in answers)
    return SourceRadiographs(
        radiographs=tuple(radiographs),
        negatives=tuple(negatives),
        refused=tuple(refused),
        positive=counts["positive"],
        unlabelled=counts["unlabelled"],
        excluded=counts["excluded"],
    )


_PUBLIC = "public:"  # marks a patient as a pseudonym that may be written

_Verdict = tuple[str, str, str]


def _patients_of(folder: Path | None) -> frozenset[str]:
    """Return who is on the radiographs below a folder; one that cannot be read says nothing."""
    found = set()
    for path in radiograph_files(folder) if folder is not None else []:
        try:
            found.add(_patient(path, radiograph_id(path), ""))
        except InputError:
            continue
    return frozenset(found - {""})


def _patient(path: Path, image_id: str, labelled: str) -> str:
    """Return the patient, marked where it is a public pseudonym; "" where nobody says."""
    public = labelled or nih_patient(image_id)
    return f"{_PUBLIC}{public}" if public else header_patient(path)


def _nih_patient(path: Path) -> int | None:
    """Return the patient of a radiograph of NIH ChestX-ray14, by its id or its file's name."""
    return nih_patient(path.stem) or nih_patient(radiograph_id(path))


def kept(
    store: Store | None,
    what: str,
    names: Sequence[str],
    make: Callable[[Sequence[str], OnProgress], Iterable[tuple[str, str]]],
    on_progress: OnProgress,
) -> list[str]:
    """Return a text for each name, in order: the one in a store, or one that is made and put there.

    Args:
        store: The store; None keeps nothing.
        what: What tells these names from others in the store.
        names: Each once.
        make: Given names without a text, yields each with its own, in any order.
        on_progress: Told (texts there, names).
    """
    before = {name: None if store is None else store.get(f"{what} {name}") for name in names}
    texts = {name: text for name, text in before.items() if text is not None}
    todo, known = [name for name in names if name not in texts], len(texts)
    for name, text in make(todo, lambda done, _: on_progress(known + done, len(names))):
        texts[name] = text
        if store is not None and not text.startswith(_UNREADABLE):  # that is tried again
            store.put(f"{what} {name}", text)
    return [texts[name] for name in names]


def _key_of(store: Store | None) -> bytes:
    """Return what patient ids are hashed with, the same for all that a store keeps."""
    known = None if store is None else store.get(_HASHED_WITH)
    key = known or secrets.token_hex(16)
    if store is not None and known is None:
        store.put(_HASHED_WITH, key)
    return bytes.fromhex(key)


_HASHED_WITH = "hashed with"
_UNREADABLE = '["unreadable"'


def _verdicts(
    look: Callable[[Sequence[Path]], list["_Verdict"]],
    workers: int,
    names: Sequence[str],
    on_progress: OnProgress = untold,
) -> Iterator[str]:
    paths = [path_at(name) for name in names]
    for found in guarded_list(look, paths, name=str, workers=workers, on_progress=on_progress):
        unread = isinstance(found, LimitError)
        yield json.dumps(("unreadable", str(found), "") if unread else found)


def _of_shard(
    look: Callable[[Sequence[Path]], list["_Verdict"]], workers: int, names: Sequence[str]
) -> list[str]:
    return list(_verdicts(look, workers, names))


def _died(name: str) -> str:
    why = f"{name}: two processes that read it died over it, most likely for memory; leave it out"
    return json.dumps(("unreadable", why, ""))


def _looked_at(
    size: int,
    labels: Mapping[str, Label] | None,
    exclude: frozenset[str],
    key: bytes,
    paths: Sequence[Path],
) -> list[_Verdict]:
    return [_verdict(size, labels, exclude, key, path) for path in paths]


def _verdict(
    size: int, labels: Mapping[str, Label] | None, exclude: frozenset[str], key: bytes, path: Path
) -> _Verdict:
    """Return what a radiograph is good for, the reason where it is for nothing, and the patient.

    The patient of a file's header is hashed with `key`, as this is kept and sent.
    """
    try:
        image_id = radiograph_id(path)
        label = Label(False) if labels is None else labels.get(image_id)
        if label is None:
            return "unlabelled", "", ""
        if label.positive:
            return "positive", "", ""
        patient = _patient(path, image_id, label.patient)
        if patient in exclude:
            return "excluded", "", ""
        found = find_lungs(read_any_radiograph(path).prepared(size))
    except InputError as error:
        if error.__cause__ is not None and is_about_memory(error.__cause__):
            raise  # alone it has all the memory for itself
        return "unreadable", str(error), ""
    finally:
        next_file()
    if patient and not patient.startswith(_PUBLIC):
        patient = blake2b(patient.encode(errors="replace"), digest_size=12, key=key).hexdigest()
    return ("doubtful", found.doubt, patient) if found.doubt else ("usable", "", patient)
