//! Framing: overlaps, zip64 fields, end records, descriptors, and what `lenient` lets pass.

use super::*;

#[test]
fn framing_that_is_lenient_accepts_what_nobody_asked_for_and_nothing_else() {
    let lenient = Options { framing: Framing::Lenient, ..Options::default() };
    let pair = || Archive::of([file("a"), file("b").streamed()]);
    for (what, archive) in [
        ("trailing bytes", pair().with(|a| a.suffix = vec![0; 5])),
        ("prefix", pair().with(|a| a.prefix = b"#!/bin/sh\n".to_vec())),
        ("prefix, zip64", pair().with(|a| (a.prefix, a.zip64) = (b"#!/bin/sh\n".to_vec(), true))),
        ("prefix counted", one(|e| e.gap = b"#!sh".to_vec())),
        ("gap", Archive::of([file("a"), file("b").with(|e| e.gap = vec![0])])),
        ("signing block", pair().with(|a| a.before_directory = vec![7; 999])),
        ("gap before the end record", pair().with(|a| a.before_end = vec![0; 9])),
    ] {
        assert_eq!(code(&archive, &lenient), "ok", "{what}");
    }
    for (expected, archive) in [
        ("overlap", Archive::of([file("a"), file("a").with(|e| e.offset = Some(0))])),
        ("local_mismatch", one(|e| e.local_method = Some(0))),
        ("end_record_mismatch", pair().with(|a| a.count = Some(1))),
        ("entry_escapes", named(b"../a")),
        ("several_end_records", pair().with(|a| a.comment = Archive::default().bytes())),
    ] {
        assert_eq!(code(&archive, &lenient), expected);
    }
}

/// A local record that is another entry's data: both entries read well by themselves.
fn quoted() -> Archive {
    let inner = file("b");
    let whole = Archive::of([inner.clone()]).bytes();
    let record = &whole[..30 + 1 + inner.data.len()];
    Archive::of([Entry::stored("a", record), inner.with(|e| e.offset = Some(31))])
}

#[test]
fn hostile_overlap_is_refused_however_framing_is_read() {
    let reaching = |bytes| Archive::of([file("a").with(|e| e.compressed += bytes), file("b")]);
    for framing in [Framing::Strict, Framing::Lenient] {
        let cases = vec![
            ("quoted record", quoted(), "overlap"),
            ("into the next header", reaching(1), "overlap"),
            ("over the next entry", reaching(60), "overlap"),
            ("into the directory", one(|e| e.compressed += 1), "overlap"),
            ("beyond the file", one(|e| e.compressed += 9999), "overlap"),
            (
                "same header",
                Archive::of([file("a"), file("b").with(|e| e.offset = Some(0))]),
                "overlap",
            ),
        ];
        expect_codes(cases, &Options { framing, ..Options::default() });
    }
}

/// Says size, compressed size or both in a zip64 extra field, in both headers.
fn wide(entry: Entry, size: u64, compressed: Option<u64>) -> Entry {
    let mut body = size.to_le_bytes().to_vec();
    let mut entry = entry.with(|e| e.size = u32::MAX);
    if let Some(compressed) = compressed {
        entry.compressed = u32::MAX;
        body.extend(compressed.to_le_bytes());
    }
    entry.with(|e| (e.extra, e.local_extra) = (extra(1, &body), extra(1, &body)))
}

#[test]
fn hostile_zip64_field_is_refused_and_an_honest_one_is_read() {
    let len = file("a").data.len() as u64;
    let at = |offset: u64| {
        one(|e| (e.offset, e.extra) = (Some(u32::MAX), extra(1, &offset.to_le_bytes())))
    };
    let pair = |size| Archive::of([wide(file("a"), size, None), wide(file("b"), size, None)]);
    let cases = vec![
        ("size", Archive::of([wide(file("a"), 20, None)]), "ok"),
        ("both sizes", Archive::of([wide(file("a"), 20, Some(len))]), "ok"),
        ("offset", at(0), "ok"),
        ("offset outside", at(1 << 63), "overlap"),
        ("offset that wraps", at(u64::MAX), "overlap"),
        ("too short", one(|e| (e.size, e.extra) = (u32::MAX, extra(1, &[0; 4]))), "malformed"),
        ("too long", one(|e| (e.size, e.extra) = (u32::MAX, extra(1, &[7; 16]))), "malformed"),
        (
            "compressed size that wraps",
            Archive::of([wide(file("a"), 20, Some(u64::MAX - 30))]),
            "overlap",
        ),
        (
            "only in the directory",
            Archive::of([wide(file("a"), 20, None).with(|e| e.local_extra = vec![])]),
            "local_mismatch",
        ),
        (
            "one that is too large",
            Archive::of([wide(file("a"), u64::MAX, None)]),
            "entry_too_large",
        ),
        ("sum that is too large", pair(1 << 40), "total_too_large"),
        ("ratio by declaration", pair(1 << 38), "ratio_too_high"),
    ];
    expect_codes(cases, &Options::default());

    let mut boundless = Options::default();
    boundless.limits.total_bytes = u64::MAX;
    boundless.limits.entry_bytes = u64::MAX;
    assert_eq!(code(&pair(u64::MAX), &boundless), "ratio_too_high", "sizes wrap");
    boundless.limits.ratio_from_bytes = u64::MAX;
    assert_eq!(code(&pair(1 << 60), &boundless), "data_too_short", "only the data can tell");
}

