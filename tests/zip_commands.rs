//! `test` and `unpack`, the ZIP engine by hand, and what a source can say about it: the real binary.

#![expect(clippy::unwrap_used, reason = "what fails in a test's set-up fails the test")]

mod common;

use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::daemon::{Daemon, Ended, run_to_end};
use common::zips::{self, Entry};
use common::{Node, Place, archived, names, tree};
use rustix::process::Signal;
use serde_json::Value;
use zip::write::SimpleFileOptions;
use zip::{AesMode, ZipWriter};

/// A place with ZIPs of every kind in it.
fn place() -> Place {
    let place = Place::new();
    let good = zips::deflated(&zips::sample(1));
    let mut prefixed = b"#!/bin/sh\n".to_vec();
    prefixed.extend(&good);
    let corrupt = zips::raw(&[Entry::file("a", b"data").with(|entry| entry.crc ^= 1)]);
    // Sound entries before it: something has been written when it is found.
    let mut late: Vec<Entry> = (0..600).map(|n| Entry::file(&format!("d/{n}"), b"fine")).collect();
    late.push(Entry::deflated("z", b"not what was sent").with(|entry| entry.crc ^= 1));
    let hostile = zips::raw(&[Entry::file("../../escaped", b"x")]);
    for (name, bytes) in [
        ("good.zip", good),
        ("prefixed.zip", prefixed),
        ("corrupt.zip", corrupt),
        ("late.zip", zips::raw(&late)),
        ("hostile.zip", hostile),
        ("locked.zip", locked()),
        ("right", b"open sesame\n".to_vec()),
        ("wrong", b"open barley\n".to_vec()),
        ("empty", Vec::new()),
    ] {
        fs::write(place.path(name), bytes).unwrap();
    }
    place
}

/// Encrypted by AES-256.
fn locked() -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().with_aes_encryption(AesMode::Aes256, "open sesame");
    zip.start_file("secret.txt", options).unwrap();
    zip.write_all(b"forty thieves\n").unwrap();
    zip.finish().unwrap().into_inner()
}

fn longshore(place: &Place, arguments: &[&str]) -> Ended {
    run_to_end(place.longshore(arguments))
}

