import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pleura.dicom import inflating
from pleura.dicom.inflating import gunzip, inflate_data_set
from pleura.errors import DicomError, TruncatedError


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=3), st.integers(0, 9))
def test_what_was_packed_comes_back(parts, level):
    packed = b"".join(gzip.compress(part, level) for part in parts)
    assert gunzip(packed) == gunzip(packed + bytes(512)) == b"".join(parts)
    deflated = zlib.compress(parts[0], level)[2:-4]
    assert inflate_data_set(deflated) == parts[0]


@given(st.data())
def test_a_changed_or_shortened_gzip_is_refused(data):
    content = data.draw(st.binary(min_size=1, max_size=100))
    packed = bytearray(gzip.compress(content))
    with pytest.raises(TruncatedError, match="the gzip file ends too early: the file is truncated"):
        gunzip(bytes(packed[: data.draw(st.integers(1, len(packed) - 1))]))
    packed[data.draw(st.integers(len(packed) - 8, len(packed) - 1))] ^= 1 << data.draw(
        st.integers(0, 7)
    )
    with pytest.raises(DicomError, match="the gzip file is corrupt; copy it again"):
        gunzip(bytes(packed))


def test_bombs_are_refused_before_they_go_off(monkeypatch):
    monkeypatch.setattr(inflating, "MAX_BYTES", 1 << 20)
    one = gzip.compress(bytes(600_000))
    assert len(gunzip(one)) == 600_000
    for bomb in (gzip.compress(bytes(1 << 21)), one + one):
        with pytest.raises(DicomError, match=r"inflates to more than .*; refused as a"):
            gunzip(bomb)
    with pytest.raises(DicomError, match="the gzip file has more than 1,000 members; refused"):
        gunzip(gzip.compress(b"") * 1001)
