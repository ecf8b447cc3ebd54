//! The table of writers: each with the command that packs the working folder.

use std::fs::{self, File};
use std::io::{Cursor, Seek, Write};
use std::path::Path;
use std::process::Command;

use longshore::extract::Method;
use zip::unstable::write::FileOptionsExt;
use zip::write::{FileOptions, SimpleFileOptions};
use zip::{AesMode, CompressionMethod, DateTime, ZipWriter};

use crate::common::{Node, tree};
use crate::contents::Content;

/// Of every encrypted archive.
pub(crate) const PASSWORD: &str = "secret";

/// Where programs of these tests' own are.
const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/zip_writers");

/// Programs by family, with what shows that they are there.
pub(crate) const FAMILIES: [(&str, &str); 8] = [
    ("zip", "zip -v"),
    ("7z", "7z i"),
    ("bsdtar", "bsdtar --version"),
    ("python", "python3 -c import(zipfile,bz2,lzma)"),
    ("jar", "jar --version"),
    ("java", "java --version"),
    ("node", "node -e require('yazl')+require('jszip')"),
    ("rust", ""),
];

/// How a writer stores times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Times {
    /// To two seconds, in local time.
    Dos,
    /// To a second.
    Unix,
    /// To 100 ns, in a field that bsdtar does not know.
    Ntfs,
}

/// One way to pack a folder.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) family: &'static str,
    /// Words of the command: `{zip}` is the archive, which comes through a pipe where it is missing;
    /// `{level}` how hard to try. For Rust's own: how.
    pub(crate) line: &'static str,
    /// One that some entry must have where there are bytes to compress.
    pub(crate) method: Method,
    pub(crate) times: Times,
    pub(crate) locked: bool,
    /// Whether much data takes it long, where nothing is optimised.
    slow: bool,
    /// What bsdtar says where it cannot read what is made.
    pub(crate) excuse: Option<&'static str>,
    /// What it adds of its own.
    pub(crate) adds: &'static [&'static str],
}

impl Writer {
    fn of(family: &'static str, line: &'static str, method: Method, times: Times) -> Self {
        Self { family, line, method, times, locked: false, slow: false, excuse: None, adds: &[] }
    }

    fn locked(self) -> Self {
        Self { locked: true, ..self }
    }

    fn slow(self) -> Self {
        Self { slow: true, ..self }
    }

    fn beyond_bsdtar(self, excuse: &'static str) -> Self {
        Self { excuse: Some(excuse), ..self }
    }

    fn adding(self, adds: &'static [&'static str]) -> Self {
        Self { adds, ..self }
    }

    /// What it is to pack.
    pub(crate) fn contents(&self) -> Vec<Content> {
        // Of the others nothing is ever unpacked at once, however small.
        let at_once = matches!(self.method, Method::Stored | Method::Deflate) && !self.locked;
        let fast = at_once && !self.slow;
        let left_out = if fast { Content::LargeForSlow } else { Content::Large };
        // "zip error: Nothing to do!"
        let can = |content: &Content| self.family != "zip" || *content != Content::Nothing;
        Content::ALL.into_iter().filter(|&content| content != left_out).filter(can).collect()
    }

    /// Packs `source` into the file `zip`; what the writer said, where it failed.
    pub(crate) fn pack(&self, content: Content, source: &Path, zip: &Path) -> Result<(), String> {
        if self.family == "rust" {
            fs::write(zip, pack_here(self.line, source)).unwrap();
            return Ok(());
        }
        let level = match (self.family, content.is_large()) {
            ("7z", true) => "-mx=1",
            ("7z", false) => "-mx=5",
            (_, true) => "-1",
            (_, false) => "-6",
        };
        let line = self.line.replace("{level}", level).replace("{programs}", PROGRAMS);
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().unwrap());
        command.args(words.map(|word| word.replace("{zip}", zip.to_str().unwrap())));
        command.current_dir(source).envs(ENVIRONMENT);
        let output = command.output().unwrap();
        if !output.status.success() {
            return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
        }
        if !self.line.contains("{zip}") {
            fs::write(zip, output.stdout).unwrap();
        }
        Ok(())
    }
}