fn objects(ended: &Ended) -> Vec<Value> {
    ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn test_of_a_sound_zip_says_what_it_would_write_and_writes_nothing() {
    let place = place();
    let before = tree(place.top());
    let ended = longshore(&place, &["test", "good.zip"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    for part in ["ok", "good.zip", "5 entries", "names UTF-8", "deflate 4"] {
        assert!(ended.out.contains(part), "no {part:?} in {}", ended.out);
    }
    assert!(tree(place.top()) == before, "something was written");
}

#[test]
fn test_of_a_refused_zip_gives_code_and_sentence() {
    let place = place();
    for (zip, code) in [
        ("corrupt.zip", "crc_mismatch"),
        ("late.zip", "crc_mismatch"),
        ("hostile.zip", "entry_escapes"),
        ("prefixed.zip", "prefix_data"),
        ("right", "no_end_record"),
    ] {
        let ended = longshore(&place, &["test", zip]);
        assert_eq!(ended.code, 1, "{zip}: {}", ended.err);
        let expected = format!("REFUSED  {zip}: {code}: failed to ");
        assert!(ended.out.starts_with(&expected), "{}", ended.out);
        let lines: Vec<_> = ended.out.lines().collect();
        assert_eq!(lines.len(), 2, "{}", ended.out);
        assert!(lines[1].starts_with("         what to do: "), "{}", ended.out);
    }
}

/// In CP866, which is not valid in Shift-JIS; and one that has data it must not have, or not.
fn russian(is_sound: bool) -> Vec<u8> {
    let raw = b"\x8f\xe0\xa8\xa2\xa5\xe2.txt";
    let file = Entry::file("", b"x").with(|entry| entry.name = raw.to_vec());
    let folder = Entry::file("d/", if is_sound { b"" } else { b"x" });
    zips::raw(&[file, folder])
}

/// What is said of a charset that does not decode `russian`.
const REMARK: &str = "charset Shift_JIS is not used: it does not decode the name of entry ";

#[test]
fn test_with_a_charset_that_does_not_fit_says_so_of_sound_and_refused_zips() {
    let place = place();
    for (is_sound, code) in [(true, 0), (false, 1)] {
        fs::write(place.path("russian.zip"), russian(is_sound)).unwrap();
        let arguments = ["russian.zip", "--charset", "Shift_JIS"];
        let ended = longshore(&place, &[&["test"], &arguments[..]].concat());
        assert_eq!(ended.code, code, "{}", ended.err);
        assert!(ended.out.contains(&format!("\n         remark: {REMARK}")), "{}", ended.out);
        let ended = longshore(&place, &[&["test", "--json"], &arguments[..]].concat());
        let found = objects(&ended).remove(0);
        assert!(found["remarks"][0].as_str().unwrap().starts_with(REMARK), "{found}");
        let ended = longshore(
            &place,
            &[&["test", "--json", "--charset", "CP866"], &arguments[..1]].concat(),
        );
        assert!(objects(&ended)[0].get("remarks").is_none(), "{}", ended.out);
        let ended = longshore(&place, &[&["unpack", "--to", "out"], &arguments[..]].concat());
        assert_eq!(ended.code, code, "{}", ended.err);
        assert!(ended.err.contains(REMARK), "{}", ended.err);
    }
}

#[test]
fn test_with_json_of_several_gives_an_object_each_and_1() {
    let place = place();
    let ended = longshore(&place, &["test", "--json", "good.zip", "corrupt.zip", "late.zip"]);
    assert_eq!(ended.code, 1, "{}", ended.err);
    let [good, corrupt, late] = &objects(&ended)[..] else { panic!("{}", ended.out) };
    assert_eq!((&good["v"], &good["ok"], &good["entries"]), (&1.into(), &true.into(), &5.into()));
    assert_eq!((&good["charset"], &good["methods"]["deflate"]), (&"UTF-8".into(), &4.into()));
    assert!(good["bytes"].as_u64() > Some(0) && good["ratio"].as_f64() > Some(0.0), "{good}");
    assert!(good.get("code").is_none(), "{good}");
    for refused in [corrupt, late] {
        assert_eq!((&refused["v"], &refused["ok"]), (&1.into(), &false.into()));
        assert_eq!(refused["code"], "crc_mismatch");
        assert!(refused["message"].as_str().unwrap().starts_with("verify entry"), "{refused}");
        assert!(refused["advice"].as_str().unwrap().starts_with("have it sent again"), "{refused}");
    }
}

#[test]
fn test_of_what_is_no_file_exits_66_and_looks_at_the_others() {
    let place = place();
    let ended =
        longshore(&place, &["test", "--json", "none.zip", "zip", "corrupt.zip", "good.zip"]);
    assert_eq!(ended.code, 66, "{}", ended.err);
    let codes: Vec<Value> = objects(&ended).iter().map(|of| of["code"].clone()).collect();
    let expected =
        ["no_such_file".into(), "no_such_file".into(), "crc_mismatch".into(), Value::Null];
    assert_eq!(codes, expected);
}

#[test]
fn test_without_a_zip_or_with_an_unknown_word_exits_2() {
    let place = place();
    for (arguments, part) in [
        (&["test"][..], "<ZIP>"),
        (&["test", "good.zip", "--framing", "lax"], "`strict`"),
        (&["test", "good.zip", "--charset", "klingon"], "no charset"),
        (&["test", "good.zip", "--password-file", "empty"], "empty"),
        (&["unpack", "good.zip"], "--to"),
    ] {
        let ended = longshore(&place, arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.err);
        assert!(ended.err.contains(part), "{arguments:?}: {}", ended.err);
    }
}

#[test]
fn test_into_a_closed_pipe_does_not_panic() {
    let place = place();
    let mut command = place.longshore(&["test"]);
    command.args(vec!["good.zip"; 50]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn test_heeds_limits_framing_and_password() {
    let place = place();
    for (arguments, code) in [
        (&["good.zip", "--max-entries", "4"][..], Some("too_many_entries")),
        (&["good.zip", "--max-entry", "1KiB"], Some("entry_too_large")),
        (&["good.zip", "--max-depth", "1"], Some("too_deep")),
        (&["prefixed.zip", "--framing", "lenient"], None),
        (&["locked.zip"], Some("encrypted")),
        (&["locked.zip", "--password-file", "wrong"], Some("wrong_password")),
        (&["locked.zip", "--password-file", "right"], None),
    ] {
        let ended = longshore(&place, &[&["test", "--json"], arguments].concat());
        let found = objects(&ended).remove(0);
        assert_eq!(found["code"].as_str(), code, "{arguments:?}: {found}");
        assert_eq!(ended.code, i32::from(code.is_some()), "{arguments:?}");
    }
}

#[test]
fn unpack_gives_what_was_packed() {
    let place = place();
    let ended = longshore(&place, &["unpack", "good.zip", "--to", "deep/out"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let mut expected = archived("x", &zips::sample(1), Vec::new());
    expected.remove(&PathBuf::from("x.zip"));
    assert_eq!(tree(&place.path("deep/out")), expected);
    assert!(ended.out.starts_with("unpacked "), "{}", ended.out);
}

#[test]
fn unpack_into_an_empty_folder_keeps_it_and_into_another_is_refused() {
    let place = place();
    fs::create_dir(place.path("out")).unwrap();
    assert_eq!(longshore(&place, &["unpack", "good.zip", "--to", "out"]).code, 0);
    let before = tree(place.top());
    let again = longshore(&place, &["unpack", "good.zip", "--to", "out"]);
    assert_eq!(again.code, 1, "{}", again.err);
    assert!(again.err.contains("something in it already"), "{}", again.err);
    assert!(tree(place.top()) == before, "a refusal changed something");
    assert_eq!(longshore(&place, &["unpack", "good.zip", "--to", "good.zip"]).code, 74);
}

#[test]
fn unpack_that_fails_leaves_nothing_behind() {
    let place = place();
    fs::create_dir(place.path("there")).unwrap();
    let before = tree(place.top());
    for (zip, code, exit) in [
        ("late.zip", "crc_mismatch", 1),
        ("hostile.zip", "entry_escapes", 1),
        ("locked.zip", "encrypted", 1),
        ("none.zip", "none.zip", 66),
    ] {
        for to in ["there", "new/deep"] {
            let ended = longshore(&place, &["unpack", zip, "--to", to]);
            assert_eq!(ended.code, exit, "{zip}: {}", ended.err);
            assert!(ended.err.contains(code), "{zip}: {}", ended.err);
            assert!(tree(place.top()) == before, "{zip} left something in {to}");
        }
    }
}

#[test]
fn unpack_without_permission_exits_77() {
    let place = place();
    fs::create_dir(place.path("closed")).unwrap();
    let closed = fs::Permissions::from_mode(0o555);
    fs::set_permissions(place.path("closed"), closed).unwrap();
    let command = place.longshore(&["unpack", "good.zip", "--to", "closed/out"]);
    let ended = run_to_end(place.unprivileged(command));
    assert_eq!(ended.code, 77, "{}", ended.err);
    assert_eq!(names(&place.path("closed")), [""; 0]);
}

/// More than can be unpacked before a signal arrives: 3 GiB in 3 MiB.
fn endless() -> Vec<u8> {
    let zeros = vec![0; 1 << 20];
    let mut compress = flate2::Compress::new(flate2::Compression::best(), false);
    let mut block = Vec::with_capacity(8 << 10);
    // It refers to nothing before it, and may be repeated.
    compress.compress_vec(&zeros, &mut block, flate2::FlushCompress::Full).unwrap();
    let body = [block.repeat(3 << 10), vec![3, 0]].concat();
    let zeros = Entry::file("zeros", b"").with(|entry| {
        (entry.method, entry.size, entry.body) = (8, 3 << 30, body);
    });
    zips::raw(&[Entry::file("first", b"complete"), zeros])
}

/// Starts to unpack `endless.zip` and returns when a part of it is on disk.
fn half_way(place: &Place, to: &str) -> Daemon {
    let arguments = ["unpack", "endless.zip", "--to", to, "--max-ratio", "100000"];
    let mut unpack = Daemon::spawn(place.longshore(&arguments));
    unpack.wait_until("a part is on disk", || {
        let private = fs::read_dir(place.path(to)).into_iter().flatten().flatten();
        let sizes = private.filter_map(|of| fs::metadata(of.path().join("zeros")).ok());
        sizes.map(|of| of.len()).sum::<u64>() > 0
    });
    unpack
}

#[test]
fn unpack_stopped_by_a_signal_leaves_nothing_and_says_which() {
    let place = place();
    fs::write(place.path("endless.zip"), endless()).unwrap();
    fs::create_dir(place.path("there")).unwrap();
    let before = tree(place.top());
    for (to, signal) in [("there", Signal::TERM), ("new/deep", Signal::INT)] {
        let mut unpack = half_way(&place, to);
        unpack.signal(signal);
        let code = unpack.code();
        assert_eq!(code, 128 + signal.as_raw(), "{}", unpack.log());
        assert!(unpack.log().contains("stopped"), "{}", unpack.log());
        assert!(!unpack.log().contains("unpacked "), "it was called good: {}", unpack.log());
        assert!(tree(place.top()) == before, "{signal:?} left something in {to}");
    }
}

#[test]
fn unpack_that_is_killed_leaves_nothing_under_its_name() {
    let place = place();
    fs::write(place.path("endless.zip"), endless()).unwrap();
    let mut unpack = half_way(&place, "out");
    unpack.kill();
    let left: Vec<_> = fs::read_dir(place.path("out")).unwrap().flatten().collect();
    let private = |of: &fs::DirEntry| of.file_name().to_string_lossy().starts_with(".longshore-");
    assert!(left.iter().all(private), "a part passes for the whole: {left:?}");
    let again = longshore(&place, &["unpack", "good.zip", "--to", "out"]);
    assert_eq!(again.code, 1, "into what is left of another: {}", again.out);
}

#[test]
fn unpack_with_the_right_password_only() {
    let place = place();
    let with = |password| ["unpack", "locked.zip", "--to", "out", "--password-file", password];
    let wrong = longshore(&place, &with("wrong"));
    assert_eq!(wrong.code, 1, "{}", wrong.err);
    assert!(wrong.err.contains("wrong_password") && !wrong.err.contains("barley"), "{}", wrong.err);
    assert!(!place.path("out").exists(), "a failure left its folder");
    assert_eq!(longshore(&place, &with("none")).code, 66);
    assert_eq!(longshore(&place, &with("right")).code, 0);
    let expected = Node::File(b"forty thieves\n".to_vec());
    assert_eq!(tree(&place.path("out"))[&PathBuf::from("secret.txt")], expected);
}

fn once(place: &Place, more: &str) -> Command {
    place.run_with(&place.config(&format!("settle = \"0s\"\n{more}")), &["--once"])
}

#[test]
fn source_with_a_charset_zone_or_password_that_cannot_be_used_exits_78() {
    let place = place();
    for (more, part) in [
        ("charset = \"klingon\"", "\"klingon\" is no charset"),
        ("zone = \"Mars/Base\"", "no time zone"),
        ("password_file = \"none\"", "read the password from"),
        ("password_file = \"empty\"", "it is empty"),
        ("password_env = \"LONGSHORE_NOT_SET\"", "is not set"),
    ] {
        let ended = run_to_end(once(&place, more));
        assert_eq!(ended.code, 78, "{more}: {}", ended.err);
        assert!(ended.err.contains("source default") && ended.err.contains(part), "{}", ended.err);
    }
}

#[test]
fn source_with_a_charset_that_does_not_fit_says_so_in_log_and_reason() {
    let place = place();
    place.deliver("sound", &russian(true));
    place.deliver("broken", &russian(false));
    let ended = run_to_end(once(&place, "charset = \"Shift_JIS\""));
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert_eq!(ended.err.matches(REMARK).count(), 2, "{}", ended.err);
    assert!(place.archive().join("sound/Привет.txt").exists(), "{}", ended.err);
    let (_, reason) = place.quarantined("broken");
    assert_eq!(reason["code"], "folder_with_data");
    let note = &reason["notes"][0];
    assert_eq!(note[0], "remark");
    assert!(note[1].as_str().unwrap().starts_with(REMARK), "{reason}");
}

#[test]
fn source_with_a_name_of_64_kib_keeps_log_and_reason_short() {
    let place = place();
    let name = Entry::file("", b"x").with(|entry| {
        (entry.name, entry.flags) = (vec![0xff; 65_535], 1 << 11);
    });
    place.deliver("long", &zips::raw(&[name]));
    let ended = run_to_end(once(&place, ""));
    assert_eq!(ended.code, 1, "{}", ended.err);
    let (folder, _) = place.quarantined("long");
    let reason = fs::metadata(folder.join("reason.json")).unwrap().len();
    let line = ended.err.lines().map(str::len).max().unwrap();
    assert!(reason < 4096 && line < 4096, "{reason} bytes of reason, {line} of log");
}

#[test]
fn source_with_lenient_framing_takes_a_prefixed_zip_that_strict_quarantines() {
    let place = place();
    let zip = fs::read(place.path("prefixed.zip")).unwrap();
    place.deliver("first", &zip);
    assert_eq!(run_to_end(once(&place, "")).code, 1);
    assert_eq!(place.quarantined("first").1["code"], "prefix_data");
    place.deliver("second", &zip);
    let ended = run_to_end(once(&place, "framing = \"lenient\""));
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(tree(&place.archive().join("second")), archived("second", &zips::sample(1), zip));
}

#[test]
fn source_with_a_password_takes_what_it_opens_and_never_shows_it() {
    let place = place();
    for (name, more) in [
        ("by-file", "password_file = \"right\""),
        ("by-env", "password_env = \"PACKAGE_PASSWORD\""),
    ] {
        place.deliver(name, &locked());
        let mut command =
            place.run_with(&place.config(&format!("settle = \"0s\"\n{more}")), &["--once", "-vv"]);
        command.env("PACKAGE_PASSWORD", "open sesame");
        let ended = run_to_end(command);
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert!(!format!("{}{}", ended.out, ended.err).contains("sesame"), "it was logged");
        assert!(place.archive().join(name).join("secret.txt").exists());
    }
}

#[test]
fn source_that_refuses_collisions_or_reserved_names_quarantines_what_the_default_takes() {
    let place = place();
    let cases: [(&str, &str, &[&str], &str); 4] = [
        ("case", "collisions", &["Read.me", "READ.ME"], "name_collision"),
        ("form", "collisions", &["\u{e9}", "e\u{301}"], "name_collision"),
        ("device", "reserved_names", &["fine", "logs/aux.txt"], "bad_name"),
        ("colon", "reserved_names", &["12:30.txt"], "bad_name"),
    ];
    for (name, key, paths, code) in cases {
        let files: zips::Files =
            paths.iter().map(|path| ((*path).to_owned(), path.as_bytes().to_vec())).collect();
        let expected = place.deliver_files(name, &files);
        let ended = run_to_end(once(&place, ""));
        assert_eq!(ended.code, 0, "{name}: {}", ended.err);
        assert_eq!(tree(&place.archive().join(name)), expected, "{name} by default");

        let refused = format!("{name}-refused");
        place.deliver_files(&refused, &files);
        let ended = run_to_end(once(&place, &format!("{key} = \"refuse\"")));
        assert_eq!(ended.code, 1, "{name}: {}", ended.err);
        let (folder, reason) = place.quarantined(&refused);
        assert_eq!(reason["code"], code, "{name}");
        assert_eq!(names(&folder), ["delivered", "reason.json"], "{name}: something was unpacked");

        let allowed = format!("{name}-allowed");
        place.deliver_files(&allowed, &files);
        let ended = run_to_end(once(&place, &format!("{key} = \"allow\"")));
        assert_eq!(ended.code, 0, "{name}: {}", ended.err);
    }
}

#[test]
fn source_that_skips_symlinks_leaves_them_out_and_one_that_does_not_quarantines() {
    let place = place();
    let link = |name: &str, target: &str| {
        Entry::file(name, target.as_bytes()).with(|entry| entry.mode = 0o120_777)
    };
    let zip = zips::raw(&[
        link("link", "/etc/passwd"),
        Entry::file("kept.txt", b"kept"),
        link("d/up", "../.."),
    ]);
    for (name, more) in [("plain", ""), ("told", "symlinks = \"refuse\"")] {
        place.deliver(name, &zip);
        assert_eq!(run_to_end(once(&place, more)).code, 1, "{name}");
        assert_eq!(place.quarantined(name).1["code"], "symlink", "{name}");
    }
    place.deliver("skipped", &zip);
    let ended = run_to_end(once(&place, "symlinks = \"skip\""));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let files = [("kept.txt".to_owned(), b"kept".to_vec()), ("d/".to_owned(), Vec::new())];
    let expected = archived("skipped", &files.into(), zip);
    assert_eq!(tree(&place.archive().join("skipped")), expected, "its folder stays");
    place.deliver("over", &zips::raw(&[link("over.zip/up", "..")]));
    assert_eq!(run_to_end(once(&place, "symlinks = \"skip\"")).code, 1);
    assert_eq!(place.quarantined("over").1["code"], "entry_over_original");
}
