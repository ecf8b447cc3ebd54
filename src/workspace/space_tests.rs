//! Space that is reserved, refused, and released.

use super::*;

const HERE: &str = "/a";

fn bytes(bytes: u64) -> Amount {
    Amount { bytes, inodes: 0 }
}

fn inodes(inodes: u64) -> Amount {
    Amount { bytes: 0, inodes }
}

/// A thousand bytes, and a thousand inodes beyond the spare ones.
fn thousand() -> Arc<Space> {
    let inodes = Some(1000 + SPARE_INODES);
    Space::with_probe(move |_| Ok(Free { device: 1, bytes: 1000, inodes, total: Total::UNKNOWN }))
}

#[test]
fn space_promised_to_one_job_is_not_promised_to_another() {
    let space = thousand();
    let first = space.reserve(Path::new(HERE), bytes(600), 100).unwrap();
    let error = space.reserve(Path::new(HERE), bytes(400), 100).unwrap_err();
    assert_eq!((error.code(), error.disposition()), ("no_space", Disposition::Wait));
    first.written(bytes(500));
    assert_eq!(first.promised(), bytes(100));
    drop(space.reserve(Path::new(HERE), bytes(400), 100).unwrap());
    drop(first);
    drop(space.reserve(Path::new(HERE), bytes(900), 100).unwrap());
    space.reserve(Path::new(HERE), bytes(901), 100).unwrap_err();
}

#[test]
fn space_that_is_ample_is_not_asked_for_again_and_never_promised_twice() {
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let space = Space::with_probe(move |_| {
        *count.lock().unwrap() += 1;
        Ok(Free { device: 1, bytes: 1000, inodes: None, total: Total::UNKNOWN })
    });
    let held: Vec<_> =
        (0..9).map(|_| space.reserve(Path::new(HERE), bytes(100), 100).unwrap()).collect();
    let in_a_moment = *asked.lock().unwrap();
    assert!(in_a_moment < 9, "asked for each of them");
    space.reserve(Path::new(HERE), bytes(1), 100).unwrap_err();
    assert_eq!(*asked.lock().unwrap(), in_a_moment + 1, "no is said by who was asked");
    drop(held);
    drop(space.reserve(Path::new(HERE), bytes(900), 100).unwrap());
}

#[test]
fn space_has_inodes_that_are_promised_like_bytes() {
    let space = thousand();
    let first = space.reserve(Path::new(HERE), inodes(600), 0).unwrap();
    let error = space.reserve(Path::new(HERE), inodes(401), 0).unwrap_err();
    assert_eq!((error.code(), error.disposition()), ("no_space", Disposition::Wait));
    let text = error.to_string();
    for part in ["401 inodes", "1064 are free", "600 of them"] {
        assert!(text.contains(part), "no {part:?} in {text:?}");
    }
    first.written(inodes(1));
    drop(space.reserve(Path::new(HERE), inodes(401), 0).unwrap());
    drop(first);
    drop(space.reserve(Path::new(HERE), inodes(1000), 0).unwrap());
}

#[test]
fn space_without_a_number_of_inodes_has_enough_of_them() {
    let space = Space::with_probe(|_| {
        Ok(Free { device: 1, bytes: 1000, inodes: None, total: Total::UNKNOWN })
    });
    space.reserve(Path::new(HERE), inodes(u64::MAX), 0).unwrap();
}

#[test]
fn space_is_counted_for_each_file_system_by_itself() {
    let space = Space::with_probe(|path| {
        let device = u64::from(path == Path::new("/b"));
        Ok(Free { device, bytes: 1000, inodes: None, total: Total::UNKNOWN })
    });
    let _a = space.reserve(Path::new(HERE), bytes(1000), 0).unwrap();
    let _b = space.reserve(Path::new("/b"), bytes(1000), 0).unwrap();
}

#[test]
fn space_of_a_path_that_is_gone_is_unknown_and_waited_for() {
    let error = Space::new().reserve(Path::new("/no/such/path"), bytes(1), 0).unwrap_err();
    assert_eq!((error.code(), error.disposition()), ("space_unknown", Disposition::Wait));
}

#[test]
fn space_of_a_real_file_system_holds_a_little_and_not_everything() {
    let home = tempfile::tempdir().unwrap();
    let space = Space::new();
    drop(space.reserve(home.path(), Amount { bytes: 1, inodes: 1 }, 0).unwrap());
    space.reserve(home.path(), bytes(u64::MAX), 0).unwrap_err();
}

#[test]
fn space_more_than_was_promised_written_gives_back_no_more_than_that() {
    let space = thousand();
    let _other = space.reserve(Path::new(HERE), bytes(500), 0).unwrap();
    let one = space.reserve(Path::new(HERE), bytes(100), 0).unwrap();
    one.written(bytes(300));
    drop(one);
    space.reserve(Path::new(HERE), bytes(501), 0).unwrap_err();
}

#[test]
fn package_that_needs_more_than_the_whole_file_system_is_quarantined() {
    let total = Total { bytes: 10_000, inodes: Some(500) };
    let free = Free { device: 1, bytes: 10, inodes: Some(90), total };
    let space = Space::with_probe(move |_| Ok(free));
    let told = |need, min_free| {
        let error = space.reserve(Path::new(HERE), need, min_free).unwrap_err();
        (error.code(), error.disposition())
    };
    let too_large = ("too_large_for_disk", Disposition::Quarantine);
    assert_eq!(told(bytes(9_901), 100), too_large);
    assert_eq!(told(inodes(437), 0), too_large, "64 inodes are spare");
    assert_eq!(told(bytes(9_900), 100), ("no_space", Disposition::Wait), "it may fit one day");
}

#[test]
fn package_larger_than_what_is_free_waits_alone_unless_the_disk_is_full_or_others_hold_room() {
    let free = 10 * ROOM_FOR_OTHERS;
    let space = Space::with_probe(move |_| {
        Ok(Free { device: 1, bytes: free, inodes: None, total: Total::UNKNOWN })
    });
    let told = |min_free| {
        let error = space.reserve(Path::new(HERE), bytes(free + 1), min_free).unwrap_err();
        (error.code(), error.disposition())
    };
    assert_eq!(told(0), ("no_space", Disposition::WaitAlone));
    assert_eq!(told(free), ("no_space", Disposition::Wait), "it is full for everybody");
    let _other = space.reserve(Path::new(HERE), bytes(1), 0).unwrap();
    assert_eq!(told(0), ("no_space", Disposition::Wait), "the other one gives room back");
}
