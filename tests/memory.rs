//! The engine's memory: `workers` times [`Scratch::MAX_BYTES`], and 64 MiB for all the rest, whatever
//! an archive holds or declares.
//!
//! The peak of a process is all there is to measure, so each archive is unpacked by a process of its
//! own: this test binary again, as the ignored test `child`.
#![expect(clippy::unwrap_used, reason = "what fails in a test's set-up fails the test")]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use longshore::error::Failure;
use longshore::extract::{ExtractError, Options, Plan, Scratch, Unpacking};
use longshore::testkit::zip_writer::{Archive, Entry, extra};

const MIB: usize = 1 << 20;
const WORKERS: usize = 2;
/// For the plan, and for whatever else there is.
const REST: usize = 64 * MIB;

/// A field of this process's own status, in bytes.
fn status(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    let kib: usize = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap();
    kib << 10
}

/// Checks an archive with [`WORKERS`] workers, without writing it; the peak after planning.
fn check(zip: &Path) -> (usize, Result<(), ExtractError>) {
    let mut options = Options::default();
    // Here what is small in the file may be large: what it costs is what is asked.
    options.limits.ratio_from_bytes = u64::MAX;
    let file = File::open(zip).unwrap();
    let plan = Plan::read(&file, &options);
    let planned = status("VmHWM");
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => return (planned, Err(error)),
    };
    let slices = plan.slices(8 << 20, 512);
    let unpacking = Unpacking::check_only(plan, file);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut scratch = Scratch::default();
        while let Some(slice) = slices.get(next.fetch_add(1, Ordering::Relaxed)) {
            unpacking.write(slice, &mut scratch)?;
        }
        Ok(())
    };
    let result: Result<(), _> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter().map(|worker| worker.join().unwrap());
        ended.filter(|result| !matches!(result, Err(ExtractError::Stopped))).collect()
    });
    (planned, result.and_then(|()| unpacking.finish()))
}

#[test]
#[ignore = "the others run it, in a process of its own"]
fn child() {
    let folder = std::env::var_os("LONGSHORE_MEMORY_OF").unwrap();
    let before = status("VmHWM");
    let (mut planned, mut code) = (None, "ok");
    for entry in fs::read_dir(folder).unwrap() {
        let (plan, result) = check(&entry.unwrap().path());
        // After the first it is the peak of the one before.
        planned.get_or_insert(plan);
        code = result.map_or_else(|error| error.code(), |()| "ok");
    }
    println!("\npeak {} {} {code}", planned.unwrap() - before, status("VmHWM") - before);
}

/// Has a process of its own check all ZIPs of a folder: each within the bound, and the code of the last.
#[expect(clippy::print_stdout, reason = "the figures, for those who ask for a test's output")]
fn measure(what: &str, folder: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("LONGSHORE_MEMORY_OF", folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{what}: {said}{}", String::from_utf8_lossy(&output.stderr));
    let line = said.lines().find_map(|line| line.strip_prefix("peak ")).unwrap();
    let [planned, peak, code] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    let (planned, peak): (usize, usize) = (planned.parse().unwrap(), peak.parse().unwrap());
    println!("{what}: {} MiB to plan, {} MiB in all, {code}", planned / MIB, peak / MIB);
    assert!(planned <= REST, "{what}: {} MiB to plan it", planned / MIB);
    let bound = WORKERS * Scratch::MAX_BYTES + REST;
    assert!(peak <= bound, "{what}: {} MiB, {} MiB are the bound", peak / MIB, bound / MIB);
    code.to_owned()
}

/// The same for one ZIP.
fn of(what: &str, zip: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.zip"), zip).unwrap();
    measure(what, folder.path())
}

/// An entry of any method whose data is made elsewhere.
fn packed(name: &str, method: u16, size: usize, crc: u32, data: &[u8]) -> Entry {
    Entry::stored(name, data).with(|entry| {
        (entry.method, entry.crc) = (method, crc);
        entry.size = u32::try_from(size).unwrap();
    })
}

fn crc_of_zeros(len: usize) -> u32 {
    let (mut crc, piece) = (libdeflater::Crc::new(), vec![0; MIB]);
    (0..len / MIB).for_each(|_| crc.update(&piece));
    crc.sum()
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len.div_ceil(8)).flat_map(|_| next()).take(len).collect()
}

/// Deflate without compression.
fn deflate_blocks(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + data.len() / 1000);
    let blocks = data.chunks(0xffff);
    let last = blocks.len() - 1;
    for (at, block) in blocks.enumerate() {
        let len = u16::try_from(block.len()).unwrap();
        out.push(u8::from(at == last));
        out.extend(len.to_le_bytes());
        out.extend((!len).to_le_bytes());
        out.extend_from_slice(block);
    }
    out
}

