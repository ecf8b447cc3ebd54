//! The command of a package: the configured words with their placeholders filled in, and the
//! environment.
//!
//! In: a [`Process`] of the configuration, and a package's facts. Out: arguments and variables.
//!
//! **Invariant:** no fact of a package is ever interpreted as code. A value fills a part of one
//! argument or one variable, and a script gets its values only from the environment.

use std::ffi::{OsStr, OsString};

use crate::config::{Placeholder, Process, Template, TemplateError};
use crate::package::PackageFacts;

/// The command of a source, ready to be filled in for its packages.
#[derive(Debug, Clone)]
pub struct CommandLine {
    /// The program; for a script, `sh`, `-c` and the script.
    fixed: Vec<OsString>,
    arguments: Vec<Template>,
    /// The variables that are the same for every package.
    env: Vec<(OsString, OsString)>,
}

impl CommandLine {
    /// Parses the placeholders, and keeps the variables of the daemon's own environment (`own`)
    /// that the configuration passes on.
    ///
    /// # Errors
    /// [`TemplateError`]: an unknown placeholder, or a placeholder where none is allowed.
    pub fn new(
        process: &Process,
        own: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, TemplateError> {
        let arguments = process.arguments()?;
        let words = process.command.iter().map(OsString::from);
        let fixed = if process.shell {
            ["sh", "-c"].map(OsString::from).into_iter().chain(words).collect()
        } else {
            words.take(1).collect()
        };
        let passed = own.into_iter().filter(|(name, _)| {
            let set = |other: &str| name.to_str() == Some(other);
            process.pass_env.iter().any(|passed| set(passed)) && !process.env.keys().any(|k| set(k))
        });
        let set = process.env.iter().map(|(name, value)| (name.into(), value.into()));
        let env = passed.chain(set).collect();
        Ok(Self { fixed, arguments, env })
    }

    /// Returns the program as configured.
    #[must_use]
    pub fn program(&self) -> &OsStr {
        self.fixed.first().map_or(OsStr::new(""), OsString::as_os_str)
    }

    /// Sets the program to this file, regardless of other files of the same name.
    pub fn set_program(&mut self, path: impl Into<OsString>) {
        if let Some(program) = self.fixed.first_mut() {
            *program = path.into();
        }
    }

    /// Returns the `PATH` that the command will have.
    #[must_use]
    pub fn path(&self) -> Option<&OsStr> {
        self.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str())
    }

    /// Returns program and arguments for a package.
    #[must_use]
    pub fn argv(&self, package: &PackageFacts) -> Vec<OsString> {
        let values = Values::of(package);
        let filled = self.arguments.iter().map(|argument| argument.fill(|p| values.get(p)));
        self.fixed.iter().cloned().chain(filled).collect()
    }

    /// Returns the whole environment for a package. The package's facts take precedence over the
    /// configuration.
    #[must_use]
    pub fn env(&self, package: &PackageFacts) -> Vec<(OsString, OsString)> {
        let values = Values::of(package);
        let facts = Placeholder::ALL.map(|p| (p.variable().into(), values.get(p).to_owned()));
        let is_fact = |name: &OsStr| facts.iter().any(|(fact, _): &(OsString, _)| fact == name);
        let rest = self.env.iter().filter(|(name, _)| !is_fact(name)).cloned();
        rest.collect::<Vec<_>>().into_iter().chain(facts.iter().cloned()).collect()
    }
}

/// A package's facts as text.
struct Values([OsString; Placeholder::ALL.len()]);

impl Values {
    fn of(package: &PackageFacts) -> Self {
        Self(Placeholder::ALL.map(|placeholder| match placeholder {
            Placeholder::Dir => package.dir().into(),
            Placeholder::Delivered => package.delivered().into(),
            Placeholder::Name => package.name.as_str().into(),
            Placeholder::Source => package.source.as_str().into(),
            Placeholder::Job => package.job.to_string().into(),
            Placeholder::Attempt => package.attempt.to_string().into(),
        }))
    }

