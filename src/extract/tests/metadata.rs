//! Modes, times, names that are not for every system, and room.

use jiff::tz::{self, TimeZone};

use super::*;

fn unpacked(archive: &Archive, options: &Options) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let mut zip = tempfile::tempfile().unwrap();
    zip.write_all(&archive.bytes()).unwrap();
    unpack_into(&zip, home.path(), options).unwrap();
    home
}

/// Of this process, without setting it.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
    u32::from_str_radix(line.trim(), 8).unwrap()
}

#[test]
fn modes_of_the_zip_are_kept_within_bounds() {
    let options = Options { modes: Modes::Zip, ..Options::default() };
    // Mode in the archive, mode of the file, mode of a folder; both before the umask.
    for (mode, file_mode, folder_mode) in [
        (0o644, 0o644, 0o744),
        (0o755, 0o755, 0o755),
        (0o000, 0o600, 0o700),
        (0o444, 0o644, 0o744),
        (0o111, 0o711, 0o711),
        (0o777, 0o777, 0o777),
        (0o7777, 0o777, 0o777),
        (0o4755, 0o755, 0o755),
        (0o2070, 0o670, 0o770),
    ] {
        let archive = Archive::of([
            Entry::stored("file", b"x").with(|e| e.attributes = (0o100_000 | mode) << 16),
            Entry::folder("folder").with(|e| e.attributes = (0o040_000 | mode) << 16),
            // Written into the folder: a mode without write permission must not stop that.
            file("folder/inner"),
        ]);
        let home = unpacked(&archive, &options);
        let found = |name: &str| home.path().join(name).metadata().unwrap().mode() & 0o7777;
        assert_eq!(found("file"), file_mode & !umask(), "file, {mode:o}");
        assert_eq!(found("folder"), folder_mode & !umask(), "folder, {mode:o}");
    }
}

#[test]
fn modes_of_the_umask_keep_no_more_than_the_execute_bit() {
    for (mode, expected) in [(0o600, 0o666), (0o7644, 0o666), (0o6755, 0o777), (0o700, 0o777)] {
        let archive =
            Archive::of([file("a").with(|e| e.attributes = (0o100_000 | mode) << 16), file("d/b")]);
        let home = unpacked(&archive, &Options::default());
        let found = |name: &str| home.path().join(name).metadata().unwrap().mode() & 0o7777;
        assert_eq!(found("a"), expected & !umask(), "{mode:o}");
        assert_eq!(found("d"), 0o777 & !umask(), "an implicit folder");
    }
    let zip = Options { modes: Modes::Zip, ..Options::default() };
    let dos = Archive::of([file("a").with(host_dos)]);
    let found = unpacked(&dos, &zip).path().join("a").metadata().unwrap().mode() & 0o7777;
    assert_eq!(found, 0o666 & !umask(), "DOS has no modes to keep");
}

const NEW_YEAR_2025: i64 = 1_735_689_600;

fn ntfs(ticks: u64) -> Vec<u8> {
    let times = ticks.to_le_bytes().repeat(3);
    extra(0x000a, &[&[0; 4][..], &[1, 0, 24, 0], &times].concat())
}

fn unix(seconds: i32) -> Vec<u8> {
    extra(0x5455, &[&[1][..], &seconds.to_le_bytes()].concat())
}

#[test]
fn times_are_those_of_the_best_field() {
    let ticks = |unix: u64| (unix + 11_644_473_600) * 10_000_000;
    let dos = [0, 0x5a21]; // 2025-01-01 00:00
    for (what, modified, extra, seconds, nanos) in [
        ("DOS", dos, vec![], NEW_YEAR_2025 - 9 * 3600, 0),
        ("Unix", dos, unix(1_000_000_001), 1_000_000_001, 0),
        ("before 1970", dos, unix(-7), -7, 0),
        ("NTFS", dos, ntfs(ticks(1_000_000_000) + 5), 1_000_000_000, 500),
        ("NTFS before 1970", dos, ntfs(11_644_473_600 * 10_000_000 - 1), -1, 999_999_900),
        ("Unix before NTFS", dos, [ntfs(ticks(5)), unix(6)].concat(), 6, 0),
        ("NTFS without a time", dos, ntfs(0), NEW_YEAR_2025 - 9 * 3600, 0),
    ] {
        let options = Options { zone: TimeZone::fixed(tz::offset(9)), ..Options::default() };
        let timed =
            |entry: Entry| entry.with(|e| (e.modified, e.extra) = (modified, extra.clone()));
        let archive = Archive::of([timed(Entry::folder("d")), timed(file("d/a"))]);
        let home = unpacked(&archive, &options);
        for name in ["d", "d/a"] {
            let seen = home.path().join(name).metadata().unwrap();
            assert_eq!((seen.mtime(), seen.mtime_nsec()), (seconds, nanos), "{what}: {name}");
        }
    }
}

