//! Names in old charsets, and names with odd letters.

use encoding_rs::{BIG5, Encoding, GBK, SHIFT_JIS};

use super::*;

/// Files of these raw names, written on a DOS host.
pub(super) fn dos<N: AsRef<[u8]>>(names: impl IntoIterator<Item = N>) -> Archive {
    Archive::of(names.into_iter().map(|name| Entry::stored(name, b"x").with(host_dos)))
}

fn on_unix(mut archive: Archive) -> Archive {
    for entry in &mut archive.entries {
        (entry.host, entry.attributes) = (3, 0o100_644 << 16);
    }
    archive
}

pub(super) fn encoded(encoding: &'static Encoding, names: &[&str]) -> Vec<Vec<u8>> {
    names.iter().map(|name| encoding.encode(name).0.into_owned()).collect()
}

/// In a code page of DOS.
fn in_page(page: u16, name: &str) -> Vec<u8> {
    let table = oem_cp::code_table::ENCODING_TABLE_CP_MAP.get(&page).unwrap();
    oem_cp::encode_string_checked(name, table).unwrap()
}

fn with_charset(label: &str) -> Options {
    Options { charset: Some(label.parse().unwrap()), ..Options::default() }
}

/// The paths that an archive gives, sorted; or the code of its refusal.
fn paths(archive: &Archive, options: &Options) -> Result<Vec<String>, &'static str> {
    let tree = unpack(&archive.bytes(), options).map_err(|error| error.code())?;
    Ok(tree.into_keys().collect())
}

fn sorted(names: &[&str]) -> Vec<String> {
    let mut names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    names.sort();
    names
}

const JAPANESE: [&str; 11] = [
    "予定表.xlsx",
    "能力開発.doc",
    "表紙.doc",
    "十月の予定.txt",
    "ソース.txt",
    "申請書.pdf",
    "構成図.png",
    "議事録.txt",
    "会議資料.ppt",
    "データ.csv",
    "報告書.doc",
];
const TRADITIONAL: [&str; 11] = [
    "功能表.xls",
    "許可證.txt",
    "成功案例.doc",
    "說明書.txt",
    "測試資料.txt",
    "會議紀錄.doc",
    "育嬰假.pdf",
    "公告.txt",
    "功課表.xls",
    "申請書.doc",
    "圖片.png",
];

#[test]
fn half_a_letter_is_no_separator_with_one_name_or_with_many() {
    for (encoding, names) in [(SHIFT_JIS, &JAPANESE), (BIG5, &TRADITIONAL)] {
        let single: Vec<&[&str]> = names.iter().map(std::slice::from_ref).collect();
        let several: Vec<&[&str]> = names.windows(3).chain([&names[..]]).collect();
        for names in single.into_iter().chain(several) {
            let raw = encoded(encoding, names);
            if !raw.iter().any(|raw| raw.contains(&b'\\')) {
                continue;
            }
            for archive in [dos(&raw), on_unix(dos(&raw))] {
                let found = paths(&archive, &Options::default());
                assert_eq!(found, Ok(sorted(names)), "{} {names:?}", encoding.name());
            }
        }
    }
}

#[test]
fn half_a_letter_in_gbk_is_told_by_the_other_names() {
    // 乗 has 5C, and is not among the common letters: alone it could be Shift-JIS as well.
    let names = ["乗客名单.xls", "说明文件.txt", "测试数据.csv"];
    let found = paths(&dos(encoded(GBK, &names)), &Options::default());
    assert_eq!(found, Ok(sorted(&names)));
    // None of them common, but nothing else reads all of them.
    let traditional = [
        "項目經理.doc",
        "張俊傑.doc",
        "淺談.txt",
        "網絡設置.txt",
        "許可證.pdf",
        "歸檔.txt",
        "會議記錄.doc",
    ];
    let found = paths(&dos(encoded(GBK, &traditional)), &Options::default());
    assert_eq!(found, Ok(sorted(&traditional)));
    let alone = dos(encoded(GBK, &["乗.txt"]));
    assert_eq!(paths(&alone, &Options::default()), Err("ambiguous_charset"));
    assert_eq!(paths(&alone, &with_charset("GBK")), Ok(sorted(&["乗.txt"])));
}

