"""The answer for one radiograph as DICOM files, for a PACS.

:func:`pleura.results.writing.write_results` is the only entry.
"""
