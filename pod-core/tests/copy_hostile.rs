//! Hostile and corrupt archives, and directories that change under the extractor.
#![cfg(target_os = "linux")]

mod copy_support;

use copy_support::{open_dir, snapshot, write};
use pod_core::copy::tree::{WriteOptions, write_tree};
use pod_core::copy::{Chunk, CopyReport, CopySource, Entry, EntryKind, EntryStream, Item, tar};
use pod_core::{Error, ErrorKind, Result};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One entry of a tar stream, as raw as it comes.
fn raw(kind: u8, name: &[u8], link: &[u8], data: &[u8]) -> Vec<u8> {
    raw_sized(kind, name, link, data, format!("{:011o}\0", data.len()).as_bytes())
}

fn raw_sized(kind: u8, name: &[u8], link: &[u8], data: &[u8], size: &[u8]) -> Vec<u8> {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..124 + size.len()].copy_from_slice(size);
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut out = block.to_vec();
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 1024]].concat()
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest..).find(|n| n.to_string().len() + rest == *n).expect("a length");
        data.extend_from_slice(format!("{length} {key}=").as_bytes());
        data.extend_from_slice(value);
        data.push(b'\n');
    }
    raw(b'x', b"pax", b"", &data)
}

/// A directory to extract into, with things around it that must stay as they are.
struct Place {
    tmp: tempfile::TempDir,
    before: std::collections::BTreeMap<Vec<u8>, String>,
}

impl Place {
    fn new() -> Self {
        let tmp = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(tmp.path().join("outside")).expect("a directory");
        fs::write(tmp.path().join("outside/secret"), "secret").expect("a file");
        let before = snapshot(&tmp.path().join("outside"));
        fs::create_dir(tmp.path().join("dest")).expect("a directory");
        Self { tmp, before }
    }

    fn dest(&self) -> PathBuf {
        self.tmp.path().join("dest")
    }

    fn assert_untouched(&self, case: &str) {
        assert_eq!(snapshot(&self.tmp.path().join("outside")), self.before, "{case}");
        let mut names: Vec<_> =
            fs::read_dir(self.tmp.path()).expect("a directory").map(|e| e.expect("an entry").file_name()).collect();
        names.sort();
        assert_eq!(names, ["dest", "outside"], "{case}");
        let hidden = snapshot(&self.dest()).into_keys().find(|k| k.windows(5).any(|w| w == b".pod-"));
        assert_eq!(hidden, None, "{case}");
    }
}

async fn extract(bytes: Vec<u8>, dest: &Path, options: WriteOptions) -> Result<CopyReport> {
    let stream = tar::read(std::io::Cursor::new(bytes));
    let root = open_dir(dest);
    tokio::task::spawn_blocking(move || write_tree(root, b"/", stream, options)).await.expect("no panic")
}

