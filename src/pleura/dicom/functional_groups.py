"""What an object of frames says of one frame, brought to where every other image says it.

An enhanced or multi-frame object may hold a single frame. Its window, its rescale and its spacing
then lie in sequences, of the frame or of all frames, and nothing of them at the top.

Source: DICOM PS3.3 C.7.6.16.2 (functional group macros).
"""

from typing import Final

from pleura.dicom.elements import DataSet

_GROUPS: Final = (0x52009230, 0x52009229)
"""Of each frame, and of all."""

_MACROS: Final = {
    0x00289132: (0x00281050, 0x00281051, 0x00281055, 0x00281056, 0x00283010),
    0x00289145: (0x00281052, 0x00281053),
    0x00289110: (0x00280030,),
}
"""Sequence of a macro -> what it holds: values of interest, rescale, spacing."""


def lift_groups(data: DataSet) -> None:
    """Add to `data` what its first frame's functional groups say and it does not say itself.

    Raises:
        DicomError: One of these sequences is malformed.
    """
    for groups in _GROUPS:
        group = data.first_item(groups)
        if group is None:
            continue
        for macro, tags in _MACROS.items():
            said = group.first_item(macro)
            if said is not None and not any(map(data.raw, tags)):
                data.elements.update({t: said.elements[t] for t in tags if t in said.elements})
