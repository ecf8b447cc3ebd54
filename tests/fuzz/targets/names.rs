//! Any raw names, with any flags, hosts and charset, through the planner: paths, or a refusal.
//!
//! In: bytes. The first chooses the configured charset; each entry is a head, a length and a raw
//! name. Out: nothing; an accepted plan must have the paths that [`check`] derives from the raw names
//! by rules of its own. How to run it: `docs/testing.md`.

#![no_main]

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::LazyLock;

use libdeflater::crc32;
use libfuzzer_sys::{Corpus, fuzz_target};
use longshore::error::{Disposition, Failure};
use longshore::extract::{Charset, EntryKind, Options, Plan};
use longshore::testkit::zip_writer::{Archive, Entry, extra};

/// What a source can have configured; `None`: the charset is detected.
const CHARSETS: [Option<&str>; 12] = [
    None,
    None,
    None,
    None,
    Some("UTF-8"),
    Some("Shift_JIS"),
    Some("GBK"),
    Some("Big5"),
    Some("EUC-KR"),
    Some("IBM866"),
    Some("windows-1252"),
    Some("CP437"),
];

/// Hosts of writers: DOS, Unix, NTFS, macOS.
const HOSTS: [u8; 4] = [0, 3, 10, 19];

/// The ZIP of this process, written anew for each input.
static ZIP: LazyLock<File> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::tempfile_in(parent).unwrap()
});

/// One entry of the input.
struct Name {
    raw: Vec<u8>,
    /// Bit 11.
    is_flagged: bool,
    /// It has an extra field with a Unicode name, in one header or in both.
    has_unicode_path: bool,
    entry: Entry,
}

impl Name {
    /// Takes the next one off `bytes`; `None` at their end.
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let [head, len, rest @ ..] = *bytes else { return None };
        let (raw, rest) = rest.split_at(rest.len().min(usize::from(len % 48)));
        *bytes = rest;
        let bit = |n: u8| head >> n & 1 == 1;
        let mut entry = Entry::stored(raw, b"");
        entry.host = HOSTS[usize::from(head & 3)];
        entry.attributes = match (bit(2), entry.host) {
            (true, 3 | 19) => 0o040_755 << 16,
            (true, _) => 0x10,
            (false, 3 | 19) => 0o100_644 << 16,
            (false, _) => 0x20,
        };
        let is_flagged = bit(3);
        entry.flags = if is_flagged { 1 << 11 } else { 0 };
        let has_unicode_path = bit(4);
        if has_unicode_path {
            // The rest of the input's bytes as a Unicode name: often that of the next entry.
            let unicode = &rest[..rest.len().min(usize::from(len / 16))];
            let mut body = vec![1];
            body.extend_from_slice(&crc32(raw).to_le_bytes());
            body.extend_from_slice(unicode);
            entry.extra = extra(0x7075, &body);
            if bit(5) {
                entry.local_extra.clone_from(&entry.extra);
            }
        }
        Some(Self { raw: raw.to_vec(), is_flagged, has_unicode_path, entry })
    }
}

/// Components of a text, by both separators.
fn parts(text: &str) -> Vec<&str> {
    text.split(['/', '\\']).filter(|part| !matches!(*part, "" | ".")).collect()
}

/// How many components a raw name may have at most where its charset was detected: a `\` right behind
/// a byte of 0x80 or more may be half a letter, so it separates nothing.
fn most_parts(raw: &[u8]) -> usize {
    let mut before = 0;
    let separated = |byte: &u8| {
        let separates = *byte == b'/' || (*byte == b'\\' && before < 0x80);
        before = *byte;
        separates
    };
    raw.split(separated).filter(|part| !matches!(*part, b"" | b".")).count()
}

/// What holds of every path that is accepted, whatever its raw name.
fn check_path(path: &str, kind: EntryKind) {
    if path.is_empty() {
        assert_eq!(kind, EntryKind::Folder, "the output folder itself is a file");
        return;
    }
    for part in path.split('/') {
        assert!(!matches!(part, "" | "." | ".."), "{path:?} has the component {part:?}");
        assert!(part.len() <= 255, "{path:?} has a component that no file system takes");
    }
    assert!(!path.contains(['\\', '\0']), "{path:?} has a letter that not all read alike");
}

