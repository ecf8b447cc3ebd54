# passthrough.py SOURCE MOUNT RULE [READY]
#
# A FUSE file system that shows SOURCE and has one habit of others:
#   colon  no name has a colon (EINVAL), as on NTFS and SMB
#   long   no name has more than 143 bytes (ENAMETOOLONG), as on eCryptfs
#   big    no file has more than 1,000,000 bytes (EFBIG), as 4 GiB on FAT
#   case   names that differ in case alone are one (EEXIST), as on exFAT
#   links  no symbolic links (EPERM), as on FAT
#   busy   what is called busy… cannot be moved into a package (EBUSY) while SOURCE.free is not there, as a
#          file that is open on SMB
#   modes  every mode is 0777, and chmod does nothing, as on SMB with dir_mode
import errno
import os
import sys

try:
    from fusepy import FUSE, Operations, FuseOSError
except ImportError:
    from fuse import FUSE, Operations, FuseOSError

source, mount, rule = sys.argv[1:4]


def at(path):
    return source + path


def judge(path):
    name, folder = os.path.basename(path), os.path.dirname(at(path))
    if rule == "colon" and ":" in name:
        raise FuseOSError(errno.EINVAL)
    if rule == "long" and len(os.fsencode(name)) > 143:
        raise FuseOSError(errno.ENAMETOOLONG)
    if rule == "busy" and "/.final/busy" in path and not os.path.exists(source + ".free"):
        raise FuseOSError(errno.EBUSY)
    if rule == "case" and name.lower() in [other.lower() for other in os.listdir(folder)]:
        raise FuseOSError(errno.EEXIST)


class Passthrough(Operations):
    use_ns = True

    def getattr(self, path, fh=None):
        found = os.lstat(at(path))
        mode = found.st_mode | 0o777 if rule == "modes" else found.st_mode
        return dict(
            st_mode=mode, st_nlink=found.st_nlink, st_uid=found.st_uid, st_gid=found.st_gid,
            st_size=found.st_size, st_ino=found.st_ino, st_blocks=found.st_blocks,
            st_atime=found.st_atime_ns, st_mtime=found.st_mtime_ns, st_ctime=found.st_ctime_ns)

    def readdir(self, path, fh):
        return [".", ".."] + os.listdir(at(path))

    def readlink(self, path):
        return os.readlink(at(path))

    def symlink(self, path, to):
        if rule == "links":
            raise FuseOSError(errno.EPERM)
        judge(path)
        os.symlink(to, at(path))

    def mkdir(self, path, mode):
        judge(path)
        os.mkdir(at(path), mode)

    def rmdir(self, path):
        os.rmdir(at(path))

    def unlink(self, path):
        os.unlink(at(path))

    def rename(self, old, new):
        judge(new)
        os.rename(at(old), at(new))

    def chmod(self, path, mode):
        if rule != "modes":
            os.chmod(at(path), mode)

    def chown(self, path, user, group):
        os.chown(at(path), user, group)

    def utimens(self, path, times=None):
        os.utime(at(path), ns=times)

    def statfs(self, path):
        found = os.statvfs(at(path))
        names = [name for name in dir(found) if name.startswith("f_") and name != "f_fsid"]
        told = {name: getattr(found, name) for name in names}
        if rule == "long":
            told["f_namemax"] = 143
        return told

    def open(self, path, flags):
        return os.open(at(path), flags)

    def create(self, path, mode, fi=None):
        judge(path)
        return os.open(at(path), os.O_RDWR | os.O_CREAT, mode)

    def read(self, path, size, offset, fh):
        return os.pread(fh, size, offset)

    def write(self, path, data, offset, fh):
        if rule == "big" and offset + len(data) > 1_000_000:
            raise FuseOSError(errno.EFBIG)
        return os.pwrite(fh, data, offset)

    def truncate(self, path, length, fh=None):
        os.truncate(at(path), length)

    def release(self, path, fh):
        os.close(fh)


FUSE(Passthrough(), mount, foreground=True, nothreads=True, use_ino=True)