/// Names in UTF-8, times in UTC, and where Debian has its packages of Node.
const ENVIRONMENT: [(&str, &str); 3] =
    [("LC_ALL", "C.UTF-8"), ("TZ", "UTC"), ("NODE_PATH", "/usr/share/nodejs")];

/// Whether a family's programs are there.
pub(crate) fn is_there(probe: &str) -> bool {
    let mut words = probe.split(' ').filter(|word| !word.is_empty());
    let Some(program) = words.next() else { return true };
    // One word each: a statement has no blank in it.
    let arguments = words.map(|word| match word.strip_prefix("import(") {
        Some(modules) => format!("import {}", modules.trim_end_matches(')')),
        None => word.to_owned(),
    });
    let output = Command::new(program).args(arguments).envs(ENVIRONMENT).output();
    output.is_ok_and(|output| output.status.success())
}

/// All of them.
pub(crate) fn all() -> Vec<Writer> {
    use Method::{Bzip2, Deflate, Deflate64, Lzma, Ppmd, Stored, Xz};
    use Times::{Dos, Ntfs, Unix};

    let zip = |line, method| Writer::of("zip", line, method, Unix);
    let seven = |line, method| Writer::of("7z", line, method, Ntfs);
    let bsdtar = |line, method| Writer::of("bsdtar", line, method, Unix);
    let python = |line, method| Writer::of("python", line, method, Dos);
    let jar = |line, method| Writer::of("jar", line, method, Dos);
    let java = |line, method, times| Writer::of("java", line, method, times);
    let node = |line, method| Writer::of("node", line, method, Dos);
    let rust = |line, method| Writer::of("rust", line, method, Dos);
    let manifest = &["META-INF", "META-INF/MANIFEST.MF"];
    vec![
        zip("zip -qr {level} {zip} .", Deflate),
        zip("zip -qr -0 {zip} .", Stored),
        zip("zip -qr {level} -Z bzip2 {zip} .", Bzip2),
        zip("zip -qr {level} -fz {zip} .", Deflate), // zip64
        zip("zip -qr {level} -fd {zip} .", Deflate), // descriptors
        zip("zip -qr {level} -P secret {zip} .", Deflate).locked(),
        zip("zip -qr {level} - .", Deflate),
        zip("zip -qr -0 - .", Stored),
        zip("zip -qr {level} -P secret - .", Deflate).locked().beyond_bsdtar("Inconsistent CRC32"),
        seven("7z a -tzip {level} {zip} .", Deflate),
        seven("7z a -tzip -mm=Copy {zip} .", Stored),
        seven("7z a -tzip {level} -mm=Deflate64 {zip} .", Deflate64).beyond_bsdtar("deflation-64"),
        seven("7z a -tzip {level} -mm=BZip2 {zip} .", Bzip2),
        seven("7z a -tzip {level} -mm=LZMA {zip} .", Lzma),
        seven("7z a -tzip {level} -mm=PPMd {zip} .", Ppmd),
        seven("7z a -tzip {level} -mm=XZ {zip} .", Xz),
        seven("7z a -tzip {level} -psecret -mem=ZipCrypto {zip} .", Deflate).locked(),
        seven("7z a -tzip {level} -psecret -mem=AES256 {zip} .", Deflate).locked(),
        seven("7z a -tzip {level} -psecret -mem=AES128 -mm=LZMA {zip} .", Lzma)
            .locked()
            .beyond_bsdtar("Invalid lzma data"),
        seven("7z a -tzip {level} -so -bso0 -bsp0 -an .", Deflate),
        seven("7z a -tzip {level} -so -bso0 -bsp0 -psecret -mem=AES256 -an .", Deflate).locked(),
        bsdtar("bsdtar --format zip -cf {zip} .", Deflate),
        bsdtar("bsdtar --format zip -cf - .", Deflate),
        bsdtar("bsdtar --format zip --options zip:compression=store -cf {zip} .", Stored),
        bsdtar("bsdtar --format zip --options zip:zip64 -cf {zip} .", Deflate),
        bsdtar(
            "bsdtar --format zip --options zip:encryption=zipcrypt --passphrase secret -cf {zip} .",
            Deflate,
        )
        .locked(),
        bsdtar(
            "bsdtar --format zip --options zip:encryption=aes256 --passphrase secret -cf {zip} .",
            Deflate,
        )
        .locked(),
        bsdtar(
            "bsdtar --format zip --options zip:encryption=aes128 --passphrase secret -cf - .",
            Deflate,
        )
        .locked(),
        python("python3 {programs}/pack.py stored {zip}", Stored),
        python("python3 {programs}/pack.py deflated {zip}", Deflate),
        python("python3 {programs}/pack.py bzip2 {zip}", Bzip2),
        python("python3 {programs}/pack.py lzma {zip}", Lzma),
        python("python3 {programs}/pack.py stored -", Stored),
        python("python3 {programs}/pack.py deflated -", Deflate),
        python("python3 {programs}/pack.py lzma -", Lzma),
        jar("jar --create --file {zip} .", Deflate).adding(manifest),
        jar("jar --create --no-manifest --file {zip} .", Deflate),
        jar("jar --create --no-manifest --no-compress --file {zip} .", Stored),
        jar("jar --create .", Deflate).adding(manifest),
        java("java {programs}/Pack.java streamed {zip}", Deflate, Dos),
        java("java {programs}/Pack.java streamed -", Deflate, Dos),
        java("java {programs}/Pack.java stored -", Stored, Unix),
        java("java {programs}/Pack.java filesystem {zip}", Deflate, Unix),
        node("node {programs}/pack.js yazl deflated {zip}", Deflate),
        node("node {programs}/pack.js yazl stored -", Stored),
        node("node {programs}/pack.js yazl buffer -", Deflate),
        node("node {programs}/pack.js yazl zip64 -", Deflate),
        node("node {programs}/pack.js jszip whole {zip}", Deflate).slow(),
        node("node {programs}/pack.js jszip streamed -", Deflate).slow(),
        rust("deflated", Deflate).slow(),
        rust("stored", Stored),
        rust("zip64", Deflate).slow(),
        rust("streamed", Deflate).slow(),
        rust("AES", Deflate).locked(),
        rust("ZipCrypto", Deflate).locked(),
    ]
}

