//! Finds the file of a command's program.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::error::{FirstLineFault, ProcessError, Step};

/// The search path if there is no `PATH`, as in `execvp`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// How much of a file the kernel reads for its `#!` line.
const FIRST_LINE_BYTES: usize = 256;

/// Finds the program of a command as the system will find it when the command starts.
///
/// A program with a slash is relative to `cwd`. Any other is searched for in the folders of `path`,
/// the `PATH` of the command's own environment. The returned path is absolute if `cwd` or that
/// folder is.
///
/// # Errors
/// - [`CommandNotFound`](ProcessError::CommandNotFound): no folder of `path` has the program.
/// - [`NotExecutable`](ProcessError::NotExecutable): folders of `path` have the program, but it may
///   not be executed; or a program with a slash does not exist or may not be executed.
/// - [`FirstLine`](ProcessError::FirstLine): the program is a script whose `#!` line names a
///   program that does not exist or may not be executed, or ends in a carriage return.
///
/// All of them are faults of the configuration.
pub fn check_command(
    program: &OsStr,
    cwd: &Path,
    path: Option<&OsStr>,
) -> Result<PathBuf, ProcessError> {
    let file = find(program, cwd, path)?;
    first_line_fault(&file).map_or(Ok(file), Err)
}

/// Checks the `#!` line of a script. `None` if the script can be executed, or if the file is not a
/// script.
///
/// Source: execve(2). In a line that ends in CRLF, the name of the program or its argument ends in
/// `\r`.
pub(super) fn first_line_fault(file: &Path) -> Option<ProcessError> {
    let mut start = Vec::new();
    File::open(file).ok()?.take(FIRST_LINE_BYTES as u64).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?;
    let end = memchr::memchr(b'\n', line);
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut words =
        line[..end.unwrap_or(line.len())].split(is_blank).filter(|word| !word.is_empty());
    let interpreter = words.next()?;
    let last = words.next_back().unwrap_or(interpreter);
    let named = |word: &[u8]| OsString::from_vec(word.to_vec());
    let fault = |word: &[u8], why| {
        let (path, word) = (file.to_path_buf(), named(word));
        Some(ProcessError::FirstLine { path, word, why })
    };
    if end.is_some() && last.ends_with(b"\r") {
        return fault(last, FirstLineFault::CarriageReturn);
    }
    let program = PathBuf::from(named(interpreter));
    // A relative name is resolved from the folder of each package, so it is not checked here.
    match program.is_absolute().then(|| executable(&program)) {
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            fault(interpreter, FirstLineFault::NotFound)
        }
        Some(Err(_)) => fault(interpreter, FirstLineFault::NotExecutable),
        _ => None,
    }
}

fn find(program: &OsStr, cwd: &Path, path: Option<&OsStr>) -> Result<PathBuf, ProcessError> {
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

impl ProcessError {
    /// Creates the error for a step that the guard reported as failed.
    pub(super) fn at(step: Step, errno: i32, program: OsString, cwd: PathBuf) -> Self {
        let source = io::Error::from_raw_os_error(errno);
        match step {
            // The kernel reports a script as missing if its interpreter is missing.
            Step::Start => {
                first_line_fault(program.as_ref()).unwrap_or(Self::Start { program, cwd, source })
            }
            step => Self::Isolate { step, source },
        }
    }
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
    fn script_whose_first_line_names_no_program_is_refused_with_its_name() {
        for (line, word) in [
            ("#!/bin/sh\r\n", Some("/bin/sh\r")),
            ("#! /bin/sh -e\r\necho\r\n", Some("-e\r")),
            ("#!/usr/bin/env python3\r\n", Some("python3\r")),
            ("#!/no/such/python3\n", Some("/no/such/python3")),
            ("#!/etc/passwd\n", Some("/etc/passwd")),
            ("#!/bin/sh\necho a\r\n", None),
            ("#!\t/bin/sh  -e \n", None),
            ("#!sh\n", None),
            ("#!\n", None),
            ("#!/bin/sh", None),
            ("\x7fELF\r\n", None),
        ] {
            let folder = folder_with("analyse", 0o755);
            fs::write(folder.path().join("analyse"), line).unwrap();
            let found = check("analyse", folder.path());
            match (found, word) {
                (Ok(_), None) => {}
                (Err(ProcessError::FirstLine { word: named, .. }), Some(word)) => {
                    assert_eq!(named, word, "{line:?}");
                }
                (found, _) => panic!("{line:?} gave {found:?}"),
            }
        }
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
