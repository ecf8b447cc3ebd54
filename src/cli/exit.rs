//! Exit codes: those of `sysexits.h`, if it defines one.

/// Success; also after a stop that was requested.
pub const OK: u8 = 0;
/// Ran, but a package failed under `--once`, a folder is not ready, or a ZIP is refused.
pub const FAILED: u8 = 1;
/// The command line is not valid.
pub const USAGE: u8 = 2;
/// The package, file or log does not exist.
pub const NO_INPUT: u8 = 66;
/// The pipeline could not be kept up.
pub const INTERNAL: u8 = 70;
/// The machine gives this process too few threads or files.
pub const MACHINE: u8 = 71;
/// An I/O operation failed, or nothing moved for `once_wait`.
pub const IO: u8 = 74;
/// A permission is missing.
pub const PERMISSION: u8 = 77;
/// The configuration cannot be used.
pub const CONFIG: u8 = 78;
