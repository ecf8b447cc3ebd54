//! The ZIP engine: judges a whole archive, then writes it slice by slice.
//!
//! In: an open ZIP, [`Options`], an empty folder. Out: the content of the archive, complete and
//! verified, or an [`ExtractError`] with a stable code. The engine knows no actors and no
//! configuration.
//!
//! [`Plan::read`] judges everything that can be judged without decoding: framing, names, kinds,
//! limits. [`Unpacking`] writes the plan's [`Slice`]s, from any number of threads, and verifies the
//! data at the same time. The ZIP is read with `pread` and never mapped: if a sender truncated a
//! mapped file, the process would get SIGBUS.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use longshore::extract::{Options, Plan, Scratch, Unpacking};
//!
//! let zip = std::fs::File::open("sample.zip")?;
//! let plan = Plan::read(&zip, &Options::default())?;
//! let slices = plan.slices(64 << 20, 4096);
//! let out = std::fs::File::open("empty-folder")?;
//! let unpacking = Unpacking::new(plan, zip, out.into())?;
//! let mut scratch = Scratch::default();
//! for slice in &slices {
//!     unpacking.write(slice, &mut scratch)?;
//! }
//! unpacking.finish()?;
//! # Ok(())
//! # }
//! ```

mod charset;
mod choose;
mod collisions;
mod data;
mod decode;
mod decrypt;
mod end;
mod entry;
mod error;
mod folders;
mod half_letter;
mod header;
mod inflate;
mod inventory;
mod names;
mod options;
mod overlap;
mod plan;
mod slice;
mod sniff;
mod space;
mod stamp;
mod tree;
mod verify;
mod walk;
mod window;
mod write;

pub use charset::{Charset, UnknownCharset};
pub use choose::Remark;
pub use entry::{EntryKind, Method, Modified, PlannedEntry};
pub use error::{EntryName, ExtractError};
pub use options::{Collisions, Framing, Limits, Modes, Options, Password, Symlinks};
pub use plan::Plan;
pub use slice::Slice;
pub use space::Room;
pub use verify::verify;
pub use write::{Scratch, Unpacking, Written};

#[cfg(test)]
mod tests;