#[test]
fn backslash_behind_a_byte_that_is_not_ascii_is_a_separator_only_where_that_is_said() {
    let menu = in_page(850, "Menü\\Datei.txt");
    for archive in [dos([&menu]), on_unix(dos([&menu]))] {
        let error = unpack(&archive.bytes(), &Options::default()).unwrap_err();
        assert_eq!(error.code(), "ambiguous_charset");
        assert!(error.advice().contains("charset"), "{}", error.advice());
    }
    // Cyrillic letters in pairs are letters of GBK, but together they look like what they are.
    let russian = ["Документы\\файл.txt", "Фотографии\\отпуск.jpg", "Договоры\\проект.doc"];
    for names in [&russian[..1], &russian] {
        let archive = dos(names.iter().map(|name| in_page(866, name)));
        assert_eq!(paths(&archive, &Options::default()), Err("ambiguous_charset"), "{names:?}");
    }
    let configured = paths(&dos([&menu]), &with_charset("CP850"));
    assert_eq!(configured, Ok(sorted(&["Menü", "Menü/Datei.txt"])));
    assert_eq!(paths(&on_unix(dos([&menu])), &with_charset("CP850")), Err("bad_name"));
    // Behind an ASCII byte it is one.
    let ascii = dos([in_page(850, "Liste\\Übersicht.txt")]);
    let found = paths(&ascii, &Options::default());
    assert_eq!(found, Ok(sorted(&["Liste", "Liste/Übersicht.txt"])));
    let both = dos(encoded(SHIFT_JIS, &["data\\予定表.xlsx", "data\\会議資料.ppt"]));
    let found = paths(&both, &Options::default());
    assert_eq!(found, Ok(sorted(&["data", "data/予定表.xlsx", "data/会議資料.ppt"])));
    // As it is where the name is UTF-8.
    for flags in [0, 1 << 11] {
        let utf8 = Entry::stored("表\\予定.txt", b"x").with(host_dos).with(|e| e.flags = flags);
        let found = paths(&Archive::of([utf8]), &Options::default());
        assert_eq!(found, Ok(sorted(&["表", "表/予定.txt"])));
    }
}

