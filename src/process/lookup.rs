//! Which file a command's program is.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::error::ProcessError;

/// Where a search goes without a `PATH`, as in `execvp`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Finds the program of a command as it will be found when it is run.
///
/// A program with a slash is taken relative to `cwd`, any other is looked for in the folders of
/// `path`, the `PATH` of the command's own environment. The answer is as absolute as those are.
///
/// # Errors
/// [`CommandNotFound`](ProcessError::CommandNotFound), or
/// [`NotExecutable`](ProcessError::NotExecutable) where the only file of that name must not be
/// executed: both are faults of the configuration.
pub fn check_command(
    program: &OsStr,
    cwd: &Path,
    path: Option<&OsStr>,
) -> Result<PathBuf, ProcessError> {
    if program.is_empty() {
        return Err(ProcessError::CommandNotFound { program: program.to_owned() });
    }
    if program.as_encoded_bytes().contains(&b'/') {
        let file = cwd.join(program);
        return match executable(&file) {
            Ok(()) => Ok(file),
            Err(source) => Err(ProcessError::NotExecutable { path: file, source }),
        };
    }
    let mut refused = None;
    for folder in env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH))) {
        let file = cwd.join(folder).join(program);
        match executable(&file) {
            Ok(()) => return Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => refused = refused.or(Some((file, error))),
        }
    }
    Err(match refused {
        Some((path, source)) => ProcessError::NotExecutable { path, source },
        None => ProcessError::CommandNotFound { program: program.to_owned() },
    })
}

fn executable(file: &Path) -> io::Result<()> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not a regular file"));
    }
    access(file, Access::EXEC_OK)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn folder_with(name: &str, mode: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        fs::write(&file, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        folder
    }

    fn check(program: &str, path: &Path) -> Result<PathBuf, ProcessError> {
        check_command(OsStr::new(program), Path::new("/nowhere"), Some(path.as_os_str()))
    }

    #[test]
    fn program_in_a_folder_of_the_path_is_found_there() {
        let folder = folder_with("analyse", 0o755);
        assert_eq!(check("analyse", folder.path()).unwrap(), folder.path().join("analyse"));
    }

    #[test]
    fn program_in_no_folder_of_the_path_is_not_found() {
        let folder = folder_with("analyse", 0o755);
        let error = check("analyze", folder.path()).unwrap_err();
        assert!(matches!(error, ProcessError::CommandNotFound { .. }), "{error:?}");
    }

    #[test]
    fn program_without_the_x_bit_is_not_executable() {
        let folder = folder_with("analyse", 0o644);
        let error = check("analyse", folder.path()).unwrap_err();
        assert!(matches!(error, ProcessError::NotExecutable { .. }), "{error:?}");
    }

    #[test]
    fn folder_is_not_executable() {
        let folder = tempfile::tempdir().unwrap();
        let error = check(folder.path().to_str().unwrap(), folder.path()).unwrap_err();
        assert!(matches!(error, ProcessError::NotExecutable { .. }), "{error:?}");
    }

    #[test]
    fn program_with_a_slash_is_taken_relative_to_the_folder() {
        let folder = folder_with("analyse", 0o755);
        let found = check_command(OsStr::new("./analyse"), folder.path(), None).unwrap();
        assert_eq!(found, folder.path().join("./analyse"));
    }
}
