"""Whether the name of a region in somebody's mask file says that it is no pneumothorax."""

import re

_OTHERS = re.compile(
    r"\b(background|lungs?|lobes?|hearts?|cardiomegaly|mediastinum|trachea|airways?"
    r"|ribs?|clavicles?|scapulae?|spine|vertebrae?|diaphragm|bones?|fractures?|effusions?|edema|nodules?"
    r"|mass|masses|consolidations?|atelectas[ei]s|opacit(y|ies)|pneumonia|emphysema|fibrosis|hernia"
    r"|pacemakers?|tubes?|catheters?|devices?)\b"
)


_DENIED = re.compile(r"\b(no|not|non|without|absent|absence|negative|excluded)\b")


def names_pneumothorax(name: str) -> bool:
    """Return whether `name` says pneumothorax, among other words or alone, and not that it is none.

    >>> names_pneumothorax("Small pneumothorax"), names_pneumothorax("No_Pneumothorax")
    (True, False)
    """
    return "pneumothorax" in name.lower() and not _DENIED.search(_words(name))


def denies_pneumothorax(name: str) -> bool:
    """Return whether `name` says that there is no pneumothorax."""
    return "pneumothorax" in name.lower() and not names_pneumothorax(name)


def names_another(name: str) -> bool:
    """Return whether `name` is that of another structure, finding or device, or of none.

    In English. A name that says pneumothorax, or nothing known ("1", "roi", "mask"), is not.
    """
    if names_pneumothorax(name):
        return False
    return denies_pneumothorax(name) or _OTHERS.search(_words(name)) is not None


def _words(name: str) -> str:
    return re.sub(r"[_\W]+", " ", name.lower())