#[test]
fn charset_that_cannot_be_told_is_refused_with_what_it_could_be() {
    // Two common letters and a rare one, in Big5 and in GBK.
    let raw = b"\xb3\x5c\xc9\xa1\xb0\xa1.txt";
    let error = unpack(&dos([raw]).bytes(), &Options::default()).unwrap_err();
    assert_eq!(error.code(), "ambiguous_charset");
    let text = error.to_string();
    for charset in ["Big5", "GBK"] {
        let reading = charset.parse::<Charset>().unwrap().decode(raw).unwrap().into_owned();
        assert!(text.contains(&format!("{charset} says \"{reading}\"")), "{text}");
    }
    let error = unpack(&dos([b"caf\x82\\1.txt"]).bytes(), &Options::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(r#""caf\x82\\1.txt": its byte 5c"#), "{text}");
}

#[test]
fn western_names_of_dos_come_out_right() {
    let names = ["Übersicht.xls", "Ärger.txt", "Fußball.doc"];
    for page in [437, 850] {
        for names in [&names[..1], &names[1..2], &names[2..], &names] {
            let found =
                paths(&dos(names.iter().map(|name| in_page(page, name))), &Options::default());
            assert_eq!(found, Ok(sorted(names)), "{page} {names:?}");
        }
    }
    // Letters that CP437 does not have.
    for names in [&["Ação.txt", "São Paulo.doc"][..], &["Blåbærgrød.txt", "Ærø.txt"]] {
        let found = paths(&dos(names.iter().map(|name| in_page(850, name))), &Options::default());
        assert_eq!(found, Ok(sorted(names)), "{names:?}");
    }
    let russian = ["Привет.txt", "документ.txt", "Новая папка"];
    let found = paths(&dos(russian.iter().map(|name| in_page(866, name))), &Options::default());
    assert_eq!(found, Ok(sorted(&russian)));
}

#[test]
fn name_that_is_utf8_is_read_by_itself_and_the_others_together() {
    let utf8 = |name: &str| Entry::stored(name, b"x");
    let others = ["测试文档与报告.txt", "说明文件.txt"];
    let mixed = || {
        let gbk = encoded(GBK, &others).into_iter().map(|raw| Entry::stored(raw, b"x"));
        Archive::of([utf8("中文文件/说明书.txt")].into_iter().chain(gbk.map(|e| e.with(host_dos))))
    };
    let expected = sorted(&["中文文件", "中文文件/说明书.txt", others[0], others[1]]);
    for options in [Options::default(), with_charset("GBK")] {
        assert_eq!(paths(&mixed(), &options), Ok(expected.clone()));
    }
    // One odd name, and nothing becomes of the others.
    let odd =
        Archive::of([utf8("日本語.txt"), utf8("Ölfässer.txt"), Entry::stored(b"\x8fA", b"x")]);
    let found = paths(&odd, &Options::default()).unwrap();
    for name in ["日本語.txt", "Ölfässer.txt"] {
        assert!(found.contains(&name.to_owned()), "{found:?}");
    }
}

fn remarks(archive: &Archive, options: &Options) -> (Result<String, &'static str>, Vec<String>) {
    let mut zip = tempfile::tempfile().unwrap();
    zip.write_all(&archive.bytes()).unwrap();
    let mut remarks = Vec::new();
    let plan = Plan::read_remarking(&zip, options, &mut remarks);
    let plan = plan.map(|plan| plan.charset().to_string()).map_err(|error| error.code());
    (plan, remarks.iter().map(Remark::to_string).collect())
}

#[test]
fn charset_that_does_not_decode_a_name_is_reported_whatever_becomes_of_the_archive() {
    let said = |raw: &[u8]| {
        let name = EntryName::raw(raw);
        vec![format!("charset Shift_JIS is not used: it does not decode the name of entry {name}")]
    };
    let options = with_charset("Shift_JIS");
    let russian = ["Привет.txt", "документ.txt"];
    let archive = dos(russian.iter().map(|name| in_page(866, name)));
    let (found, remarked) = remarks(&archive, &options);
    assert_eq!(found, Ok("IBM866".to_owned()));
    assert_eq!(remarked, said(&in_page(866, russian[0])));
    // The archive is refused for its names: the remark says what of.
    let (found, remarked) = remarks(&dos([b"\xfd\x5c.txt"]), &options);
    assert_eq!(found, Err("ambiguous_charset"));
    assert_eq!(remarked, said(b"\xfd\x5c.txt"));
    // One that decodes all of them is used, and nothing is said; nor where it has nothing to decode.
    let (found, remarked) = remarks(&dos(encoded(SHIFT_JIS, &JAPANESE)), &options);
    assert_eq!((found, remarked), (Ok("Shift_JIS".to_owned()), vec![]));
    let (found, remarked) = remarks(&dos(["a".as_bytes(), "é".as_bytes()]), &options);
    assert_eq!((found, remarked), (Ok("UTF-8".to_owned()), vec![]));
}

#[test]
fn icon_of_macos_is_the_only_name_with_a_control_character() {
    for (name, expected) in [
        (&b"Icon\r"[..], "ok"),
        (b"a/Icon\r", "ok"),
        (b"__MACOSX/a/._Icon\r", "ok"),
        (b"Icon\r/a", "bad_name"),
        (b"Icon\n", "bad_name"),
        (b"Icon\r\r", "bad_name"),
        (b"icon\r", "bad_name"),
        (b"xIcon\r", "bad_name"),
        (b"a\r/Icon\r", "bad_name"),
        (b"..\r", "bad_name"),
    ] {
        assert_eq!(code(&named(name), &Options::default()), expected, "{name:?}");
    }
    let folder = Entry::folder("Icon\r");
    assert_eq!(code(&Archive::of([folder]), &Options::default()), "bad_name");
}

#[test]
fn name_of_64_kib_in_a_refusal_is_cut() {
    for name in [vec![0xff; 65_535], vec![b'x'; 65_535], b"a/".repeat(32_000)] {
        for flags in [0, 1 << 11] {
            let archive = Archive::of([Entry::stored(&name, b"x").with(|e| e.flags = flags)]);
            let error = unpack(&archive.bytes(), &Options::default()).unwrap_err();
            let len = error.to_string().len() + format!("{error:?}").len();
            assert!(len < 1000, "{} has {len} bytes", error.code());
        }
    }
    let other = Archive::of([Entry::stored("x/".repeat(50) + "x", b"x").with(|e| {
        e.local_name = Some(vec![0xff; 65_535]);
    })]);
    let error = unpack(&other.bytes(), &Options::default()).unwrap_err();
    assert_eq!(error.code(), "local_name_mismatch");
    assert!(error.to_string().len() < 600, "{error}");
}

#[test]
fn name_in_a_refusal_is_escaped_once_and_shows_what_differs() {
    let message = |archive: Archive| unpack(&archive.bytes(), &Options::default()).unwrap_err();
    let marked = named(b"a\xff").with(|a| a.entries[0].flags = 1 << 11);
    assert!(message(marked).to_string().contains(r#""a\xff""#));
    let separators = dos(["a\\b"]).with(|a| a.entries[0].local_name = Some(b"a/b".to_vec()));
    let text = message(separators).to_string();
    assert!(text.contains(r#""a\\b""#) && text.contains(r#""a/b""#), "{text}");
}
