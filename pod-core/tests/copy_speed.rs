//! How fast a copy is beside `cp -a`: `cargo test -p pod-core --release --test copy_speed -- --ignored --nocapture`.
//! `POD_SPEED_DIR` names the directory to measure in.
#![cfg(target_os = "linux")]

mod copy_support;

use copy_support::open_dir;
use pod_core::copy::tar::{self, TarOptions};
use pod_core::copy::tree::{WriteOptions, read_tree, write_tree};
use pod_core::copy::{CopyReport, Verify};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn copy(dir: &Path, verify: Verify) -> CopyReport {
    let stream = read_tree(open_dir(dir), b"/src", false).expect("the source");
    let options = WriteOptions::new().with_verify(verify);
    write_tree(open_dir(dir), b"/copy", stream, options).expect("the copy")
}

fn through_tar(dir: &Path) -> CopyReport {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let stream = read_tree(open_dir(dir), b"/src", false).expect("the source");
    let (mut near, far) = tokio::io::duplex(256 << 10);
    let root = open_dir(dir);
    runtime.block_on(async move {
        let options = TarOptions::new().with_root("src");
        let writing = tokio::spawn(async move { tar::write_with(stream, &mut near, &options).await });
        let stream = tar::read_as(far, b"src");
        let reading = tokio::task::spawn_blocking(move || write_tree(root, b"/copy", stream, WriteOptions::new()));
        writing.await.expect("no panic").expect("written");
        reading.await.expect("no panic").expect("read")
    })
}

fn cp(dir: &Path) {
    let status = Command::new("cp").args(["-a", "src", "copy"]).current_dir(dir).status().expect("cp runs");
    assert!(status.success());
}

fn remove(path: &Path) {
    if path.is_dir() {
        fs::remove_dir_all(path).expect("removed");
    } else {
        fs::remove_file(path).expect("removed");
    }
}

/// Processor time of this process and of its children that have ended (`proc_pid_stat(5)`), at 100 ticks
/// a second.
fn processor() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("it is there");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    Duration::from_millis(fields[11..15].iter().map(|f| f.parse::<u64>().expect("a number") * 10).sum())
}

/// Wall and processor time.
type Took = (Duration, Duration);

/// The medians of five runs, each into nothing.
fn median(dir: &Path, mut work: impl FnMut()) -> Took {
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        rustix::fs::sync();
        let (start, before) = (Instant::now(), processor());
        work();
        wall.push(start.elapsed());
        cpu.push(processor() - before);
        remove(&dir.join("copy"));
    }
    wall.sort();
    cpu.sort();
    (wall[2], cpu[2])
}

fn measure(what: &str, dir: &Path) {
    let cp = median(dir, || cp(dir));
    let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
    println!("{what}: cp -a {:.0?}, processor {:.0?}", cp.0, cp.1);
    for (name, took) in [
        ("no check", median(dir, || drop(copy(dir, Verify::None)))),
        ("length", median(dir, || drop(copy(dir, Verify::Length)))),
        ("hash", median(dir, || drop(copy(dir, Verify::Hash)))),
        ("length, through tar", median(dir, || drop(through_tar(dir)))),
    ] {
        let (wall, cpu) = (ratio(took.0, cp.0), ratio(took.1, cp.1));
        println!("{what}: {name} {:.0?}, {wall:.2} of cp; processor {:.0?}, {cpu:.2} of cp", took.0, took.1);
    }
}

#[test]
#[ignore = "a measure, not a test"]
fn one_large_file_and_many_small_ones() {
    let base = std::env::var_os("POD_SPEED_DIR").unwrap_or_else(|| "/tmp".into());
    let tmp = tempfile::tempdir_in(base).expect("a temporary directory");
    let src = tmp.path().join("src");
    fs::create_dir(&src).expect("a directory");
    for i in 0..10_000_u32 {
        let dir = src.join(format!("d{}", i / 100));
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join(format!("f{i}")), vec![i as u8; (i % 4096) as usize]).expect("a file");
    }
    measure("10,000 small files", tmp.path());
    fs::remove_dir_all(&src).expect("removed");
    let file = fs::File::create(&src).expect("a file");
    for i in 0..1024_u64 {
        std::os::unix::fs::FileExt::write_all_at(&file, &vec![i as u8 ^ 0x5a; 1 << 20], i << 20).expect("data");
    }
    measure("one file of 1 GiB", tmp.path());
}
