//! The meaning of an [`ExtractError`] for the pipeline: its code, the disposition of the package,
//! and the advice to a person.
//!
//! The tables are exhaustive on purpose: a new variant must choose. `docs/codes.md` shows the first
//! of them, with the reasons, and a test compares the two.

use rustix::io::Errno;

use super::ExtractError;
use crate::error::{Disposition, Failure, is_shortage};

/// One line for each variant: its code, and the advice to the person who has the ZIP.
macro_rules! codes {
    ($($variant:ident => $code:literal, $advice:literal;)*) => {
        /// The code and advice of every variant, in the order of the page. Two variants may share a
        /// line of the page.
        #[cfg(test)]
        pub(in crate::extract) const CODES: &[(&str, &str)] = &[$(($code, $advice)),*];

        fn code_of(error: &ExtractError) -> &'static str {
            match error {
                $(ExtractError::$variant { .. } => $code,)*
            }
        }

        fn advice_of(error: &ExtractError) -> &'static str {
            match error {
                $(ExtractError::$variant { .. } => $advice,)*
            }
        }
    };
}

codes! {
    Read => "zip_read", "look at the disk or the network under the landing; it is tried again by itself";
    Write => "write", "look at the disk and the permissions of the work area; it is tried again by itself";
    NoSpace => "no_space", "make room; the package continues by itself";
    DiskFull => "no_space", "make room; the package continues by itself";
    Changed => "zip_changed", "have the sender write under another name and rename when complete; it is tried again by itself";
    Stopped => "stopped", "nothing: it goes on at the next start";
    Occupied => "output_occupied", "find out who else writes to the work area; it is tried again by itself";
    Unaccounted => "unaccounted", "report it, with the ZIP: it is an error of longshore's";
    NoEndRecord => "no_end_record", "have it sent again, whole, and as a ZIP";
    SeveralEndRecords => "several_end_records", "have it packed again: readers would find different files in it";
    TrailingData => "trailing_data", "have it sent again without them; or skip them with framing = \"lenient\"";
    PrefixData => "prefix_data", "have it packed as a plain ZIP; or skip them with framing = \"lenient\", as for a self-extracting archive";
    NoZip64 => "no_zip64", "have it packed by a program that writes zip64 (zip, 7-Zip), or in parts of less than 4 GiB";
    Gap => "gap", "have it packed again; or skip them with framing = \"lenient\", as for the signing block of an APK";
    Overlap => "overlap", "have it packed again: it is damaged, or made to deceive";
    EndRecord => "end_record_mismatch", "have it packed again: it is damaged, or its writer counts wrongly";
    Malformed => "malformed", "have it sent or packed again: it is damaged, or its writer is at fault";
    LocalDiffers => "local_mismatch", "have it packed again: readers would unpack different things";
    LocalNameDiffers => "local_name_mismatch", "have it packed again: readers would give the file different names";
    UnicodeName => "unicode_name_mismatch", "have it packed again: readers would give the file different names";
    Descriptor => "descriptor_mismatch", "have it packed again: it is damaged, or was changed by a program that left the old sizes";
    MultiDisk => "multi_disk", "join the parts (zip -s 0 IN.zip --out WHOLE.zip) and send the whole";
    Unsupported => "unsupported", "have it packed with deflate, or another method that docs/codes.md names";
    Encrypted => "encrypted", "give the source the password (password_file or password_env)";
    WrongPassword => "wrong_password", "give the source this ZIP's password (password_file or password_env); with the right one it is damaged";
    AmbiguousCharset => "ambiguous_charset", "set charset to that of the sender's system, such as \"Shift_JIS\", \"GBK\", \"Big5\" or \"CP850\"";
    EntryEscapes => "entry_escapes", "do not unpack it by other means; have it packed with relative names";
    BadName => "bad_name", "have the file renamed and packed again; set charset if the name is in an old one";
    NameTooLong => "name_too_long", "have the file renamed, to 255 bytes a part; a whole path may have limits.path";
    TooDeep => "too_deep", "raise limits.depth if such data is expected";
    Duplicate => "duplicate_entry", "have it packed again with each file once: readers would keep different ones";
    FileAgainstFolder => "file_against_folder", "have one of the two renamed and packed again";
    FolderWithData => "folder_with_data", "have it packed again: its writer is at fault, or a file's name ends in a slash";
    Collision => "name_collision", "have one of the two renamed; or accept them with collisions = \"allow\"";
    Symlink => "symlink", "have it packed without links; or leave them out with symlinks = \"skip\"";
    SpecialFile => "special_file", "have it packed without FIFOs, sockets and devices";
    TooManyEntries => "too_many_entries", "raise limits.entries if such data is expected";
    NamesTooLarge => "names_too_large", "raise limits.mean_name if such names are expected";
    TotalTooLarge => "total_too_large", "raise limits.total if such data is expected";
    EntryTooLarge => "entry_too_large", "raise limits.entry if such data is expected";
    RatioTooHigh => "ratio_too_high", "raise limits.ratio if such data is expected: it may be a ZIP bomb";
    Corrupt => "corrupt_data", "have it sent again: it was damaged on its way or when it was packed";
    TooShort => "data_too_short", "have it sent again: it was damaged on its way or when it was packed";
    TooLong => "data_too_long", "have it packed again: it declares less than it has";
    DataAfterEnd => "data_after_end", "have it packed again: it hides bytes behind a file's data";
    CrcMismatch => "crc_mismatch", "have it sent again: it was damaged on its way or when it was packed";
}

