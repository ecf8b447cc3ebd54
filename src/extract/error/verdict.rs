//! What an [`ExtractError`] means to the pipeline: its code, and what becomes of the package.
//!
//! Both tables are exhaustive on purpose: a new variant must choose.

use super::ExtractError;
use crate::error::{Disposition, Failure};

impl Failure for ExtractError {
    fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "zip_read",
            Self::Write { .. } => "write",
            Self::NoSpace { .. } | Self::DiskFull { .. } => "no_space",
            Self::Changed => "zip_changed",
            Self::Stopped => "stopped",
            Self::Occupied { .. } => "output_occupied",
            Self::Unaccounted { .. } => "unaccounted",
            Self::NoEndRecord { .. } => "no_end_record",
            Self::SeveralEndRecords { .. } => "several_end_records",
            Self::TrailingData { .. } => "trailing_data",
            Self::PrefixData { .. } => "prefix_data",
            Self::Gap { .. } => "gap",
            Self::Overlap { .. } => "overlap",
            Self::EndRecord { .. } => "end_record_mismatch",
            Self::Malformed { .. } => "malformed",
            Self::LocalDiffers { .. } => "local_mismatch",
            Self::LocalNameDiffers { .. } => "local_name_mismatch",
            Self::Descriptor { .. } => "descriptor_mismatch",
            Self::MultiDisk => "multi_disk",
            Self::Unsupported { .. } => "unsupported",
            Self::Encrypted { .. } => "encrypted",
            Self::WrongPassword { .. } => "wrong_password",
            Self::EntryEscapes { .. } => "entry_escapes",
            Self::BadName { .. } => "bad_name",
            Self::NameTooLong { .. } => "name_too_long",
            Self::TooDeep { .. } => "too_deep",
            Self::Duplicate { .. } => "duplicate_entry",
            Self::FileAgainstFolder { .. } => "file_against_folder",
            Self::FolderWithData { .. } => "folder_with_data",
            Self::Collision { .. } => "name_collision",
            Self::Symlink { .. } => "symlink",
            Self::SpecialFile { .. } => "special_file",
            Self::TooManyEntries { .. } => "too_many_entries",
            Self::NamesTooLarge { .. } => "names_too_large",
            Self::TotalTooLarge { .. } => "total_too_large",
            Self::EntryTooLarge { .. } => "entry_too_large",
            Self::RatioTooHigh { .. } => "ratio_too_high",
            Self::Corrupt { .. } => "corrupt_data",
            Self::TooShort { .. } => "data_too_short",
            Self::TooLong { .. } => "data_too_long",
            Self::DataAfterEnd { .. } => "data_after_end",
            Self::CrcMismatch { .. } => "crc_mismatch",
        }
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::NoSpace { .. } | Self::DiskFull { .. } => Disposition::Wait,
            Self::Read { .. }
            | Self::Write { .. }
            | Self::Changed
            | Self::Stopped
            | Self::Occupied { .. }
            | Self::Unaccounted { .. } => Disposition::Retry,
            Self::NoEndRecord { .. }
            | Self::SeveralEndRecords { .. }
            | Self::TrailingData { .. }
            | Self::PrefixData { .. }
            | Self::Gap { .. }
            | Self::Overlap { .. }
            | Self::EndRecord { .. }
            | Self::Malformed { .. }
            | Self::LocalDiffers { .. }
            | Self::LocalNameDiffers { .. }
            | Self::Descriptor { .. }
            | Self::MultiDisk
            | Self::Unsupported { .. }
            | Self::Encrypted { .. }
            | Self::WrongPassword { .. }
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