/// An XZ stream without compression whose dictionary is of 64 MiB.
fn xz_of_zeros(len: usize) -> Vec<u8> {
    let crc = |bytes: &[u8]| libdeflater::crc32(bytes).to_le_bytes();
    let varint = |mut value: usize| {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    };
    let mut out = b"\xfd7zXZ\0\0\0".to_vec();
    out.extend(crc(&[0, 0]));
    let header = [2, 0, 0x21, 1, 28, 0, 0, 0];
    let start = out.len();
    out.extend(header);
    out.extend(crc(&header));
    for at in 0..len / 0x10000 {
        out.extend([if at == 0 { 1 } else { 2 }, 0xff, 0xff]);
        out.resize(out.len() + 0x10000, 0);
    }
    out.push(0);
    let unpadded = out.len() - start;
    let pad = |out: &mut Vec<u8>| out.resize(out.len().next_multiple_of(4), 0);
    pad(&mut out);
    let mut index = vec![0, 1];
    index.extend(varint(unpadded));
    index.extend(varint(len));
    pad(&mut index);
    let index_crc = crc(&index);
    index.extend(index_crc);
    let mut foot = u32::try_from(index.len() / 4 - 1).unwrap().to_le_bytes().to_vec();
    foot.extend([0, 0]);
    out.extend(index);
    out.extend(crc(&foot));
    out.extend(foot);
    out.extend(b"YZ");
    out
}

/// Zstandard with a window of so many bytes, as a power of two.
fn zstd_of_zeros(len: usize, window_log: u32) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(window_log).unwrap();
    let piece = vec![0; MIB];
    (0..len / MIB).for_each(|_| encoder.write_all(&piece).unwrap());
    encoder.finish().unwrap()
}

#[test]
fn memory_for_a_gibibyte_of_zeros_is_bounded() {
    // A block that refers to nothing before it may be repeated.
    let mut compress = flate2::Compress::new(flate2::Compression::best(), false);
    let mut block = Vec::with_capacity(8 << 10);
    compress.compress_vec(&vec![0; MIB], &mut block, flate2::FlushCompress::Full).unwrap();
    let len = 1 << 30;
    let mut data = block.repeat(len / MIB);
    data.extend([3, 0]); // an empty last block
    let entry = packed("zeros", 8, len, crc_of_zeros(len), &data);
    assert_eq!(of("1 GiB of zeros", &Archive::of([entry]).bytes()), "ok");
}

#[test]
fn memory_for_a_large_stored_entry_is_bounded() {
    let len = 200 * MIB;
    let entry = Entry::stored("holes", b"").with(|entry| {
        entry.crc = crc_of_zeros(len);
        (entry.size, entry.compressed) = (len as u32, len as u32);
    });
    let bytes = Archive::of([entry]).bytes();
    let directory = bytes.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let zip = File::create(folder.path().join("a.zip")).unwrap();
    zip.write_all_at(&bytes[..directory], 0).unwrap();
    let mut tail = bytes[directory..].to_vec();
    let at = tail.len() - 6;
    tail[at..at + 4].copy_from_slice(&((directory + len) as u32).to_le_bytes());
    zip.write_all_at(&tail, (directory + len) as u64).unwrap();
    assert_eq!(measure("200 MiB stored", folder.path()), "ok");
}

