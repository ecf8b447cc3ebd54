//! [`PackageMaker`]: makes sound and flawed packages, and delivers them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::temp_landing::TempLanding;
use super::zip_writer::{Archive, Entry};

/// A package to be delivered: `NAME.zip` with its contents, and the files beside it.
///
/// ```
/// use longshore::testkit::{PackageMaker, TempLanding};
///
/// let landing = TempLanding::new();
/// let maker = PackageMaker::new("plate-1").file("wells/a1.csv", "1,2,3\n").beside("READ.ME", "hi");
/// let delivered = maker.deliver(&landing)?;
/// assert!(delivered.join("plate-1.zip").exists());
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug, Clone)]
pub struct PackageMaker {
    name: String,
    entries: Vec<Entry>,
    beside: Vec<(PathBuf, Vec<u8>)>,
    flaw: Option<Flaw>,
    zip: Option<Vec<u8>>,
}

/// A flaw of a package's ZIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Flaw {
    /// Its second half is missing, as after an interrupted transfer.
    CutOff,
    /// It is a text file.
    NoZip,
    /// The data of an entry is damaged.
    WrongCrc,
    /// An entry is called `../escaped.txt`.
    ParentFolder,
    /// An entry is called `/escaped.txt`.
    AbsolutePath,
    /// An entry is a symbolic link to `/etc/passwd`.
    SymbolicLink,
    /// Two entries have the same name.
    SameNameTwice,
    /// An entry of a kilobyte declares a gigabyte.
    Bomb,
    /// An entry is encrypted.
    Encrypted,
}

impl Flaw {
    /// All flaws.
    pub const ALL: [Self; 9] = [
        Self::CutOff,
        Self::NoZip,
        Self::WrongCrc,
        Self::ParentFolder,
        Self::AbsolutePath,
        Self::SymbolicLink,
        Self::SameNameTwice,
        Self::Bomb,
        Self::Encrypted,
    ];

    /// The code with which such a package is quarantined, unless configured otherwise.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::CutOff | Self::NoZip => "no_end_record",
            Self::WrongCrc => "crc_mismatch",
            Self::ParentFolder | Self::AbsolutePath => "entry_escapes",
            Self::SymbolicLink => "symlink",
            Self::SameNameTwice => "duplicate_entry",
            Self::Bomb => "ratio_too_high",
            Self::Encrypted => "encrypted",
        }
    }
}

impl PackageMaker {
    /// Creates a package with an empty ZIP.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let (entries, beside) = (Vec::new(), Vec::new());
        Self { name: name.into(), entries, beside, flaw: None, zip: None }
    }

    /// Adds a file to the ZIP; `path` is relative, with `/`.
    #[must_use]
    pub fn file(self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.entry(Entry::deflated(path, bytes.as_ref()))
    }

    /// Adds a folder to the ZIP. The parent folders of a file need no entry.
    #[must_use]
    pub fn folder(self, path: &str) -> Self {
        self.entry(Entry::folder(path))
    }

    /// Adds an entry with arbitrary fields.
    #[must_use]
    pub fn entry(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }

    /// Puts a file beside the ZIP; `path` is relative to the package's folder.
    #[must_use]
    pub fn beside(mut self, path: impl Into<PathBuf>, bytes: impl AsRef<[u8]>) -> Self {
        self.beside.push((path.into(), bytes.as_ref().to_vec()));
        self
    }

    /// Gives the ZIP a flaw, so that it must be refused.
    #[must_use]
    pub fn flaw(mut self, flaw: Flaw) -> Self {
        self.flaw = Some(flaw);
        self
    }

    /// Uses these bytes as the ZIP, whatever was added to it.
    #[must_use]
    pub fn with_zip(mut self, bytes: Vec<u8>) -> Self {
        self.zip = Some(bytes);
        self
    }

    /// The package's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the bytes of the ZIP.
    #[must_use]
    pub fn zip(&self) -> Vec<u8> {
        if let Some(zip) = &self.zip {
            return zip.clone();
        }
        let mut entries = self.entries.clone();
        let text = b"longshore ".repeat(100);
        match self.flaw {
            None => {}
            Some(Flaw::NoZip) => return text,
            Some(Flaw::CutOff) => {
                entries.push(Entry::stored("cut-off.txt", &text));
                let mut bytes = Archive::of(entries).bytes();
                bytes.truncate(bytes.len() / 2);
                return bytes;
            }
            Some(Flaw::WrongCrc) => {
                entries.push(Entry::stored("damaged.txt", &text).with(|entry| entry.crc ^= 1));
            }
            Some(Flaw::ParentFolder) => entries.push(Entry::stored("../escaped.txt", &text)),
            Some(Flaw::AbsolutePath) => entries.push(Entry::stored("/escaped.txt", &text)),
            Some(Flaw::SymbolicLink) => {
                let link = Entry::stored("link", b"/etc/passwd");
                entries.push(link.with(|entry| entry.attributes = 0o120_777 << 16));
            }
            Some(Flaw::SameNameTwice) => {
                entries
                    .extend([Entry::stored("twice.txt", &text), Entry::stored("twice.txt", b"")]);
            }
            Some(Flaw::Bomb) => {
                let bomb = Entry::deflated("bomb.txt", &text);
                entries.push(bomb.with(|entry| entry.size = 1 << 30));
            }
            Some(Flaw::Encrypted) => {
                let secret = Entry::stored("secret.txt", &text);
                entries.push(secret.with(|entry| entry.flags |= 1));
            }
        }
        Archive::of(entries).bytes()
    }

    /// Writes `NAME.zip`, and the files beside it, into an existing folder.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        for (path, bytes) in &self.beside {
            let path = folder.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, bytes)?;
        }
        fs::write(folder.join(format!("{}.zip", self.name)), self.zip())
    }

    /// Delivers it as a careful sender does: under `NAME-downloading`, then renamed.
    ///
    /// # Errors
    /// I/O errors.
    pub fn deliver(&self, landing: &TempLanding) -> io::Result<PathBuf> {
        let path = landing.join(&self.name);
        fs::rename(self.deliver_downloading(landing)?, &path)?;
        Ok(path)
    }

    /// Leaves it complete as `NAME-downloading`: its sender has not said yet that it is done.
    ///
    /// # Errors
    /// I/O errors.
    pub fn deliver_downloading(&self, landing: &TempLanding) -> io::Result<PathBuf> {
        let path = landing.join(format!("{}-downloading", self.name));
        fs::create_dir(&path)?;
        self.write_to(&path)?;
        Ok(path)
    }
}

/// Creates a sound package of that name, which contains `hello.txt` and `folder/deep.txt`.
impl From<&str> for PackageMaker {
    fn from(name: &str) -> Self {
        let texts = ["hello.txt", "folder/deep.txt"];
        texts.into_iter().fold(Self::new(name), |maker, text| maker.file(text, text))
    }
}

impl From<&Self> for PackageMaker {
    fn from(maker: &Self) -> Self {
        maker.clone()
    }
}