    fn get(&self, placeholder: Placeholder) -> &OsStr {
        let at = Placeholder::ALL.iter().position(|known| *known == placeholder);
        at.and_then(|at| self.0.get(at)).map_or(OsStr::new(""), OsString::as_os_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{JobId, PackageName, SourceName};
    use std::os::unix::ffi::OsStringExt;

    fn package() -> PackageFacts {
        PackageFacts {
            source: SourceName::default(),
            name: PackageName::new("plate 1; rm -rf $HOME").unwrap(),
            job: JobId::generate(),
            attempt: 2,
            home: OsString::from_vec(b"/work/\xff/job".to_vec()).into(),
            entries: 0,
            bytes: 0,
            untouched: false,
        }
    }

    fn line(process: &Process) -> CommandLine {
        let own = [("PATH", "/bin"), ("HOME", "/root"), ("SECRET", "x"), ("LONGSHORE_JOB", "old")];
        CommandLine::new(process, own.map(|(name, value)| (name.into(), value.into()))).unwrap()
    }

    fn get<'a>(env: &'a [(OsString, OsString)], name: &str) -> Vec<&'a OsStr> {
        env.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_os_str()).collect()
    }

    #[test]
    fn command_of_a_package_with_an_odd_name_has_as_many_arguments_as_configured() {
        let words = ["analyse", "--name={name}", "{dir}", "{attempt}", r#"{"a": 1}"#];
        let process = Process::new(words.map(str::to_owned).into());
        let argv = line(&process).argv(&package());
        assert_eq!(argv.len(), words.len());
        assert_eq!(argv[1], "--name=plate 1; rm -rf $HOME");
        assert_eq!(argv[2], OsString::from_vec(b"/work/\xff/job/.done".to_vec()), "not UTF-8");
        assert_eq!((&argv[3], &argv[4]), (&"2".into(), &words[4].into()));
    }

    #[test]
    fn script_is_handed_to_the_shell_as_it_is() {
        let mut process = Process::new(vec!["echo ${name} \"$LONGSHORE_DIR\"".to_owned()]);
        process.shell = true;
        let line = line(&process);
        assert_eq!(line.program(), "sh");
        let argv = line.argv(&package());
        assert_eq!(argv, ["sh", "-c", &process.command[0]].map(OsString::from));
    }

    #[test]
    fn environment_has_what_is_passed_on_and_set_and_the_packages_facts() {
        let mut process = Process::new(vec!["true".to_owned()]);
        process.env.insert("HOME".to_owned(), "/srv".to_owned());
        process.env.insert("LONGSHORE_NAME".to_owned(), "forged".to_owned());
        process.env.insert("OWN".to_owned(), "{dir}".to_owned());
        process.pass_env.push("LONGSHORE_JOB".to_owned());
        let (line, package) = (line(&process), package());
        let env = line.env(&package);
        assert_eq!(line.path(), Some(OsStr::new("/bin")));
        assert_eq!(get(&env, "PATH"), ["/bin"]);
        assert_eq!(get(&env, "HOME"), ["/srv"], "what is set wins over what is passed on");
        assert_eq!(get(&env, "OWN"), ["{dir}"], "values of `env` are taken as they are");
        assert!(get(&env, "SECRET").is_empty(), "a variable got through that nobody asked for");
        assert_eq!(get(&env, "LONGSHORE_NAME"), [package.name.as_str()]);
        assert_eq!(get(&env, "LONGSHORE_JOB"), [package.job.to_string().as_str()]);
        assert_eq!(get(&env, "LONGSHORE_ATTEMPT"), ["2"]);
        assert_eq!(get(&env, "LONGSHORE_DELIVERED"), [package.delivered().as_os_str()]);
        assert_eq!(get(&env, "LONGSHORE_SOURCE"), ["default"]);
    }
}
