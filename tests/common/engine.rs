//! The engine and `bsdtar`, each unpacking a ZIP into a folder of its own.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use longshore::extract::{ExtractError, Options, Plan, Scratch, Unpacking};

/// Unpacks a ZIP into an empty folder with the library; after an error the folder is empty again.
pub(crate) fn unpack(zip: &Path, out: &Path, options: &Options) -> Result<(), ExtractError> {
    let file = File::open(zip).unwrap();
    let plan = Plan::read(&file, options)?;
    let slices = plan.slices(1 << 20, 100);
    let unpacking = Unpacking::new(plan, file, File::open(out).unwrap().into())?;
    let mut scratch = Scratch::default();
    let result = slices
        .iter()
        .try_for_each(|slice| unpacking.write(slice, &mut scratch).map(drop))
        .and_then(|()| unpacking.finish());
    if result.is_err() {
        unpacking.discard().unwrap();
    }
    result
}

/// `bsdtar -x` of a ZIP into a folder, with modes less the umask; times of DOS are taken for UTC.
pub(crate) fn bsdtar(zip: &Path, out: &Path, password: Option<&str>) -> Output {
    let mut command = Command::new("bsdtar");
    command.args(["--no-same-permissions", "--no-same-owner"]);
    if let Some(password) = password {
        command.args(["--passphrase", password]);
    }
    command.arg("-xf").arg(zip).arg("-C").arg(out);
    command.envs([("LC_ALL", "C.UTF-8"), ("TZ", "UTC")]);
    command.output().unwrap_or_else(|error| panic!("bsdtar is needed (libarchive-tools): {error}"))
}

/// Makes everything below a folder readable, as an archive may have said otherwise.
pub(crate) fn open_up(top: &Path) {
    for entry in fs::read_dir(top).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            open_up(&path);
        } else if kind.is_file() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}
