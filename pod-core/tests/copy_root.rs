//! What only root can set up: full and read-only disks, owners, devices, mounts, image layers. Each test
//! works in a mount namespace of its own, which ends with it.
#![cfg(target_os = "linux")]

mod copy_support;

use copy_support::{Names, assert_same, make_tree, open_dir, read_all, snapshot, write};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use pod_core::copy::tree::{WriteOptions, read_tree};
use pod_core::copy::{Chunk, Entry, EntryKind, EntryStream, Item};
use pod_core::{Error, ErrorKind};
use rustix::fs::{FileType, Mode, makedev, mknodat};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Runs `work` with a directory on a thread with mounts of its own.
fn with_mounts(work: impl FnOnce(&Path) + Send + 'static) {
    assert!(rustix::process::geteuid().is_root(), "these tests need root: run them by `cargo xtask test`");
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("private mounts");
        let tmp = tempfile::tempdir().expect("a temporary directory");
        // Unmounted when the thread, the last in its namespace, ends; the directory below stays empty.
        mount_at(tmp.path(), "tmpfs", "mode=755");
        work(tmp.path());
        nix::mount::umount2(tmp.path(), nix::mount::MntFlags::MNT_DETACH).expect("unmounted");
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn mount_at(path: &Path, kind: &str, options: &str) {
    fs::create_dir_all(path).expect("a mount point");
    mount(Some(kind), path, Some(kind), MsFlags::empty(), Some(options))
        .unwrap_or_else(|e| panic!("mount {kind}: {e}"));
}

fn file(path: &str, size: u64) -> Item {
    Item::Entry(Entry::new(path, EntryKind::File { size }))
}

fn stream_of(items: impl IntoIterator<Item = Item, IntoIter: Send> + Send + 'static) -> EntryStream {
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

fn big_file(path: &str, pieces: u64) -> Vec<Item> {
    let chunk = |i| Item::Chunk(Chunk { offset: i << 16, data: vec![7; 1 << 16].into() });
    std::iter::once(file(path, pieces << 16)).chain((0..pieces).map(chunk)).collect()
}

fn names(e: &Error, entry: &str) -> bool {
    e.context().contains(&("entry", entry.to_owned()))
}

#[test]
fn a_full_disk_leaves_no_half_file() {
    with_mounts(|tmp| {
        let dest = tmp.join("dest");
        mount_at(&dest, "tmpfs", "size=1m,nr_inodes=50");
        fs::write(dest.join("big"), "before").expect("a file");
        let items = [vec![Item::Entry(Entry::new("", EntryKind::Dir)), file("small", 0)], big_file("big", 64)].concat();
        let e = write(tmp, b"/dest", stream_of(items), WriteOptions::new()).expect_err("the disk is full");
        assert_eq!(e.kind(), ErrorKind::Exhausted, "{e}");
        assert!(names(&e, "big") && e.hint().is_some(), "{e}");
        assert_eq!(fs::read(dest.join("big")).expect("what was there"), b"before");
        let left: Vec<_> = snapshot(&dest).into_keys().collect();
        assert_eq!(left, [&b""[..], b"big", b"small"], "the one before stays, nothing else came");

        // No room for names and inodes.
        let items: Vec<_> = (0..100).map(|i| file(&format!("f{i:02}"), 0)).collect();
        let e = write(tmp, b"/dest", stream_of(items), WriteOptions::new()).expect_err("no inodes are left");
        assert_eq!(e.kind(), ErrorKind::Exhausted, "{e}");
        assert!(e.to_string().contains("entry: f"), "{e}");
        assert!(!snapshot(&dest).into_keys().any(|k| k.starts_with(b".pod-")));
    });
}

#[test]
fn a_read_only_disk_is_said_so() {
    with_mounts(|tmp| {
        let dest = tmp.join("dest");
        mount_at(&dest, "tmpfs", "size=1m,ro");
        for dest in [&b"/dest/f"[..], b"/dest"] {
            let items = if dest == b"/dest" { vec![file("f", 0)] } else { vec![file("", 0)] };
            let e = write(tmp, dest, stream_of(items), WriteOptions::new()).expect_err("it is read-only");
            assert_eq!(e.kind(), ErrorKind::PermissionDenied, "{e}");
            assert!(e.context().iter().any(|(k, _)| *k == "entry"), "{e}");
        }
    });
}

#[test]
fn owners_are_kept_on_request_or_given() {
    with_mounts(|tmp| {
        let src = tmp.join("src");
        make_tree(&src, Names::Any);
        for (i, name) in ["one", "dir", "dir/soft", "read-only/inside"].into_iter().enumerate() {
            std::os::unix::fs::lchown(src.join(name), Some(1000 + i as u32), Some(2000)).expect("an owner");
        }
        fs::set_permissions(src.join("one"), std::os::unix::fs::PermissionsExt::from_mode(0o6711)).expect("a mode");
        fs::create_dir(tmp.join("given")).expect("a directory");
        fs::create_dir(tmp.join("given/dir")).expect("a directory");
        let copy = |dest: &[u8], options: WriteOptions| {
            let stream = read_tree(open_dir(tmp), b"/src", false).expect("the source");
            write(tmp, dest, stream, options).expect("the copy");
        };
        copy(b"/kept", WriteOptions::new().with_archive(true));
        copy(b"/given", WriteOptions::new().with_owner(77, 88));
        assert_same(&src, &tmp.join("kept"));
        let owner = |path: &str| {
            let meta = fs::symlink_metadata(tmp.join(path)).expect("it is there");
            (meta.uid(), meta.gid())
        };
        for path in ["one", "dir", "dir/soft", "read-only/inside", "dir/empty", "big"] {
            assert_eq!(owner(&format!("kept/{path}")), owner(&format!("src/{path}")), "{path}");
            let given = if path == "dir" { (0, 0) } else { (77, 88) };
            assert_eq!(owner(&format!("given/{path}")), given, "{path}: what was there keeps its owner");
        }
        assert_eq!(owner("given"), (0, 0));
        let mode = |path: &str| fs::metadata(tmp.join(path)).expect("it is there").mode() & 0o7777;
        assert_eq!((mode("kept/one"), mode("given/one")), (0o6711, 0o711));
    });
}

#[test]
fn devices_are_refused_and_named() {
    with_mounts(|tmp| {
        fs::create_dir(tmp.join("src")).expect("a directory");
        let root = open_dir(&tmp.join("src"));
        mknodat(&root, "null", FileType::CharacterDevice, Mode::RUSR, makedev(1, 3)).expect("a device");
        let stream = read_tree(open_dir(tmp), b"/src", false).expect("the source");
        let e = write(tmp, b"/copy", stream, WriteOptions::new()).expect_err("a device");
        assert!(names(&e, "null"), "{e}");
        assert_eq!(fs::read_dir(tmp.join("copy")).expect("the directory").count(), 0);
    });
}

#[test]
fn mounts_are_entered_but_not_the_kernel_s_own() {
    with_mounts(|tmp| {
        mount_at(&tmp.join("src/disk"), "tmpfs", "size=1m");
        fs::write(tmp.join("src/disk/inside"), "x").expect("a file");
        mount_at(&tmp.join("src/proc"), "proc", "");
        mount_at(&tmp.join("src/sys"), "sysfs", "");
        let items = read_all(read_tree(open_dir(tmp), b"/src", false).expect("the source")).expect("it reads");
        let paths: Vec<_> = items
            .into_iter()
            .filter_map(|i| match i {
                Item::Entry(e) => Some(e.display_path()),
                _ => None,
            })
            .collect();
        assert_eq!(paths, [".", "disk", "disk/inside", "proc", "sys"]);
        let e = read_tree(open_dir(tmp), b"/src/proc", false).expect_err("it is all made up");
        assert_eq!(e.kind(), ErrorKind::Unsupported, "{e}");
    });
}

#[test]
fn a_mount_point_is_not_replaced() {
    with_mounts(|tmp| {
        fs::write(tmp.join("hosts"), "before").expect("a file");
        let hosts = tmp.join("hosts");
        mount(Some(&hosts), &hosts, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("a bind mount");
        let e = write(tmp, b"/hosts", stream_of([file("", 0)]), WriteOptions::new()).expect_err("a mount point");
        assert_eq!(e.kind(), ErrorKind::Busy, "{e}");
        assert!(e.hint().is_some());
        assert_eq!(snapshot(tmp).len(), 2);
        assert_eq!(fs::read(hosts).expect("what was there"), b"before");
    });
}

/// A layer does in an overlay what its marks say.
#[test]
fn a_layer_hides_what_its_marks_name() {
    with_mounts(|tmp| {
        for (path, text) in [("lower/gone", "1"), ("lower/kept", "2"), ("lower/d/old", "3"), ("lower/e/old", "4")] {
            fs::create_dir_all(tmp.join(path).parent().expect("a parent")).expect("a directory");
            fs::write(tmp.join(path), text).expect("a file");
        }
        fs::create_dir(tmp.join("lower/whole")).expect("a directory");
        for dir in ["upper", "work", "merged"] {
            fs::create_dir(tmp.join(dir)).expect("a directory");
        }
        let dir = |path: &str| Item::Entry(Entry::new(path, EntryKind::Dir));
        let device = Item::Entry(Entry::new("dev", EntryKind::Special("character device")));
        let items = [
            dir(""),
            file(".wh.gone", 0),
            file(".wh.whole", 0),
            dir("d"),
            file("d/new", 0),
            file("d/.wh..wh..opq", 0),
            dir("e"),
            file("e/.wh.old", 0),
            file(".wh..wh.plnk", 0),
            device,
        ];
        let options = WriteOptions::new().with_layer(true).with_archive(true);
        let report = write(tmp, b"/upper", stream_of(items), options).expect("a layer");
        assert_eq!(report.not_kept, ["devices, FIFOs and sockets"]);
        assert!(fs::symlink_metadata(tmp.join("upper/gone")).expect("the mark").file_type().is_char_device());
        let at = |name: &str| tmp.join(name).display().to_string();
        let overlay = format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
        mount_at(&tmp.join("merged"), "overlay", &overlay);
        let seen: Vec<_> = snapshot(&tmp.join("merged")).into_keys().filter(|k| !k.is_empty()).collect();
        assert_eq!(seen, [&b"d"[..], b"d/new", b"e", b"kept"]);

        let bad = stream_of([file(".wh...", 0)]);
        let e = write(tmp, b"/upper", bad, WriteOptions::new().with_layer(true)).expect_err("it hides `..`");
        assert!(names(&e, ".wh..."), "{e}");
    });
}

/// The root of a container is an overlay: files of the layer below are replaced, links and holes kept.
#[test]
fn an_overlay_is_written() {
    with_mounts(|tmp| {
        make_tree(&tmp.join("src"), Names::Any);
        for dir in ["lower/dest/dir", "upper", "work", "merged"] {
            fs::create_dir_all(tmp.join(dir)).expect("a directory");
        }
        fs::write(tmp.join("lower/dest/one"), "below").expect("a file");
        std::os::unix::fs::symlink("/etc/passwd", tmp.join("lower/dest/big")).expect("a link");
        let at = |name: &str| tmp.join(name).display().to_string();
        let options = format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
        mount_at(&tmp.join("merged"), "overlay", &options);
        for _ in 0..2 {
            let stream = read_tree(open_dir(tmp), b"/src", false).expect("the source");
            let options = WriteOptions::new().with_verify(pod_core::copy::Verify::Hash);
            write(&tmp.join("merged"), b"/dest", stream, options).expect("the copy");
            assert_same(&tmp.join("src"), &tmp.join("merged/dest"));
        }
        let blocks = fs::metadata(tmp.join("merged/dest/sparse")).expect("the sparse file").blocks();
        assert!(blocks * 512 < 1 << 20, "{blocks} blocks");
        let stream = read_tree(open_dir(&tmp.join("merged")), b"/dest", false).expect("the copy");
        write(tmp, b"/back", stream, WriteOptions::new()).expect("and back");
        assert_same(&tmp.join("src"), &tmp.join("back"));
    });
}