/// What holds of a path and the raw name that it was made of; `configured` decodes every name.
fn check(path: &str, name: &Name, configured: Option<Charset>) {
    if name.has_unicode_path {
        return; // its path may be the extra field's
    }
    let found = parts(path);
    let utf8 = std::str::from_utf8(&name.raw).ok();
    if let Some(text) = utf8 {
        assert_eq!(found, parts(text), "a name that is UTF-8 was decoded as something else");
        return;
    }
    assert!(!name.is_flagged, "{path:?} is flagged as UTF-8 and is not");
    match configured.and_then(|charset| charset.decode(&name.raw)) {
        Some(text) => assert_eq!(found, parts(&text), "the configured charset was not used"),
        None => assert!(
            found.len() <= most_parts(&name.raw),
            "half a letter of {:?} separates {path:?}",
            name.raw.escape_ascii().to_string()
        ),
    }
}

/// No two entries want one path, and no file is a folder. A folder may be listed twice.
fn check_tree(plan: &Plan) {
    let mut kinds: HashMap<&str, EntryKind> = HashMap::new();
    for entry in plan.entries() {
        let before = kinds.insert(&entry.path, entry.kind);
        let both_folders = entry.kind == EntryKind::Folder && before == Some(EntryKind::Folder);
        assert!(before.is_none() || both_folders, "{:?} is there twice", entry.path);
    }
    for entry in plan.entries() {
        let mut parent = entry.parent();
        while !parent.is_empty() {
            let kind = kinds.get(parent);
            assert_ne!(kind, Some(&EntryKind::File), "{:?} is below a file", entry.path);
            parent = parent.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
    }
}

fn plan(options: &Options) -> Result<Plan, &'static str> {
    Plan::read(&ZIP, options).map_err(|error| {
        assert_eq!(error.disposition(), Disposition::Quarantine, "{error:?}");
        error.code()
    })
}

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Some((first, mut rest)) = bytes.split_first() else { return Corpus::Reject };
    let mut names = Vec::new();
    while names.len() < 16 {
        let Some(name) = Name::take(&mut rest) else { break };
        names.push(name);
    }
    let archive = Archive::of(names.iter().map(|name| name.entry.clone())).bytes();
    ZIP.set_len(0).unwrap();
    ZIP.write_all_at(&archive, 0).unwrap();

    let mut options = Options::default();
    options.charset = CHARSETS[usize::from(*first) % CHARSETS.len()].map(|it| it.parse().unwrap());
    let plan = match (plan(&options), plan(&options)) {
        (Ok(plan), Ok(again)) => {
            assert_eq!(plan.entries(), again.entries(), "two readings differ");
            assert_eq!((plan.charset(), plan.records()), (again.charset(), again.records()));
            plan
        }
        (plan, again) => {
            assert_eq!(plan.err(), again.err(), "two readings have two verdicts");
            return Corpus::Keep;
        }
    };
    // It is only promised to be used where it decodes every name that needs it. A name with a Unicode
    // path needs it only if that path is refused: there the plan says which charset it used.
    let needs_it = |name: &&Name| !name.is_flagged && std::str::from_utf8(&name.raw).is_err();
    let used = options.charset.filter(|charset| {
        let mut undecoded =
            names.iter().filter(needs_it).filter(|name| charset.decode(&name.raw).is_none());
        undecoded.all(|name| name.has_unicode_path && plan.charset() == *charset)
    });
    // In the order of the file, as they were written.
    assert_eq!(plan.entries().len(), names.len());
    for (index, (entry, name)) in plan.entries().iter().zip(&names).enumerate() {
        assert_eq!(plan.raw_name(index), name.raw);
        check_path(&entry.path, entry.kind);
        check(&entry.path, name, used);
    }
    check_tree(&plan);
    Corpus::Keep
});
