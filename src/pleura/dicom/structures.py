"""Whether the name of a region in somebody's mask file says that it is no pneumothorax."""

import re

_OTHERS = re.compile(
    r"\b(background|lungs?|lobes?|hearts?|cardiomegaly|mediastinum|trachea|airways?"
    r"|ribs?|clavicles?|scapulae?|spine|vertebrae?|diaphragm|bones?|fractures?|effusions?|edema|nodules?"
    r"|mass|masses|consolidations?|atelectas[ei]s|opacit(y|ies)|pneumonia|emphysema|fibrosis|hernia"
    r"|pacemakers?|tubes?|catheters?|devices?)\b"
)


def names_pneumothorax(name: str) -> bool:
    """Return whether `name` says pneumothorax, among other words or alone."""
    return "pneumothorax" in name.lower()


def names_another(name: str) -> bool:
    """Return whether `name` is that of another structure, finding or device, in English.

    A name that says pneumothorax, or nothing known ("1", "roi", "mask"), is not.
    """
    words = re.sub(r"[_\W]+", " ", name.lower())
    return not names_pneumothorax(name) and _OTHERS.search(words) is not None
