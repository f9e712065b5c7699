"""What speaks against an answer about a radiograph: its picture, its size, its header.

A network answers whatever it is shown. The guard (:mod:`pleura.pictures.guard`) looks at the
picture alone; but a header may say as well that this is a hand, a lateral view or a slice of a CT,
and of too few pixels nobody can tell anything. Each of these is a flag, and a flagged radiograph is
not assessed.

Headers are often filled in carelessly. So what they must not say is listed, and all else is fine:
an empty value, another spelling of the chest, or a word that nobody foresaw. A flag quotes the word
that is listed and no more of the header, which may hold anything.

Source: DICOM PS3.3 C.7.3.1.1.1 (Modality), C.8.1.1 and C.8.11.5 (View Position, Patient
    Orientation), PS3.16 annex L (Body Part Examined), CID 4009 (anatomy) and 4010 (views).
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from pleura.pictures.guard import Guard, assess
from pleura.pictures.measures import inside_frame

if TYPE_CHECKING:
    from pleura.dicom.header import Header

LEAST_SIDE_PX = 64
"""A side shorter than this is too few pixels: the guard itself looks at 64 x 64 of them."""

MOST_ENLARGED = 4
"""How many times a picture may be enlarged for a network, on its longer side:
docs/reference/guard.md says what comes of more."""

LEAST_FILLED = 0.7
"""A radiograph that fills less of its picture's longer side, inside an even border, is too small
for a network that sees the whole picture: docs/reference/guard.md says what comes of it."""

MOST_ELONGATED = 2
"""How many times as long as wide a picture may be; a radiograph that was squeezed is more."""

_LOOKS = {
    "blank": "is blank",
    "low-contrast": "has too little contrast",
    "inverted": "looks inverted",
    "upside-down": "looks upside down",
    "rotated": "looks as if it lay on its side",
    "tilted": "looks tilted",
    "cropped": "looks cropped",
    "bordered": "has a wide border around it",
    "blurred": "looks blurred",
    "lateral": "looks like a lateral view",
    "other-part": "looks like another part of the body",
    "other-picture": "looks like no radiograph",
    "unlike": "looks like no frontal chest radiograph",
}
_SAID = {
    "modality": "modality {}",
    "class": "{}",
    "made-from": "made from another image ({})",
    "intent": "{}: raw values, and no picture to look at",
    "left-in": "{} alone, the rest taken out",
    "body-part": "body part {}",
    "view": "view {}",
    "orientation": "orientation {}",
}

_WORD = re.compile(r"[A-Z0-9]+")

_OTHER_MODALITIES = frozenset(
    "ANN AR AS BDUS BI BMD CD CF CP CS CT DD DF DG DM DMS DS EC ECG EEG EMG EOG EPS ES FA FS GM "  # noqa: SIM905
    "HC HD IO IVOCT IVUS KER LEN LP LS M3D MA MG MMG MR MRI MS NM OAM OCT OP OPM OPR OPT OPTBSV "
    "OPTENF OPV OSS PA PET PT PX RESP RTDOSE RTIMAGE RTPLAN RTSTRUCT SEG SM SMR SPECT SRF ST STAIN "
    "TG US USG VA VF XA XC".split()
)
"""Terms of the standard, retired ones too, for all but plain radiographs (CR, DX, RG), fluoroscopy
(RF), whose spot radiographs may be of a chest, and OT; and some in use that are none."""

_RADIOGRAPH_CLASSES = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{end}"
    for end in ("1", "1.1", "1.1.1", "7", "7.1", "7.2", "7.3", "7.4", "12.2")
)
"""Computed and digital radiographs, fluoroscopy, and secondary captures, which are of anything."""

_CHEST = re.compile(r"CHEST|THORAX|TORAX|THX|CXR|LUNG|PULM|BRUST")
_PARTS = (  # noqa: SIM905
    "ABD ABDOMEN ABDOMINAL ACJOINT ACROMIOCLAVICULAR ANKLE ARM BACK BLADDER BOWEL BRAIN BREAST "
    "BUTTOCK CALCANEUS CALF CAROTID CARPAL CARPUS CERVICAL CHEEK CLAVICLE COCCYX COLON CRANIUM "
    "DENTAL DUODENUM EAR ELBOW ESOPHAGUS EXM EXTREMITY EXTREMITIES EYE FACE FACIAL FEET FEMUR "
    "FIBULA FINGER FOOT FOREARM FOREFOOT GALLBLADDER HAND HEAD HEEL HINDFOOT HIP HUMERUS ILEUM "
    "ILIUM INTESTINE JAW JEJUNUM KIDNEY KNEE KUB LARYNX LEG LIMB LIVER LUMBAR LUMBOSACRAL MANDIBLE "
    "MASTOID MAXILLA METACARPAL METATARSAL MOUTH NASAL NECK NOSE ORBIT ORBITAL PANCREAS PAROTID "
    "PATELLA PELVIC PELVIS PHANTOM PHARYNX PROSTATE RADIUS RECTUM SACROILIAC SACRAL SACRUM SCAPULA "
    "SHOULDER SIJOINT SINUS SINUSES SKULL [CLST]*SPINE THORACICSPINE SPLEEN STERNOCLAVICULAR "
    "STERNUM STOMACH TARSAL TEETH TEMPOROMANDIBULAR THIGH THUMB THYROID TIBIA TMJ TOE TONGUE TOOTH "
    "ULNA URETER URETHRA UTERUS VERTEBRA VERTEBRAL WRIST ZYGOMA "
    # German, Spanish, Portuguese, French and Italian, where the word is another one.
    "BECKEN ELLENBOGEN FUSS HANDGELENK HUEFTE KNIE LENDENWIRBELSAEULE OBERARM OBERSCHENKEL "
    "SCHAEDEL SCHULTER SPRUNGGELENK UNTERARM UNTERSCHENKEL [BHL]WS ZEH "
    "CADERA CODO COLUMNA CRANEO HOMBRO MANO MUNECA PIE PIERNA RODILLA TOBILLO "
    "BACIA COLUNA COTOVELO JOELHO OMBRO QUADRIL TORNOZELO "
    "BASSIN CHEVILLE COUDE CRANE EPAULE GENOU HANCHE MAIN PIED POIGNET RACHIS "
    "ADDOME ANCA BACINO CAVIGLIA COLONNA CRANIO GINOCCHIO GOMITO PIEDE POLSO SPALLA"
).split()
_OTHER_PART = re.compile(
    rf"(?:[LR]|LT|RT|LEFT|RIGHT|UP|UPPER|LOW|LOWER)?(?P<part>(?:{'|'.join(_PARTS)})+)S?"
)

_FRONTAL = frozenset({"AP", "PA", "FRONTAL"})
_SIDES = tuple([word] for word in ("L", "R", "LT", "RT", "LEFT", "RIGHT"))
_LATERAL = re.compile(
    r"[LR]L|[LRX]?T?LAT[LR]?|(?:BI|DEXTRO|SINISTRO)?LATER\w*|ML|LM|MEDIO\w*|PROFIL\w*|PERFIL|AXIAL|"
    r"SIDE|SEITL?\w*|ZIJ\w*|BOCZN\w*"
)
_NEITHER = re.compile(
    r"[LR][AP]O|[LR]L[OD]|[LR]?L?(?:LAT)?DECUB\w*|SCHRAEG\w*|SCHUIN\w*|(?:OBL|CRANIO|CAUDO)\w*|SAGITTAL|TANGENTIAL|MLO|LMO|CC|"
    r"SUNRISE|SKYLINE|SWIMMERS?|TOWNE|WATERS?|OCCLUSAL|PLANTODORSAL|DORSOPLANTAR"
)
_DIRECTIONS = re.compile(r"[APRLHF]{1,3}\\[APRLHF]{1,3}")


def judge(pixels: NDArray[Any], header: "Header | None" = None, size: int = 0) -> Guard:
    """Return how unlike a frontal chest radiograph a picture is, and why not to answer it.

    Args:
        pixels: ``(rows, columns)`` uint8 or uint16, as for :func:`pleura.pictures.guard.assess`.
        header: What the file says of itself; None where there is no file.
        size: Side of the network's input in pixels, which its longer side is enlarged to.

    Returns:
        The guard's score, of the picture alone; its flags, and behind them
        ``bordered``, ``shape=ROWSxCOLUMNS``, ``size=ROWSxCOLUMNS`` and those of
        :func:`header_flags`.
    """
    judged = assess(pixels)
    said = () if header is None else header_flags(header)
    placed = () if "blank" in judged.flags else _misplaced(pixels)
    return Guard(judged.score, (*judged.flags, *placed, *_too_small(pixels.shape, size), *said))


def header_flags(header: "Header") -> tuple[str, ...]:
    r"""Return what in a header says that this is no frontal chest radiograph.

    ``modality=CT`` and so on for other modalities than those of radiographs; ``class=CT Image
    Storage`` for other storage classes of the standard; ``made-from=`` and such a class for a
    secondary capture of another image; ``intent=FOR PROCESSING`` for raw values of a detector, of
    which another file of the study is the picture; ``left-in=BONE`` and ``left-in=SOFT TISSUE`` for
    pictures of two energies that show these alone; ``body-part=HAND`` where another part of
    the body is named and the chest is not; ``view=LATERAL`` as :func:`other_view` says, and
    ``orientation=A\F`` as :func:`sideways` does.
    """
    found = {
        "modality": next((w for w in _words(header.modality) if w in _OTHER_MODALITIES), ""),
        "class": _other_class(header),
        "made-from": header.made_from,
        "intent": header.intent if header.intent == "FOR PROCESSING" else "",
        "left-in": header.left_in,
        "body-part": _other_part(header.body_part) or _other_part(header.region),
        "view": other_view(header.view_position) or other_view(header.view_code),
        "orientation": sideways(header.patient_orientation),
    }
    return tuple(f"{fact}={value}" for fact, value in found.items() if value)


def other_view(text: str) -> str:
    """Return the word of a view that is lateral, oblique, decubitus or such; "" where none is.

    ``PA LATERAL``, of which nobody knows whether it names one view or the study's two, is none.

    >>> other_view("LL"), other_view("left anterior oblique"), other_view("AP SUPINE")
    ('LL', 'OBLIQUE', '')
    """
    words = _words(text)
    if words in _SIDES:
        return words[0]
    frontal = bool(_FRONTAL.intersection(words))
    for word in words:
        if _NEITHER.fullmatch(word) or (not frontal and _LATERAL.fullmatch(word)):
            return word
    return ""


def sideways(text: str) -> str:
    r"""Return a Patient Orientation whose rows or columns run to the front or the back, else "".

    >>> sideways("A\\F"), sideways("L\\F")
    ('A\\F', '')
    """
    directions = text.upper().replace(" ", "")
    valid = _DIRECTIONS.fullmatch(directions)
    return directions if valid and any(one[0] in "AP" for one in directions.split("\\")) else ""


def in_words(flags: Iterable[str]) -> str:
    """Return flags as a person reads them behind a colon, or "" where there are none.

    >>> in_words(("inverted", "modality=CT", "view=LL"))
    'looks inverted, the header says modality CT, view LL'
    """
    looks, said = [], []
    for flag in flags:
        fact, _, value = flag.partition("=")
        if fact == "shape":
            looks.append(f"is {value.replace('x', ' x ')} pixels, which no radiograph is")
        elif fact == "size":
            looks.append(f"has only {value.replace('x', ' x ')} pixels")
        elif fact in _SAID:
            said.append(_SAID[fact].format(value))
        else:
            looks.append(_LOOKS.get(flag, flag))
    return ", ".join([*looks, *([f"the header says {', '.join(said)}"] if said else [])])


def _misplaced(pixels: NDArray[Any]) -> tuple[str, ...]:
    """Return what is wrong with how a radiograph lies in its picture."""
    rows, columns = pixels.shape
    found: tuple[str, ...] = ()
    if max(rows, columns) > MOST_ELONGATED * min(rows, columns):
        found = (f"shape={rows}x{columns}",)
    if max(inside_frame(pixels).shape) < LEAST_FILLED * max(rows, columns):
        return ("bordered", *found)
    return found


def _too_small(shape: tuple[int, ...], size: int) -> tuple[str, ...]:
    rows, columns = shape
    if min(shape) >= LEAST_SIDE_PX and max(shape) * MOST_ENLARGED >= size:
        return ()
    return (f"size={rows}x{columns}",)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.upper())


def _other_class(header: "Header") -> str:
    known = header.sop_class_name != "unknown"
    return (
        header.sop_class_name if known and header.sop_class_uid not in _RADIOGRAPH_CLASSES else ""
    )


def _other_part(text: str) -> str:
    words = _words(text)
    if any(map(_CHEST.search, words)):
        return ""
    return next((found["part"] for word in words if (found := _OTHER_PART.fullmatch(word))), "")
