"""The only code that knows a file format: run-length text, annotation tables, DICOM."""
