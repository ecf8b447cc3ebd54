"""Packs the working folder with Python's zipfile: METHOD (stored, deflated, bzip2, lzma) to a path, or to a pipe with "-"."""
import os
import sys
import zipfile

method, out = sys.argv[1:]
compression = getattr(zipfile, "ZIP_" + method.upper())
with zipfile.ZipFile(sys.stdout.buffer if out == "-" else out, "w", compression) as archive:
    for top, folders, files in os.walk("."):
        for name in sorted(folders + files):
            path = os.path.join(top, name)
            archive.write(path, os.path.relpath(path, "."))