#[test]
fn times_out_of_range_become_the_nearest_that_there_is() {
    let dos = |year: u16, month: u16, day: u16, hour: u16, minute: u16, half: u16| {
        [hour << 11 | minute << 5 | half, (year - 1980) << 9 | month << 5 | day]
    };
    for (modified, expected) in [
        (dos(2025, 0, 0, 0, 0, 0), "2025-01-01T00:00:00Z"),
        (dos(2025, 15, 31, 0, 0, 0), "2025-12-31T00:00:00Z"),
        (dos(2025, 2, 31, 0, 0, 0), "2025-02-28T00:00:00Z"),
        (dos(2024, 2, 31, 31, 63, 31), "2024-02-29T23:59:59Z"),
        (dos(2107, 12, 31, 23, 59, 29), "2107-12-31T23:59:58Z"),
        (dos(1980, 1, 1, 0, 0, 0), "1980-01-01T00:00:00Z"),
    ] {
        let mut zip = tempfile::tempfile().unwrap();
        let archive = Archive::of([file("a").with(|e| e.modified = modified)]);
        zip.write_all(&archive.bytes()).unwrap();
        let plan = Plan::read(&zip, &Options::default()).unwrap();
        let seconds = expected.parse::<jiff::Timestamp>().unwrap().as_second();
        assert_eq!(plan.entries()[0].modified, Some(Modified { seconds, nanos: 0 }), "{expected}");
        assert_eq!(code(&archive, &Options::default()), "ok", "{expected}");
    }
    // No file system keeps these; the kernel takes its nearest.
    for extra in [ntfs(u64::MAX), ntfs(1), unix(i32::MIN), unix(i32::MAX)] {
        let archive = Archive::of([file("a").with(|e| (e.extra, e.modified) = (extra, [0, 0]))]);
        assert_eq!(code(&archive, &Options::default()), "ok");
    }
    let archive = Archive::of([file("a").with(|e| e.modified = [0, 0])]);
    assert_eq!(code(&archive, &Options::default()), "ok", "no date at all");
}

#[test]
fn times_in_a_gap_of_the_zone_are_those_after_it() {
    let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    // 2024-03-31 02:30 does not exist there.
    let modified = [2 << 11 | 30 << 5, 44 << 9 | 3 << 5 | 31];
    let options = Options { zone, ..Options::default() };
    let home = unpacked(&Archive::of([file("a").with(|e| e.modified = modified)]), &options);
    let found = home.path().join("a").metadata().unwrap().mtime();
    let expected: jiff::Timestamp = "2024-03-31T01:30:00Z".parse().unwrap();
    assert_eq!(found, expected.as_second());
}

#[test]
fn names_that_windows_reserves_are_refused_where_asked() {
    let refuse = Options { reserved_names: Collisions::Refuse, ..Options::default() };
    for (name, expected) in [
        ("CON", "bad_name"),
        ("a/nul", "bad_name"),
        ("aux/b", "bad_name"),
        ("Prn.tar.gz", "bad_name"),
        ("con .txt", "bad_name"),
        ("COM1", "bad_name"),
        ("lpt9.log", "bad_name"),
        ("COM²", "bad_name"),
        ("end.", "bad_name"),
        ("end ", "bad_name"),
        ("end /b", "bad_name"),
        ("what?", "bad_name"),
        ("stream:data", "bad_name"),
        ("a|b", "bad_name"),
        ("COM0", "ok"),
        ("COM10", "ok"),
        ("console", "ok"),
        ("a.con", "ok"),
        (".hidden", "ok"),
        ("日本語.txt", "ok"),
    ] {
        let archive = named(name.as_bytes());
        assert_eq!(code(&archive, &refuse), expected, "{name:?}");
        assert_eq!(code(&archive, &Options::default()), "ok", "{name:?}");
    }
}

#[test]
fn collisions_of_folders_and_files_are_found_at_every_depth() {
    let options = Options { collisions: Collisions::Refuse, ..Options::default() };
    for (a, b, expected) in [
        ("A", "a/x", "name_collision"),
        ("x/y/Z", "x/y/z", "name_collision"),
        ("x/Y/a", "x/y/b", "name_collision"),
        ("É", "e\u{301}", "name_collision"),
        ("x/a", "y/A", "ok"),
        ("ß", "ss", "ok"),
    ] {
        assert_eq!(code(&Archive::of([file(a), file(b)]), &options), expected, "{a} {b}");
    }
}

#[test]
fn room_is_compared_with_bytes_and_inodes_and_a_reserve() {
    let mut zip = tempfile::tempfile().unwrap();
    zip.write_all(&Archive::of([file("a/b"), file("a/c")]).bytes()).unwrap();
    let plan = Plan::read(&zip, &Options::default()).unwrap();
    assert_eq!((plan.total_bytes(), plan.inodes()), (40, 3));
    let fits = |bytes, inodes, reserved| Room { bytes, inodes }.fits(&plan, reserved);
    fits(40, Some(3), 0).unwrap();
    fits(40, None, 0).unwrap();
    fits(50, Some(3), 10).unwrap();
    for (bytes, inodes, reserved, unit) in [
        (39, Some(3), 0, "bytes"),
        (50, Some(3), 11, "bytes"),
        (u64::MAX - 1, None, u64::MAX, "bytes"),
        (40, Some(2), 0, "inodes"),
    ] {
        let error = fits(bytes, inodes, reserved).unwrap_err();
        assert_eq!((error.code(), error.disposition()), ("no_space", Disposition::Wait));
        assert!(matches!(error, ExtractError::NoSpace { unit: found, .. } if found == unit));
    }
    let home = tempfile::tempdir().unwrap();
    let room = Room::of(File::open(home.path()).unwrap()).unwrap();
    room.fits(&plan, 0).unwrap();
}

#[test]
fn folder_that_is_not_empty_is_not_written_over() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("a"), "mine").unwrap();
    let mut zip = tempfile::tempfile().unwrap();
    zip.write_all(&Archive::of([file("a")]).bytes()).unwrap();
    let plan = Plan::read(&zip, &Options::default()).unwrap();
    let slices = plan.slices(u64::MAX, 9);
    let out = File::open(home.path()).unwrap();
    let unpacking = Unpacking::new(plan, zip, out.into()).unwrap();
    let error = unpacking.write(&slices[0], &mut Scratch::default()).unwrap_err();
    assert_eq!((error.code(), error.disposition()), ("output_occupied", Disposition::Retry));
    assert_eq!(fs::read(home.path().join("a")).unwrap(), b"mine");
}
