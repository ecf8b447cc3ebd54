//! `docs/codes.md` has every code of the engine, and no other, with the advice that the code gives.

use std::collections::BTreeMap;

use crate::extract::error::CODES;

/// Code and last column of each row of the page's first table, that of the engine.
fn rows() -> BTreeMap<String, String> {
    let page = include_str!("../../../docs/codes.md");
    let page = page.split("\n## ").next().unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (code, rest) = row.split_once("` |").unwrap();
        let advice = rest.trim_end().trim_end_matches('|').rsplit(" | ").next().unwrap();
        (code.to_owned(), advice.trim().replace('`', ""))
    })
    .collect()
}

#[test]
fn codes_page_has_every_code_and_its_advice_and_no_other() {
    let expected: BTreeMap<String, String> =
        CODES.iter().map(|(code, advice)| ((*code).to_owned(), (*advice).to_owned())).collect();
    let found = rows();
    for (code, advice) in &expected {
        assert_eq!(found.get(code), Some(advice), "{code} in docs/codes.md");
    }
    for code in found.keys() {
        assert!(expected.contains_key(code), "docs/codes.md has {code}, which the engine has not");
    }
}

#[test]
fn codes_that_variants_share_have_one_advice() {
    for (code, advice) in CODES {
        for (_, other) in CODES.iter().filter(|(other, _)| other == code) {
            assert_eq!(advice, other, "{code}");
        }
    }
}

#[test]
fn advice_names_the_option_that_helps() {
    for (code, option) in [
        ("prefix_data", "framing = \"lenient\""),
        ("trailing_data", "framing = \"lenient\""),
        ("gap", "framing = \"lenient\""),
        ("symlink", "symlinks = \"skip\""),
        ("ambiguous_charset", "charset"),
        ("ratio_too_high", "limits.ratio"),
        ("encrypted", "password_file"),
        ("multi_disk", "join the parts"),
    ] {
        let advice = CODES.iter().find(|(other, _)| *other == code).map(|(_, advice)| *advice);
        assert!(advice.is_some_and(|advice| advice.contains(option)), "{code}: {advice:?}");
    }
}
