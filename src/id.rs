//! The identifiers that move through the system: jobs, sources, package names.
//!
//! Each is valid by construction: code that has a [`PackageName`] may join it to a path.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use ulid::Ulid;

/// The longest name that a file system component can have, in bytes.
pub const NAME_MAX: usize = 255;

/// Identifies one job, from claim to settlement: a ULID, 26 characters, unique across nodes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(Ulid);

impl JobId {
    /// Creates an id from the clock and randomness.
    #[must_use]
    pub fn generate() -> Self {
        Self(Ulid::generate())
    }

    /// Returns when the id was created, by the clock of the machine that created it.
    #[must_use]
    pub fn created(&self) -> SystemTime {
        self.0.datetime()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // ULIDs have several spellings (case, I for 1). Only the spelling that longshore writes is
        // accepted.
        Ulid::from_string(text)
            .ok()
            .filter(|ulid| ulid.to_string() == text)
            .map(Self)
            .ok_or(NameError::NotAJob)
    }
}

/// A BLAKE3 digest: 32 bytes, written as 64 hexadecimal digits in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash.into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hash = blake3::Hash::from_hex(text).map_err(|_| NameError::NotADigest)?;
        Ok(hash.into())
    }
}

impl TryFrom<String> for Digest {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// Why a text is not a name or an id of the requested kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name has no characters.
    #[error("the name is empty")]
    Empty,
    /// The name is not valid UTF-8.
    #[error("the name is not UTF-8")]
    NotUtf8,
    /// The name has `/`, NUL or another control character.
    #[error("the name has a control character or a slash in it")]
    Control,
    /// The name has a leading dot. Such names belong to senders' temporary files and to longshore
    /// itself.
    #[error("the name starts with a dot")]
    LeadingDot,
    /// The name has more than 251 bytes: `NAME.zip` would not fit the 255 bytes of a file system.
    #[error("the name is longer than 251 bytes, so that NAME.zip does not fit")]
    TooLong,
    /// The name of a source may only have `a-z`, `0-9`, `-` and `_`, at most 64 bytes.
    #[error("a source's name may only have a-z, 0-9, - and _ in it, 64 at most")]
    NotASource,
    /// The text is not 26 characters of Crockford's base 32, in the spelling that longshore writes.
    #[error("not a job's id: 26 characters, as `01K8ZQ…`")]
    NotAJob,
    /// The text is not 64 hexadecimal digits.
    #[error("not a digest: 64 hexadecimal digits")]
    NotADigest,
}

/// The name of a package: the name of its folder, as delivered.
///
/// UTF-8, one path component, no leading dot, no control characters, at most 251 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackageName(std::sync::Arc<str>);

impl PackageName {
    /// Creates a name if `name` is valid.
    ///
    /// # Errors
    /// [`NameError`], by the rule that `name` breaks.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.starts_with('.') {
            return Err(NameError::LeadingDot);
        }
        if name.contains('/') || name.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        if name.len() > NAME_MAX - ".zip".len() {
            return Err(NameError::TooLong);
        }
        Ok(Self(name.into()))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns `NAME.zip`, the one file that a package must have.
    #[must_use]
    pub fn zip(&self) -> String {
        format!("{}.zip", self.0)
    }

    /// Returns the name of revision `number` in the archive: the name itself for 1, then `NAME.2`
    /// and so on. `None` if it does not fit the 255 bytes of a file system.
    #[must_use]
    pub fn revision(&self, number: u32) -> Option<String> {
        match number {
            0 | 1 => Some(self.0.to_string()),
            _ => Some(format!("{}.{number}", self.0)).filter(|name| name.len() <= NAME_MAX),
        }
    }

    /// Returns `NAME.JOB`, the name in quarantine. NAME is cut at a character so that the whole
    /// fits `name_max` bytes, the limit of the quarantine's file system.
    #[must_use]
    pub fn with_job(&self, job: JobId, name_max: usize) -> String {
        let suffix = format!(".{job}");
        let mut end = self.0.len().min(name_max.saturating_sub(suffix.len()));
        while !self.0.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}{suffix}", &self.0[..end])
    }
}

impl AsRef<Path> for PackageName {
    fn as_ref(&self) -> &Path {
        Path::new(self.as_str())
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl TryFrom<String> for PackageName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(&name)
    }
}

impl From<PackageName> for String {
    fn from(name: PackageName) -> Self {
        name.as_str().to_owned()
    }
}

/// The name of a source: a landing with its rules. Without a config file there is one, `default`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourceName(std::sync::Arc<str>);

impl SourceName {
    /// Creates a name if `name` is valid.
    ///
    /// # Errors
    /// [`NameError::NotASource`] if `name` is empty, is too long or has another character.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(NameError::NotASource);
        }
        Ok(Self(name.into()))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for SourceName {
    fn default() -> Self {
        Self("default".into())
    }
}

impl AsRef<Path> for SourceName {
    fn as_ref(&self) -> &Path {
        Path::new(self.as_str())
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl TryFrom<String> for SourceName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(&name)
    }
}

impl From<SourceName> for String {
    fn from(name: SourceName) -> Self {
        name.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_name_that_could_leave_its_folder_is_refused() {
        for (name, error) in [
            ("", NameError::Empty),
            (".", NameError::LeadingDot),
            ("..", NameError::LeadingDot),
            (".q", NameError::LeadingDot),
            ("a/b", NameError::Control),
            ("a\nb", NameError::Control),
            ("a\0", NameError::Control),
            (&"x".repeat(252), NameError::TooLong),
        ] {
            assert_eq!(PackageName::new(name), Err(error), "{name:?}");
        }
    }

    #[test]
    fn package_name_that_looks_like_ours_is_a_name_like_any_other() {
        for name in ["out", "reason.json", "JOB.1.0", "delivered", "名字", "a b"] {
            assert_eq!(PackageName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn quarantine_name_of_a_long_name_is_cut_at_a_character() {
        let job = JobId::generate();
        let name = PackageName::new(&"名".repeat(83)).unwrap().with_job(job, NAME_MAX);
        assert!(name.len() <= NAME_MAX && name.ends_with(&format!(".{job}")), "{name}");
        assert!(name.starts_with("名名"), "{name}");
    }

    #[test]
    fn revision_that_does_not_fit_is_none() {
        let name = PackageName::new(&"x".repeat(251)).unwrap();
        assert_eq!(name.revision(1).unwrap().len(), 251);
        assert_eq!(name.revision(999).unwrap().len(), 255);
        assert_eq!(name.revision(1000), None);
    }

    #[test]
    fn digest_reads_back_as_it_was_written() {
        let digest = Digest::from(blake3::hash(b"abc"));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(digest.to_string().len(), 64);
        assert_eq!("abc".parse::<Digest>(), Err(NameError::NotADigest));
    }

    #[test]
    fn job_id_reads_back_only_in_the_spelling_that_it_writes() {
        let id = JobId::generate();
        assert_eq!(id.to_string().parse::<JobId>(), Ok(id));
        assert_eq!(id.to_string().to_lowercase().parse::<JobId>(), Err(NameError::NotAJob));
        assert_eq!("JOB".parse::<JobId>(), Err(NameError::NotAJob));
    }
}
