import java.io.OutputStream;
import java.net.URI;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/** Packs the working folder: streamed, stored or filesystem; to a path, or to a pipe with "-". */
public class Pack {
    public static void main(String[] arguments) throws Exception {
        String how = arguments[0];
        String out = arguments[1];
        List<Path> paths;
        try (Stream<Path> walk = Files.walk(Path.of(""))) {
            paths = walk.filter(path -> !path.toString().isEmpty()).sorted().collect(Collectors.toList());
        }
        if (how.equals("filesystem")) {
            fileSystem(paths, Path.of(out));
            return;
        }
        OutputStream to = out.equals("-") ? System.out : Files.newOutputStream(Path.of(out));
        try (ZipOutputStream zip = new ZipOutputStream(to)) {
            for (Path path : paths) {
                add(zip, path, how);
            }
        }
    }

    /** As most programs do it: folders, too, are deflated, to two bytes. */
    private static void add(ZipOutputStream zip, Path path, String how) throws Exception {
        boolean isFolder = Files.isDirectory(path);
        byte[] data = isFolder ? new byte[0] : Files.readAllBytes(path);
        ZipEntry entry = new ZipEntry(path + (isFolder ? "/" : ""));
        if (how.equals("stored")) {
            CRC32 crc = new CRC32();
            crc.update(data);
            entry.setMethod(ZipEntry.STORED);
            entry.setSize(data.length);
            entry.setCrc(crc.getValue());
            entry.setLastModifiedTime(Files.getLastModifiedTime(path));
        } else {
            entry.setTime(Files.getLastModifiedTime(path).toMillis());
        }
        zip.putNextEntry(entry);
        zip.write(data);
        zip.closeEntry();
    }

    private static void fileSystem(List<Path> paths, Path out) throws Exception {
        URI uri = URI.create("jar:" + out.toUri());
        try (FileSystem zip = FileSystems.newFileSystem(uri, Map.of("create", "true"))) {
            for (Path path : paths) {
                Files.copy(path, zip.getPath(path.toString()), StandardCopyOption.COPY_ATTRIBUTES);
            }
            for (Path path : paths) {
                Files.setLastModifiedTime(zip.getPath(path.toString()), Files.getLastModifiedTime(path));
            }
        }
    }
}
