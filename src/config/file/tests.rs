use super::*;
use crate::error::Chain;

fn parse(text: &str) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longshore.toml");
    fs::write(&path, text).unwrap();
    ConfigFile::read(&path)?.resolve()
}

#[test]
fn config_with_two_sources_fills_in_defaults_and_then_its_own() {
    let config = parse(
        r#"
        workers = 3
        state = "/data/state"
        [defaults]
        archive = "/data/archive"
        settle = "5s"
        [source.a]
        landing = "/data/a/"
        min_free = "1GiB"
        [source.b]
        landing = "/data/./b"
        settle = "0s"
        "#,
    )
    .unwrap();
    let [a, b] = &config.sources[..] else { panic!("two sources") };
    assert_eq!((config.workers, a.settle, b.settle), (3, Duration::from_secs(5), Duration::ZERO));
    assert_eq!(a.min_free, ByteSize::gib(1));
    assert_eq!(b.landing, Path::new("/data/b"));
    assert_eq!(b.quarantine, Path::new("/data/quarantine"));
    assert_eq!(a.work, None);
}

#[test]
fn config_with_an_unknown_key_is_refused_with_the_nearest_known_one() {
    let error = parse("[source.a]\nlanding = '/a'\narchive = '/b'\nsetle = '1s'").unwrap_err();
    let text = Chain(&error).to_string();
    assert!(text.contains("did you mean `settle`?") && text.contains("line 4"), "{text}");
}

#[test]
fn config_of_a_source_replaces_the_patterns_of_the_defaults_and_an_empty_name_awaits_no_file() {
    let config = parse(
        "
        state = '/s'
        [defaults]
        archive = '/x'
        ignore = ['*.log']
        ready_when = 'CopyComplete.txt'
        [source.a]
        landing = '/a'
        [source.b]
        landing = '/b'
        ignore = []
        incomplete_inside = ['*.upload']
        ready_when = ''
        ",
    )
    .unwrap();
    let [a, b] = &config.sources[..] else { panic!("two sources") };
    assert_eq!(a.ignore.written(), ["*.log"]);
    assert_eq!(a.incomplete_inside, Patterns::unfinished());
    assert_eq!(a.ready_when.as_ref().unwrap().written(), ["CopyComplete.txt"]);
    assert_eq!(b.ignore.written(), [""; 0]);
    assert_eq!(b.incomplete_inside.written(), ["*.upload"]);
    assert_eq!(b.ready_when, None);
}

#[test]
fn config_of_a_source_names_its_own_password_in_place_of_the_shared_one() {
    let config = parse(
        r#"
        state = "/data/state"
        [defaults]
        archive = "/data/archive"
        password_file = "/etc/shared"
        [source.a]
        landing = "/data/a"
        password_env = "A"
        [source.b]
        landing = "/data/b"
        "#,
    )
    .unwrap();
    let passwords: Vec<_> = config.sources.into_iter().map(|s| s.password).collect();
    let shared = PasswordFrom::File("/etc/shared".into());
    assert_eq!(passwords, [Some(PasswordFrom::Env("A".to_owned())), Some(shared)]);
}

#[test]
fn config_of_a_command_takes_a_script_as_plain_text_and_another_command_in_its_place() {
    let text = "
        state = '/s'
        [source.a]
        landing = '/a'
        archive = '/x'
        process = { command = 'ls | wc -l', shell = true, timeout = '5m' }
        [source.b]
        landing = '/b'
        archive = '/x'
    ";
    let config = parse(text).unwrap();
    let [a, b] = &config.sources[..] else { panic!("two sources") };
    let process = a.process.clone().unwrap();
    assert_eq!((process.command, process.shell), (vec!["ls | wc -l".to_owned()], true));
    assert_eq!(b.process, None);

    let mut file: ConfigFile = toml::from_str(text).unwrap();
    file.override_command(&["true".to_owned()]);
    for source in file.resolve().unwrap().sources {
        let process = source.process.unwrap();
        assert_eq!((process.command, process.shell), (vec!["true".to_owned()], false));
        let timeout = (source.name.as_str() == "a").then_some(Duration::from_secs(300));
        assert_eq!(process.timeout, timeout, "what the file says of it otherwise stays");
    }
}

#[test]
fn config_that_cannot_work_is_refused() {
    let landing = "landing = '/a'\narchive = '/b'\n";
    for (text, part) in [
        (String::new(), "find a source"),
        ("[source.a]\nlanding = '/a'".to_owned(), "no `archive`"),
        (format!("[source.a]\n{landing}[source.b]\n{landing}"), "in which folder"),
        (
            format!("state = '/s'\n[source.a]\n{landing}[source.b]\n{landing}"),
            "both have the landing",
        ),
        (format!("[source.a]\n{landing}process.command = []"), "name a program"),
        (format!("[source.a]\n{landing}process.command = 'a b'"), "as a list"),
        (format!("[source.a]\n{landing}process.command = 7"), "a list of words"),
        (
            format!("[source.a]\n{landing}process.command = ['a', '{{nam}}']"),
            "did you mean {name}?",
        ),
        (format!("[source.a]\n{landing}process.command = ['{{dir}}/run']"), "the program is"),
        (
            format!("[source.a]\n{landing}process = {{ command = 'ls {{dir}}', shell = true }}"),
            "$LONGSHORE_DIR",
        ),
        (format!("[source.a]\n{landing}max_attempts = 0"), "at least 1"),
        (format!("[source.a]\n{landing}incomplete = ['']"), "every folder"),
        (format!("[source.a]\n{landing}ignore = ['*']"), "`ignore`: the pattern \"*\""),
        (format!("[source.a]\n{landing}incomplete_inside = ['a/b']"), "without a slash"),
        (format!("[source.a]\n{landing}ready_when = '['"), "`ready_when`: the pattern"),
        (format!("[source.'A B']\n{landing}"), "a source's name"),
        (format!("workers = 0\n[source.a]\n{landing}"), "from 1 to 1024"),
        (format!("[source.a]\n{landing}settle = '1'"), "settle"),
        (format!("[source.a]\n{landing}framing = 'lax'"), "`strict`"),
        (
            format!("[source.a]\n{landing}password_file = 'a'\npassword_env = 'B'"),
            "one of them must go",
        ),
    ] {
        let error = Chain(&parse(&text).unwrap_err()).to_string();
        assert!(error.contains(part), "{text:?} gave {error:?}");
    }
}
