"""Reads every ZIP in a folder with zipfile; prints a line of JSON for each.

{"zip": file name, "entries": [[name, contents in hexadecimal]]}, or "refused" with the reason in place
of the entries.
"""
import json
import os
import sys
import zipfile


def read(path):
    with zipfile.ZipFile(path) as archive:
        return [[info.filename, archive.read(info).hex()] for info in archive.infolist()]


def main(folder):
    for name in sorted(os.listdir(folder)):
        said = {"zip": name}
        try:
            said["entries"] = read(os.path.join(folder, name))
        except Exception as error:  # whatever it is, it is this reader's refusal
            said["refused"] = f"{type(error).__name__}: {error}"
        print(json.dumps(said))


main(sys.argv[1])