fn named(e: &Error, entry: &str) -> bool {
    e.context().iter().any(|(k, v)| *k == "entry" && (v == entry || entry.len() > 1 && v.contains(entry)))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_archive_writes_nothing_outside_and_names_the_entry() {
    let long = vec![b'x'; 300];
    let to_secret = b"../outside/secret";
    #[rustfmt::skip]
    let cases: Vec<(&str, Vec<Vec<u8>>, &str)> = vec![
        ("dot-dot", vec![raw(b'0', b"../outside/evil", b"", b"x")], "../outside/evil"),
        ("dot-dot inside", vec![raw(b'0', b"a/../../outside/evil", b"", b"x")], "a/../../outside/evil"),
        ("dot-dot at the end", vec![raw(b'5', b"a/..", b"", b"")], "a/.."),
        ("dot-dot alone", vec![raw(b'5', b"..", b"", b"")], ".."),
        ("absolute", vec![raw(b'0', b"/tmp/pod-evil", b"", b"x")], "/tmp/pod-evil"),
        ("absolute, doubled", vec![raw(b'0', b"//tmp/pod-evil", b"", b"x")], "/tmp/pod-evil"),
        ("absolute in pax", vec![pax(&[("path", b"/tmp/pod-evil")]), raw(b'0', b"fine", b"", b"x")], "/tmp/pod-evil"),
        ("dot-dot in a long name", vec![raw(b'L', b"long", b"", b"../outside/evil\0"), raw(b'0', b"fine", b"", b"x")], "../outside/evil"),
        ("zero byte in pax", vec![pax(&[("path", b"a\0b")]), raw(b'0', b"fine", b"", b"x")], "a\\x00b"),
        ("file through a link out", vec![raw(b'2', b"l", b"../outside", b""), raw(b'0', b"l/evil", b"", b"x")], "l/evil"),
        ("file through an absolute link", vec![raw(b'2', b"l", b"/tmp", b""), raw(b'0', b"l/pod-evil", b"", b"x")], "l/pod-evil"),
        ("file through two links", vec![raw(b'2', b"a", b".", b""), raw(b'2', b"b", b"a/..", b""), raw(b'0', b"b/outside/evil", b"", b"x")], "b/outside/evil"),
        ("directory through a link", vec![raw(b'2', b"l", b"../outside", b""), raw(b'5', b"l/evil", b"", b"")], "l/evil"),
        ("directory over a link", vec![raw(b'2', b"l", b"../outside", b""), raw(b'5', b"l", b"", b""), raw(b'0', b"l/evil", b"", b"x")], "l"),
        ("link over a directory", vec![raw(b'5', b"d", b"", b""), raw(b'2', b"d", b"../outside", b""), raw(b'0', b"d/evil", b"", b"x")], "d"),
        ("link through a link", vec![raw(b'2', b"l", b"../outside", b""), raw(b'2', b"l/evil", b"x", b"")], "l/evil"),
        ("file through a file", vec![raw(b'0', b"f", b"", b"x"), raw(b'0', b"f/x", b"", b"x")], "f/x"),
        ("hard link out", vec![raw(b'1', b"h", to_secret, b"")], "h"),
        ("absolute hard link", vec![raw(b'1', b"h", b"/etc/passwd", b"")], "h"),
        ("hard link to a link", vec![raw(b'2', b"l", to_secret, b""), raw(b'1', b"h", b"l", b"")], "h"),
        ("hard link through a link", vec![raw(b'2', b"l", b"../outside", b""), raw(b'1', b"h", b"l/secret", b"")], "h"),
        ("hard link to nothing", vec![raw(b'1', b"h", b"none", b"")], "h"),
        ("hard link to a directory", vec![raw(b'5', b"d", b"", b""), raw(b'1', b"h", b"d", b"")], "h"),
        ("character device", vec![raw(b'3', b"null", b"", b"")], "null"),
        ("block device", vec![raw(b'4', b"sda", b"", b"")], "sda"),
        ("FIFO", vec![raw(b'6', b"fifo", b"", b"")], "fifo"),
        ("unknown type", vec![raw(b'Q', b"odd", b"", b"")], "odd"),
        ("no name", vec![raw(b'0', b"", b"", b"x")], "."),
        ("long part", vec![raw(b'L', b"long", b"", &long), raw(b'0', b"fine", b"", b"x")], "xxx"),
        ("empty link", vec![raw(b'2', b"l", b"", b"")], "l"),
        ("negative size", vec![raw_sized(b'0', b"f", b"", b"", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")], "f"),
        ("huge size", vec![raw_sized(b'0', b"f", b"", b"", b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff")], "f"),
        ("no number", vec![raw_sized(b'0', b"f", b"", b"", b"12z45678901\0")], "f"),
        ("negative size in pax", vec![pax(&[("size", b"-1")]), raw(b'0', b"f", b"", b"")], "f"),
        ("sum of sizes", vec![
            [pax(&[("GNU.sparse.size", b"9223372036854775807"), ("GNU.sparse.map", b"0,0")]), raw(b'0', b"a", b"", b"")].concat(),
            [pax(&[("GNU.sparse.size", b"9223372036854775807"), ("GNU.sparse.map", b"0,0")]), raw(b'0', b"b", b"", b"")].concat(),
        ], "a"),
        ("owner that means none", vec![pax(&[("uid", b"4294967295")]), raw(b'0', b"f", b"", b"")], "f"),
        ("sparse pieces overlap", vec![pax(&[("GNU.sparse.size", b"100"), ("GNU.sparse.map", b"0,5,3,5")]), raw(b'0', b"f", b"", &[1; 10])], "f"),
        ("sparse piece beyond the end", vec![pax(&[("GNU.sparse.size", b"8"), ("GNU.sparse.map", b"0,10")]), raw(b'0', b"f", b"", &[1; 10])], "f"),
        ("sparse map too long", vec![pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"8")]), raw(b'0', b"f", b"", b"99999999999\n")], "f"),
        ("sparse map without an end", vec![pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"8")]), raw(b'0', b"f", b"", &[b'1'; 512])], "f"),
        ("sparse of the future", vec![pax(&[("GNU.sparse.major", b"7"), ("GNU.sparse.minor", b"0")]), raw(b'0', b"f", b"", b"")], "f"),
    ];
    for (case, entries, entry) in cases {
        let place = Place::new();
        let answer = extract(archive(&entries), &place.dest(), WriteOptions::new()).await;
        let Err(e) = answer else { panic!("{case}: {answer:?}") };
        assert!(named(&e, entry), "{case}: {e}");
        place.assert_untouched(case);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_stop_at_the_limits() {
    let many: Vec<_> = (0..100).map(|i| raw(b'0', format!("f{i}").as_bytes(), b"", b"")).collect();
    let sparse = |name: &[u8]| {
        let keys = pax(&[("GNU.sparse.size", b"1099511627776"), ("GNU.sparse.map", b"0,0")]);
        [keys, raw(b'0', name, b"", b"")].concat()
    };
    let declared = raw_sized(b'0', b"big", b"", b"", b"77777777777\0");
    let (entries, bytes) =
        (WriteOptions::new().with_limits(Some(50), None), WriteOptions::new().with_limits(None, Some(1 << 30)));
    for (case, archive, options, entry) in [
        ("entries", archive(&many), entries, "f50"),
        ("holes", archive(&[sparse(b"hole")]), bytes.clone(), "hole"),
        ("declared size", declared, bytes, "big"),
    ] {
        let place = Place::new();
        let e = extract(archive, &place.dest(), options).await.expect_err(case);
        assert_eq!(e.kind(), ErrorKind::Exhausted, "{case}: {e}");
        assert!(named(&e, entry), "{case}: {e}");
        place.assert_untouched(case);
        assert!(!place.dest().join(entry).exists(), "{case}");
    }
}

#[tokio::test]
async fn extended_headers_are_bounded() {
    let huge = pax(&[("comment", &vec![b'c'; 2 << 20])]);
    let two = [pax(&[("comment", &vec![b'c'; 600 << 10])]), pax(&[("comment", &vec![b'c'; 600 << 10])])].concat();
    let name = raw(b'L', b"long", b"", &vec![b'n'; 2 << 20]);
    let global = [raw(b'g', b"g", b"", &vec![0; 900 << 10])].concat();
    for (case, bytes) in [("one", huge), ("two", two), ("name", name), ("global", global)] {
        let mut stream = tar::read(std::io::Cursor::new(archive(&[bytes, raw(b'0', b"f", b"", b"")])));
        let e = stream.next().await.expect_err(case);
        assert_eq!(e.kind(), ErrorKind::InvalidInput, "{case}: {e}");
    }
}

#[test]
fn links_at_the_destination_are_replaced_or_refused_but_never_followed() {
    let place = Place::new();
    let dest = place.dest();
    symlink("../outside/secret", dest.join("file")).expect("a link");
    symlink("../outside", dest.join("dir")).expect("a link");
    symlink("../outside/secret", dest.join("hard")).expect("a link");
    let items = |entries: Vec<Entry>| {
        let entries = entries.into_iter().map(|e| {
            let data = if matches!(e.kind, EntryKind::File { .. }) { "new" } else { "" };
            (e, data.into())
        });
        CopySource::Memory(entries.collect()).open().expect("memory opens")
    };
    let file = |path: &str| Entry::new(path, EntryKind::File { size: 3 });
    let root = || Entry::new("", EntryKind::Dir);
    let hard = Entry::new("hard", EntryKind::Hardlink { target: b"file".to_vec() });
    write(place.tmp.path(), b"/dest", items(vec![root(), file("file"), hard]), WriteOptions::new()).expect("replaced");
    for name in ["file", "hard"] {
        assert!(!dest.join(name).is_symlink());
        assert_eq!(fs::read(dest.join(name)).expect("a file"), b"new");
    }
    for entries in [vec![root(), file("dir/evil")], vec![root(), Entry::new("dir", EntryKind::Dir), file("dir/evil")]] {
        let e =
            write(place.tmp.path(), b"/dest", items(entries), WriteOptions::new()).expect_err("a link is in the way");
        assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
        assert!(named(&e, "dir"), "{e}");
    }
    fs::create_dir(dest.join("is-dir")).expect("a directory");
    for kind in [EntryKind::File { size: 0 }, EntryKind::Symlink { target: b"x".to_vec() }] {
        let entries = vec![(root(), "".into()), (Entry::new("is-dir", kind), "".into())];
        let stream = CopySource::Memory(entries).open().expect("memory opens");
        let e = write(place.tmp.path(), b"/dest", stream, WriteOptions::new()).expect_err("a directory is in the way");
        assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
    }
    place.assert_untouched("links");
}

#[test]
fn contents_must_fit_their_file() {
    let file = |size| Item::Entry(Entry::new("f", EntryKind::File { size }));
    let chunk = |offset, n: usize| Item::Chunk(Chunk { offset, data: vec![1; n].into() });
    for (case, items) in [
        ("too many", vec![file(5), chunk(0, 6)]),
        ("beyond the end", vec![file(5), chunk(5, 1)]),
        ("offset overflow", vec![file(5), chunk(u64::MAX, 2)]),
        ("backwards", vec![file(5), chunk(2, 2), chunk(1, 1)]),
        ("twice", vec![file(5), chunk(0, 2), chunk(0, 2)]),
        ("no file", vec![Item::Entry(Entry::new("d", EntryKind::Dir)), chunk(0, 1)]),
    ] {
        let place = Place::new();
        let e = write(&place.dest(), b"/", stream_of(items), WriteOptions::new()).expect_err(case);
        assert_eq!(e.kind(), ErrorKind::Integrity, "{case}: {e}");
        assert!(!place.dest().join("f").exists(), "{case}");
        place.assert_untouched(case);
    }
}

fn stream_of(items: Vec<Item>) -> EntryStream {
    let (sink, stream) = EntryStream::channel();
    std::thread::spawn(move || {
        for item in items {
            if !sink.blocking_send(Ok(item)) {
                return;
            }
        }
        sink.blocking_finish();
    });
    stream
}

/// Someone inside swaps a directory for a link to the outside, and back, while files are written into it.
#[test]
fn a_racing_swap_leads_nowhere() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let place = Place::new();
    let dest = place.dest();
    fs::create_dir(dest.join("d")).expect("a directory");
    symlink("../outside", dest.join("l")).expect("a link");
    let stop = Arc::new(AtomicBool::new(false));
    let racer = std::thread::spawn({
        let (dir, link, stop) = (dest.join("d"), dest.join("l"), stop.clone());
        move || {
            let mut swaps = 0_u32;
            while !stop.load(Ordering::Relaxed) || swaps % 2 == 1 {
                renameat_with(CWD, &dir, CWD, &link, RenameFlags::EXCHANGE).expect("both are there");
                swaps += 1;
                // Long and short times in either state, so that every step of a copy is met.
                let pause = u64::from(swaps.wrapping_mul(2_654_435_761) >> 24);
                std::thread::sleep(std::time::Duration::from_micros(pause));
            }
            swaps
        }
    });
    let copy = || {
        let mut entries = vec![(Entry::new("", EntryKind::Dir), "".into())];
        for sub in ["d", "d/e"] {
            entries.push((Entry::new(sub, EntryKind::Dir), "".into()));
            for i in 0..8 {
                let path = format!("{sub}/evil-{i}");
                entries.push((Entry::new(path.clone(), EntryKind::File { size: 1 }), "x".into()));
                entries.push((Entry::new(format!("{path}-h"), EntryKind::Hardlink { target: path.into() }), "".into()));
            }
        }
        let stream = CopySource::Memory(entries).open().expect("memory opens");
        write(place.tmp.path(), b"/dest", stream, WriteOptions::new())
    };
    let mut refused = 0;
    for turn in 0..300 {
        if let Err(e) = copy() {
            assert!(e.context().iter().any(|(k, _)| *k == "entry"), "turn {turn}: {e}");
            refused += 1;
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(racer.join().expect("no panic") > 10, "the race was hardly run");
    assert!(refused > 0, "no copy ever met the link");
    copy().expect("without the race the copy comes through");
    place.assert_untouched("race");
}

/// A tar stream with one of everything.
fn sample() -> Vec<u8> {
    archive(&[
        raw(b'5', b"./", b"", b""),
        pax(&[("mtime", b"1.5"), ("comment", b"hello")]),
        raw(b'0', b"file", b"", &[7; 1000]),
        raw(b'1', b"hard", b"file", b""),
        raw(b'2', b"soft", b"file", b""),
        raw(b'L', b"././@LongLink", b"", &[&[b'n'; 200][..], b"\0"].concat()),
        raw(b'0', b"nnn", b"", b"long"),
        pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"9000"),
            ("GNU.sparse.name", b"holes"),
        ]),
        raw(b'0', b"GNUSparseFile.0/holes", b"", &{
            let mut data = b"2\n0\n10\n5000\n20\n".to_vec();
            data.resize(512, 0);
            data.resize(542, 3);
            data
        }),
        pax(&[("GNU.sparse.size", b"600"), ("GNU.sparse.map", b"100,10,500,10")]),
        raw(b'0', b"holes-0.1", b"", &[4; 20]),
    ])
}

/// Extracts and checks only that nothing panics, hangs or leaves the destination.
fn survive(bytes: Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let place = Place::new();
    let options = WriteOptions::new().with_limits(Some(1000), Some(1 << 30));
    // Most answers are errors; that it answers is what counts.
    let _ = runtime.block_on(extract(bytes, &place.dest(), options));
    place.assert_untouched("fuzz");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_itself_is_sound() {
    let place = Place::new();
    let report = extract(sample(), &place.dest(), WriteOptions::new()).await.expect("it is well formed");
    assert_eq!((report.entries, report.bytes), (7, 1000 + 4 + 30 + 20));
}

/// An entry of a few names and kinds, so that they meet.
fn any_item() -> impl Strategy<Value = Item> {
    let names =
        prop::sample::select(vec!["", "a", "b", "a/b", "a/a", "a/b/c", "b/a", "..", "../outside/x", "/x", "a/../b"]);
    let targets = prop::sample::select(vec!["a", "b", "..", "../outside", "../outside/secret", "/tmp", "a/b", ""]);
    let kind = prop_oneof![
        3 => (0_u64..10).prop_map(|size| EntryKind::File { size }),
        3 => Just(EntryKind::Dir),
        2 => targets.clone().prop_map(|t| EntryKind::Symlink { target: t.into() }),
        2 => targets.prop_map(|t| EntryKind::Hardlink { target: t.into() }),
        1 => prop::sample::select(vec!["socket", "FIFO"]).prop_map(EntryKind::Special),
    ];
    prop_oneof![
        4 => (names, kind, any::<u32>()).prop_map(|(n, k, mode)| Item::Entry(Entry::new(n, k).with_mode(mode))),
        1 => (0_u64..10, 0_usize..5).prop_map(|(offset, n)| Item::Chunk(Chunk { offset, data: vec![1; n].into() })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        survive(bytes);
    }

    #[test]
    fn flipped_bits_are_survived(flips in proptest::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..20), fix in any::<bool>()) {
        let mut bytes = sample();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        if fix {
            // So that the change gets past the checksum.
            for header in bytes.chunks_exact_mut(512).filter(|b| &b[257..262] == b"ustar") {
                header[148..156].fill(b' ');
                let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
                header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        survive(bytes);
    }

    #[test]
    fn random_entries_are_survived(items in proptest::collection::vec(any_item(), 0..12), layer in any::<bool>()) {
        let place = Place::new();
        // Whatever the answer, it stays inside.
        let _ = write(place.tmp.path(), b"/dest", stream_of(items), WriteOptions::new().with_layer(layer));
        place.assert_untouched("entries");
    }

    #[test]
    fn random_records_and_maps_are_survived(
        keys in proptest::collection::vec((prop::sample::select(vec![
            "path", "linkpath", "size", "mtime", "uid", "gid", "GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.name",
            "GNU.sparse.realsize", "GNU.sparse.size", "GNU.sparse.map", "GNU.sparse.offset", "GNU.sparse.numbytes",
        ]), prop_oneof!["[0-9,.-]{0,24}", "[a-z./]{0,12}"]), 0..8),
        kind in prop::sample::select(b"0125S7".to_vec()),
        data in proptest::collection::vec(prop_oneof![Just(b'\n'), b'0'..=b'9'], 0..1200),
    ) {
        let records: Vec<_> = keys.iter().map(|(k, v)| (*k, v.as_bytes())).collect();
        survive(archive(&[pax(&records), raw(kind, b"name", b"link", &data)]));
    }
}