#[test]
fn hostile_end_record_is_refused() {
    let sound = Archive::of([file("a"), file("b")]).with(|a| a.zip64 = true).bytes();
    let (end64, locator, end) = (sound.len() - 98, sound.len() - 42, sound.len() - 22);
    let patched = |patches: &[(usize, &[u8])]| {
        let mut bytes = sound.clone();
        for (at, patch) in patches {
            bytes[*at..at + patch.len()].copy_from_slice(patch);
        }
        code_of(&bytes, &Options::default())
    };
    let full = [0xff; 2];
    let huge = (1_u64 << 40).to_le_bytes();
    for (what, patches, expected) in [
        ("none", &[][..], "ok"),
        ("full fields", &[(end + 8, &[0xff; 12][..])][..], "ok"),
        ("entries here", &[(end + 8, &[1])], "end_record_mismatch"),
        ("entries", &[(end64 + 32, &[3])], "end_record_mismatch"),
        ("size of the directory", &[(end64 + 40, &[1])], "end_record_mismatch"),
        ("offset of the directory", &[(end64 + 48, &[1])], "end_record_mismatch"),
        (
            "a million million entries",
            &[(end + 8, &full), (end + 10, &full), (end64 + 24, &huge), (end64 + 32, &huge)],
            "too_many_entries",
        ),
        ("no zip64 end record", &[(end64, b"xx")], "malformed"),
        ("locator outside", &[(locator + 8, &[0xff; 8])], "malformed"),
        ("locator elsewhere", &[(locator + 8, &[0; 8])], "malformed"),
        ("length of the record", &[(end64 + 4, &[45])], "malformed"),
        ("two disks", &[(locator + 16, &[2])], "multi_disk"),
        ("another disk", &[(end64 + 16, &[1])], "multi_disk"),
        ("no locator", &[(locator, b"xx")], "gap"),
        ("comment that is not there", &[(end + 20, &[1])], "no_end_record"),
    ] {
        assert_eq!(patched(patches), expected, "{what}");
    }

    let two = [Archive::of([file("a")]).bytes(), Archive::of([file("b")]).bytes()].concat();
    assert_eq!(code_of(&two, &Options::default()), "prefix_data", "two archives in a row");
    let directory = sound.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    let again = Archive::of([file("a"), file("b")])
        .with(|a| a.before_directory = sound[directory..end64].to_vec());
    assert_eq!(code(&again, &Options::default()), "gap", "two central directories");
    let nested = Archive::of([Entry::stored("a.zip", &sound)]);
    assert_eq!(code(&nested, &Options::default()), "ok", "an archive within an archive");
}

#[test]
fn hostile_descriptor_is_refused_and_each_honest_form_is_read() {
    let form = |signed: bool, wide: bool| {
        let mut entry = file("a").streamed();
        let mut descriptor = if signed { b"PK\x07\x08".to_vec() } else { Vec::new() };
        descriptor.extend(entry.crc.to_le_bytes());
        for value in [entry.compressed, entry.size] {
            descriptor.extend(value.to_le_bytes());
            descriptor.extend(&[0; 4][..if wide { 4 } else { 0 }]);
        }
        entry.descriptor = descriptor;
        entry
    };
    for (signed, wide) in [(true, true), (true, false), (false, true), (false, false)] {
        let honest = form(signed, wide);
        let alone = Archive::of([honest.clone()]);
        assert_eq!(code(&alone, &Options::default()), "ok", "signed {signed}, wide {wide}");
        let between = Archive::of([file("z"), honest.clone(), file("b")]);
        assert_eq!(code(&between, &Options::default()), "ok", "signed {signed}, wide {wide}");
        for at in 0..honest.descriptor.len() {
            let lying = Archive::of([honest.clone().with(|e| e.descriptor[at] ^= 0x40), file("b")]);
            for framing in [Framing::Strict, Framing::Lenient] {
                let found = code(&lying, &Options { framing, ..Options::default() });
                assert_eq!(found, "descriptor_mismatch", "byte {at} of {:?}", honest.descriptor);
            }
        }
    }
    let cases = vec![
        (
            "longer than any",
            Archive::of([form(true, true).with(|e| e.descriptor.push(0)), file("b")]),
            "gap",
        ),
        (
            "cut",
            Archive::of([form(true, false).with(|e| e.descriptor.truncate(15)), file("b")]),
            "descriptor_mismatch",
        ),
        (
            "sums in the local header as well",
            Archive::of([form(true, false).with(|e| e.local_sums = None)]),
            "ok",
        ),
        (
            "other sums in the local header",
            Archive::of([form(true, false).with(|e| e.local_sums = Some([7, 0, 0]))]),
            "local_mismatch",
        ),
        (
            "announced in one header only",
            Archive::of([form(true, false).with(|e| e.local_flags = Some(0))]),
            "local_mismatch",
        ),
    ];
    expect_codes(cases, &Options::default());
}
