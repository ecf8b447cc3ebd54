// Packs the working folder with a writer of npm: yazl or jszip, and how; to a path, or to a pipe with "-".
const fs = require("fs");
const [, , writer, how, out] = process.argv;

function* walk(folder) {
  for (const found of fs.readdirSync(folder || ".", { withFileTypes: true })) {
    const path = folder + found.name;
    yield { path, isFolder: found.isDirectory(), ...fs.statSync(path) };
    if (found.isDirectory()) yield* walk(path + "/");
  }
}

function yazl() {
  const zip = new (require("yazl").ZipFile)();
  for (const { path, isFolder, mtime, mode } of walk("")) {
    const options = { mtime, mode, compress: how !== "stored", forceZip64Format: how === "zip64" };
    if (isFolder) zip.addEmptyDirectory(path, { mtime, mode });
    else if (how === "buffer") zip.addBuffer(fs.readFileSync(path), path, options);
    else zip.addFile(path, path, options);
  }
  zip.end({ forceZip64Format: how === "zip64" });
  return zip.outputStream;
}

function jszip() {
  const zip = new (require("jszip"))();
  for (const { path, isFolder, mtime: date, mode: unixPermissions } of walk("")) {
    const options = { date, unixPermissions, dir: isFolder, createFolders: false };
    zip.file(path, isFolder ? null : fs.readFileSync(path), options);
  }
  return zip.generateNodeStream({
    platform: "UNIX",
    compression: "DEFLATE",
    streamFiles: how === "streamed",
  });
}

const to = out === "-" ? process.stdout : fs.createWriteStream(out);
(writer === "yazl" ? yazl() : jszip()).pipe(to);