#[test]
fn memory_for_what_is_only_declared_is_not_taken() {
    let lie = |method: u16, data: &[u8]| {
        let entry = packed("a", method, u32::MAX as usize - 1, 1, data);
        of(&format!("method {method}, 4 GiB declared"), &Archive::of([entry]).bytes())
    };
    assert_eq!(lie(8, &[3, 0]), "data_too_short");
    assert_eq!(lie(9, &[3, 0]), "data_too_short");
    // A dictionary of 4 GiB.
    let lzma = [9, 4, 5, 0, 0x5d, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(lie(14, &lzma), "unsupported");
    // A window of 2 GiB.
    assert_ne!(lie(93, &[0x28, 0xb5, 0x2f, 0xfd, 0, 0xa8, 1, 0, 0]), "ok");
    // An XZ stream with a dictionary of 4 GiB.
    let mut xz = xz_of_zeros(0x10000);
    xz[16] = 40;
    let crc = libdeflater::crc32(&xz[12..20]).to_le_bytes();
    xz[20..24].copy_from_slice(&crc);
    assert_eq!(lie(95, &xz), "unsupported");
    // Order 6 and 256 MiB.
    assert_eq!(lie(98, &[0xf5, 0x0f, 0, 0, 0, 0, 0, 0]), "unsupported");
}

/// What fills the whole-entry buffers, what has the largest dictionaries, and both by turns: each
/// worker meets several of each kind.
#[test]
fn memory_of_all_methods_by_turns_is_bounded() {
    let bulk = noise(31 * MIB);
    let (whole, whole_crc) = (deflate_blocks(&bulk), libdeflater::crc32(&bulk));
    let (len, crc) = (72 * MIB, crc_of_zeros(72 * MIB));
    let (xz, zstd) = (xz_of_zeros(len), zstd_of_zeros(len, 26));
    // What an allocator may rather keep than give back.
    let smaller = zstd_of_zeros(len, 24);
    // Order 16, 64 MiB: whatever it decodes to, the model grows with it.
    let ppmd = [&[0xff, 0x03][..], &bulk[..MIB]].concat();
    let entry = |turn: usize, kind: usize| {
        let name = format!("{turn}-{kind}");
        match kind {
            0 => packed(&name, 8, bulk.len(), whole_crc, &whole),
            1 => packed(&name, 95, len, crc, &xz),
            2 => packed(&name, 93, len, crc, &smaller),
            _ => packed(&name, 93, len, crc, &zstd),
        }
    };
    let turns = (0..4).flat_map(|turn| (0..4).map(move |kind| (turn, kind)));
    let all: Vec<Entry> = turns.map(|(turn, kind)| entry(turn, kind)).collect();
    let bytes = Archive::of(all).bytes();
    assert_eq!(of("deflate, XZ, Zstandard by turns", &bytes), "ok");
    let model = |name: &str| packed(name, 98, 2 * MIB, 1, &ppmd);
    let bytes = Archive::of([entry(0, 0), entry(1, 0), model("a"), model("b")]).bytes();
    assert_ne!(of("PPMd after deflate", &bytes), "ok");
}

#[test]
fn memory_for_many_entries_is_bounded() {
    let count = 100_000;
    let many = |name: &dyn Fn(usize) -> Vec<u8>| {
        Archive::of((0..count).map(|at| Entry::stored(name(at), b"")))
            .with(|archive| archive.zip64 = true)
            .bytes()
    };
    let short = |at: usize| format!("part-{:03}/file-{at:06}.txt", at % 50).into_bytes();
    assert_eq!(of("100,000 entries", &many(&short)), "ok");
    // Nearly as long as the limit on all names together allows, each in a folder of its own.
    let ascii = |at: usize| format!("{:y<120}/{at:0>7}", format!("{at:06}")).into_bytes();
    assert_eq!(of("100,000 long names", &many(&ascii)), "ok");
    let dos = |at: usize| [format!("{at:06}/").as_bytes(), &[0xb0; 39]].concat();
    assert_eq!(of("100,000 names in CP437", &many(&dos)), "ok");
    let dos = |at: usize| {
        let part = [0xb0; 80];
        [format!("{at:06}/").as_bytes(), &part, b"/", &part, b"/", &part].concat()
    };
    assert_eq!(of("100,000 names that swell", &many(&dos)), "names_too_large");
}

#[test]
fn memory_for_names_in_extra_fields_is_bounded() {
    let entries = (0..2000_usize).map(|at| {
        let name = format!("{at}");
        let body = [
            &[1][..],
            &libdeflater::crc32(name.as_bytes()).to_le_bytes(),
            name.as_bytes(),
            &vec![b'z'; 60_000],
        ];
        Entry::stored(&name, b"").with(|entry| entry.extra = extra(0x7075, &body.concat()))
    });
    assert_eq!(of("names of 60,000 bytes", &Archive::of(entries).bytes()), "name_too_long");
}

#[test]
fn memory_for_damaged_archives_is_bounded() {
    let text = b"a line of text that repeats\n".repeat(2000);
    let crc = libdeflater::crc32(&text);
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    bzip2.write_all(&text).unwrap();
    let sound = Archive::of([
        Entry::deflated("deflate", &text),
        packed("bzip2", 12, text.len(), crc, &bzip2.finish().unwrap()),
        packed("zstd", 93, text.len(), crc, &zstd::encode_all(&text[..], 1).unwrap()),
        packed("xz", 95, 0x10000, crc_of_zeros(0), &xz_of_zeros(0x10000)),
        packed("ppmd", 98, text.len(), crc, &[&[0xf5, 0x03][..], &noise(4000)].concat()),
        packed(
            "lzma",
            14,
            text.len(),
            crc,
            &[&[9, 4, 5, 0, 0x5d, 0, 0, 0, 4][..], &noise(4000)].concat(),
        ),
    ]);
    let mut draw = noise(64 << 10).into_iter().cycle();
    let mut number = |below: usize| {
        let bytes = [draw.next(), draw.next(), draw.next(), draw.next()];
        u32::from_le_bytes(bytes.map(Option::unwrap)) as usize % below
    };
    let folder = tempfile::tempdir().unwrap();
    for at in 0..400 {
        // One entry each: an archive ends at the first that is wrong.
        let mut archive = Archive::of([sound.entries[at % sound.entries.len()].clone()]);
        let entry = &mut archive.entries[0];
        for _ in 0..=number(4) {
            let place = number(entry.data.len());
            // Near the start is what says how much memory is needed.
            let place = if number(2) == 0 { place.min(number(32)) } else { place };
            entry.data[place] = number(256) as u8;
        }
        if number(2) == 0 {
            entry.size = number(u32::MAX as usize) as u32 >> number(32);
        }
        fs::write(folder.path().join(format!("{at}.zip")), archive.bytes()).unwrap();
    }
    measure("400 damaged archives", folder.path());
}
