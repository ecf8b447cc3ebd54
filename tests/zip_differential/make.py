"""Writes sound ZIPs of Python's zipfile into a folder, as python-NAME.zip; each is named by what is in it."""
import os
import sys
import zipfile

TIME = (2021, 3, 4, 5, 6, 8)
TEXT = b"the same words again and again, the same words again and again\n" * 3


class Pipe:
    """Takes bytes and cannot seek."""

    def __init__(self, path):
        self.file = open(path, "wb")

    def write(self, data):
        return self.file.write(data)

    def flush(self):
        self.file.flush()

    def close(self):
        self.file.close()


def info(name, method=zipfile.ZIP_DEFLATED, mode=0o644, host=3):
    made = zipfile.ZipInfo(name, TIME)
    made.compress_type = method
    made.create_system = host
    made.external_attr = mode << 16 if host == 3 else 0
    return made


def main(folder):
    def create(name):
        return zipfile.ZipFile(os.path.join(folder, f"python-{name}.zip"), "w")

    with create("stored") as archive:
        archive.writestr(info("a.txt", zipfile.ZIP_STORED), b"alpha")
        archive.writestr(info("d/b.bin", zipfile.ZIP_STORED), bytes(range(64)))
        archive.writestr(info("d/empty", zipfile.ZIP_STORED), b"")
    with create("deflated") as archive:
        folder_entry = info("d/", zipfile.ZIP_STORED, 0o40755)
        folder_entry.external_attr |= 0x10
        archive.writestr(folder_entry, b"")
        archive.writestr(info("d/a.txt"), TEXT)
        archive.writestr(info("d/e/b.txt", mode=0o755), TEXT * 2)
        archive.comment = b"a comment of the archive"
    with create("utf8") as archive:
        for name in ["Übersicht.txt", "表/予定表.txt", "plain.txt"]:
            archive.writestr(info(name), name.encode())
    with create("dos") as archive:
        archive.writestr(info("A.TXT", host=0), b"alpha")
        archive.writestr(info("DIR/B.TXT", host=0), TEXT)
    with create("zip64") as archive:
        for name in ["a.txt", "d/b.txt"]:
            with archive.open(info(name), "w", force_zip64=True) as file:
                file.write(TEXT)
    for name, method in [("bzip2", zipfile.ZIP_BZIP2), ("lzma", zipfile.ZIP_LZMA)]:
        with create(name) as archive:
            archive.writestr(info("a.txt", method), TEXT)
            archive.writestr(info("d/b.txt", method), b"short")
    for name, wide in [("streamed", False), ("streamed-zip64", True)]:
        pipe = Pipe(os.path.join(folder, f"python-{name}.zip"))
        with zipfile.ZipFile(pipe, "w") as archive:
            for path in ["a.txt", "d/b.txt", "c"]:
                with archive.open(info(path), "w", force_zip64=wide) as file:
                    file.write(TEXT if path != "c" else b"c")
        pipe.close()


main(sys.argv[1])
