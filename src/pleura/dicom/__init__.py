"""DICOM files in: the only code that touches pydicom to read."""
