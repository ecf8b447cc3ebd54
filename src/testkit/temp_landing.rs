//! [`TempLanding`]: a landing for a test, and senders that deliver into it in every way.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use zip::write::SimpleFileOptions;

use crate::config::Source;
use crate::id::SourceName;

/// A temporary folder with a landing in it; removed when dropped.
#[derive(Debug)]
pub struct TempLanding {
    top: TempDir,
}

impl TempLanding {
    /// Creates `landing/` in a new temporary folder. Does not create the archive beside it.
    ///
    /// # Panics
    /// There is no space for a temporary folder: the test cannot continue.
    #[must_use]
    pub fn new() -> Self {
        let made = tempfile::tempdir().and_then(|top| {
            fs::create_dir(top.path().join("landing"))?;
            Ok(Self { top })
        });
        #[expect(clippy::expect_used, reason = "a test without its folder fails, as it should")]
        made.expect("make a temporary landing")
    }

    /// The source `default` with this landing, and archive and quarantine beside it.
    #[must_use]
    pub fn source(&self) -> Source {
        Source::new(SourceName::default(), self.path(), self.top.path().join("archive"))
    }

    /// The landing; absolute.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.top.path().join("landing")
    }

    /// A path in the landing; absolute.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// The parent of the landing: entries can be renamed from there into the landing.
    #[must_use]
    pub fn outside(&self) -> &Path {
        self.top.path()
    }

    /// Delivers `NAME/NAME.zip` as a careful sender does: under `NAME-downloading`, then renamed.
    ///
    /// # Errors
    /// I/O errors.
    pub fn deliver(&self, name: &str) -> io::Result<PathBuf> {
        let arriving = self.join(format!("{name}-downloading"));
        fs::create_dir(&arriving)?;
        fs::write(arriving.join(format!("{name}.zip")), sample_zip())?;
        let path = self.join(name);
        fs::rename(arriving, &path)?;
        Ok(path)
    }

    /// Creates `NAME/NAME.zip` in its final place, without a rename at the end.
    ///
    /// # Errors
    /// I/O errors.
    pub fn copy_in(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.join(name);
        fs::create_dir(&path)?;
        fs::write(path.join(format!("{name}.zip")), sample_zip())?;
        Ok(path)
    }
}

impl Default for TempLanding {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns a small, sound ZIP: `hello.txt`, and `folder/deep.txt`.
///
/// # Panics
/// Never: it is written to memory.
#[must_use]
pub fn sample_zip() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    let mut write = || -> zip::result::ZipResult<()> {
        for name in ["hello.txt", "folder/deep.txt"] {
            zip.start_file(name, SimpleFileOptions::default())?;
            zip.write_all(name.as_bytes())?;
        }
        Ok(())
    };
    #[expect(clippy::expect_used, reason = "a cursor over a vector does not refuse bytes")]
    write().expect("write to memory");
    #[expect(clippy::expect_used, reason = "a cursor over a vector does not refuse bytes")]
    zip.finish().expect("write to memory").into_inner()
}