impl ExtractError {
    /// Returns what a person can do: one line without a full stop, by code, as in `docs/codes.md`.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        advice_of(self)
    }
}

impl Failure for ExtractError {
    fn code(&self) -> &'static str {
        code_of(self)
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::NoSpace { .. } | Self::DiskFull { .. } => Disposition::Wait,
            Self::Read { source, .. } if is_shortage(source) => Disposition::Wait,
            Self::Write { source, .. } => match Errno::from_io_error(source) {
                // A disk that became read-only will be repaired or remounted.
                Some(Errno::ROFS) => Disposition::Wait,
                _ if is_shortage(source) => Disposition::Wait,
                // The file is larger than the file system, or this process's limit, allows.
                Some(Errno::FBIG) => Disposition::Quarantine,
                _ => Disposition::Retry,
            },
            Self::Read { .. }
            | Self::Changed { .. }
            | Self::Stopped
            | Self::Occupied { .. }
            | Self::Unaccounted { .. } => Disposition::Retry,
            Self::NoEndRecord { .. }
            | Self::SeveralEndRecords { .. }
            | Self::TrailingData { .. }
            | Self::PrefixData { .. }
            | Self::NoZip64 { .. }
            | Self::Gap { .. }
            | Self::Overlap { .. }
            | Self::EndRecord { .. }
            | Self::Malformed { .. }
            | Self::LocalDiffers { .. }
            | Self::LocalNameDiffers { .. }
            | Self::UnicodeName { .. }
            | Self::Descriptor { .. }
            | Self::MultiDisk
            | Self::Unsupported { .. }
            | Self::Encrypted { .. }
            | Self::WrongPassword { .. }
            | Self::AmbiguousCharset { .. }
            | Self::EntryEscapes { .. }
            | Self::BadName { .. }
            | Self::NameTooLong { .. }
            | Self::TooDeep { .. }
            | Self::Duplicate { .. }
            | Self::FileAgainstFolder { .. }
            | Self::FolderWithData { .. }
            | Self::Collision { .. }
            | Self::Symlink { .. }
            | Self::SpecialFile { .. }
            | Self::TooManyEntries { .. }
            | Self::NamesTooLarge { .. }
            | Self::TotalTooLarge { .. }
            | Self::EntryTooLarge { .. }
            | Self::RatioTooHigh { .. }
            | Self::Corrupt { .. }
            | Self::TooShort { .. }
            | Self::TooLong { .. }
            | Self::DataAfterEnd { .. }
            | Self::CrcMismatch { .. } => Disposition::Quarantine,
        }
    }
}