/// Packs with the `zip` crate.
fn pack_here(how: &str, source: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if how == "streamed" {
        let zip = ZipWriter::new_stream(&mut bytes);
        fill(zip, how, source);
    } else {
        fill(ZipWriter::new(Cursor::new(&mut bytes)), how, source);
    }
    bytes
}

fn fill<W: Write + Seek>(mut zip: ZipWriter<W>, how: &str, source: &Path) {
    for (path, node) in tree(source) {
        let seen = File::open(source.join(&path)).unwrap().metadata().unwrap();
        let options = options(how, &seen);
        match node {
            Node::File(bytes) => {
                zip.start_file_from_path(path, options).unwrap();
                zip.write_all(&bytes).unwrap();
            }
            Node::Folder => zip.add_directory_from_path(path, options).unwrap(),
            other => panic!("{other:?} is not to be packed"),
        }
    }
    zip.finish().unwrap();
}

fn options(how: &str, seen: &fs::Metadata) -> FileOptions<'static, 'static, ()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let time = jiff::Timestamp::from_second(seen.mtime()).unwrap();
    let time = jiff::tz::TimeZone::UTC.to_datetime(time);
    let [month, day, hour, minute, second] =
        [time.month(), time.day(), time.hour(), time.minute(), time.second()]
            .map(i8::cast_unsigned);
    let year = time.year().cast_unsigned();
    let time = DateTime::from_date_and_time(year, month, day, hour, minute, second).unwrap();
    let options = SimpleFileOptions::default()
        .last_modified_time(time)
        .unix_permissions(seen.permissions().mode() & 0o777);
    match how {
        "stored" => options.compression_method(CompressionMethod::Stored),
        "zip64" => options.large_file(true),
        _ if seen.is_dir() => options,
        "AES" => options.with_aes_encryption(AesMode::Aes256, PASSWORD),
        "ZipCrypto" => options.with_deprecated_encryption(PASSWORD.as_bytes()).unwrap(),
        _ => options,
    }
}
