//! Run, exec, copy, logs, ps, rm: the verbs of every backend.

use crate::World;
use crate::driver::Driver;
use crate::world::eventually;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;

#[test]
fn exit_codes_pass() {
    let w = World::new("codes");
    assert_eq!(w.run(["run", "--name", "web", "--", "sleep", "3600"]).ok().out, "web\n");
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        let ran = w.run(["exec", "web", "--", "sh", "-c", script]);
        assert_eq!(ran.code, code, "{script}: {}", ran.err);
    }
    for (program, code) in [("nosuch", 127), ("/etc/passwd", 126)] {
        let ran = w.run(["exec", "web", "--", program]);
        assert_eq!(ran.code, code, "{program}: {}", ran.err);
        assert!(ran.err.contains(program), "{}", ran.err);
    }
    let none = w.run(["exec", "wbe", "--", "true"]);
    assert_eq!(none.code, 125);
    assert!(none.err.contains("did you mean `web`?"), "{}", none.err);
    let late = w.run(["exec", "--timeout", "300ms", "web", "--", "sleep", "60"]);
    assert_eq!(late.code, 124, "{}", late.err);
    // A job's own code, and its output.
    let job = w.run(["run", "--rm", "--name", "job", "--", "sh", "-c", "echo out; exit 5"]);
    assert_eq!((job.code, job.out.as_str()), (5, "out\n"), "{}", job.err);
    // What Kubernetes can't do is refused before anything is done.
    let stop = w.run(["stop", "web"]);
    assert_eq!(stop.code, 125);
    assert!(stop.err.contains("lifecycle.start_stop"), "{}", stop.err);
}

#[test]
fn bytes_and_arguments_arrive_as_they_were() {
    let w = World::new("bytes");
    w.run(["run", "--name", "web", "--", "sleep", "3600"]).ok();
    let data: Vec<u8> = (0..300_007u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut command = w.pod(["exec", "-i", "web", "--", "cat"]);
    let path = w.path().join("in");
    fs::write(&path, &data).unwrap();
    let out = command.stdin(fs::File::open(&path).unwrap()).output().unwrap();
    assert!(out.status.success() && out.stdout == data, "{} bytes of {}", out.stdout.len(), data.len());
    let odd = ["a  b", "", "$HOME", "'q\"", "new\nline", "--help"];
    let ran = w.run(["exec", "web", "--", "printf", "[%s]"].into_iter().chain(odd)).ok();
    assert_eq!(ran.out, odd.map(|a| format!("[{a}]")).concat());
}

#[test]
fn trees_are_copied_both_ways() {
    let w = World::new("cp");
    w.run(["run", "--name", "web", "--", "sleep", "3600"]).ok();
    let tree = w.path().join("tree");
    fs::create_dir_all(tree.join("sub/empty")).unwrap();
    fs::write(tree.join("a"), "one\n").unwrap();
    fs::write(tree.join("sub/b"), vec![7u8; 200_000]).unwrap();
    std::os::unix::fs::symlink("../a", tree.join("sub/link")).unwrap();
    w.run(["cp", "--verify", "hash", "tree", "web:/tmp"]).ok();
    let inside = w.run(["exec", "web", "--", "sh", "-c", "cat /tmp/tree/sub/link; wc -c </tmp/tree/sub/b"]).ok();
    assert_eq!(inside.out.split_whitespace().collect::<Vec<_>>(), ["one", "200000"]);
    w.run(["cp", "web:/tmp/tree/.", "back"]).ok();
    assert_eq!(fs::read(w.path().join("back/sub/b")).unwrap(), vec![7u8; 200_000]);
    assert_eq!(fs::read_link(w.path().join("back/sub/link")).unwrap().to_str(), Some("../a"));
    assert!(w.path().join("back/sub/empty").is_dir());
    let none = w.run(["cp", "web:/nosuch", "x"]);
    assert_eq!(none.code, 125, "{}", none.err);
}

#[test]
fn lists_logs_and_removal() {
    let w = World::new("ps");
    let made = w.run(["run", "--name", "talk", "-l", "app=x", "--", "sh", "-c", "echo one; echo two; exit 3"]).ok();
    assert_eq!(made.out, "talk\n");
    assert_eq!(w.run(["wait", "talk"]).code, 3);
    assert_eq!(w.run(["logs", "-f", "talk"]).ok().out, "one\ntwo\n");
    assert_eq!(w.run(["logs", "--tail", "1", "talk"]).ok().out, "two\n");
    w.run(["run", "--name", "stay", "--", "sleep", "3600"]).ok();
    let list = w.run(["ps", "-a", "-o", "json"]).ok().json();
    let states: Vec<_> = list.as_array().unwrap().iter().map(|p| (&p["name"], &p["state"])).collect();
    assert_eq!(states.len(), 2, "{list}");
    assert_eq!((states[0].0, states[1].0), (&"stay".into(), &"talk".into()));
    assert_eq!((states[0].1, states[1].1), (&"running".into(), &"exited".into()), "{list}");
    assert_eq!(w.run(["ps", "-o", "name"]).ok().out, "stay\n");
    assert_eq!(w.run(["ps", "-a", "-l", "app=x", "-o", "name"]).ok().out, "talk\n");
    let kept = w.run(["rm", "stay"]);
    assert!(kept.code == 125 && kept.err.contains("pod rm -f"), "{}", kept.err);
    w.run(["rm", "-f", "stay", "talk"]).ok();
    assert_eq!(w.run(["ps", "-a", "-o", "name"]).ok().out, "");
}

/// Output complete from the first byte, also what was printed before anybody was attached, and the code.
#[test]
fn run_i_passes_stdin_and_all_output() {
    let w = World::new("runi");
    let script = "printf 'head '; wc -c; echo tail; exit 4";
    let run = |name: &str, script: &str, input: &[u8]| {
        w.feed(["run", "-i", "--rm", "--name", name, "--", "sh", "-c", script], input)
    };
    let lines: String = (0..1_000).map(|n| format!("{n}\r\n")).collect();
    std::thread::scope(|s| {
        for n in 0..3 {
            let run = &run;
            s.spawn(move || {
                let ran = run(&format!("head{n}"), script, b"12345");
                assert_eq!((ran.code, ran.out.as_str()), (4, "head 5\ntail\n"), "{}", ran.err);
            });
        }
        s.spawn(|| {
            // As it was, with its carriage returns.
            let ran = run("cat", "cat; exit 3", lines.as_bytes());
            assert!(ran.code == 3 && ran.out == lines, "{} of {} bytes, {}", ran.out.len(), lines.len(), ran.err);
        });
        s.spawn(|| {
            let ran = run("much", "sleep 0.2; wc -c", &[b'x'; 3_000_000]);
            assert_eq!((ran.code, ran.out.trim()), (0, "3000000"), "{}", ran.err);
        });
        s.spawn(|| {
            // It reads some of its input, and ends.
            let ran = run("some", "head -c 5; exit 2", &[b'x'; 3_000_000]);
            assert_eq!((ran.code, ran.out.as_str()), (2, "xxxxx"), "{}", ran.err);
        });
        s.spawn(|| {
            // It prints all the time, begins before anybody is attached, and reads nothing.
            let script = "i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); [ $((i%10)) != 0 ] || sleep 0.02; done";
            let ran = run("talk", script, b"");
            let all: String = (0..300).map(|n| format!("{n}\n")).collect();
            assert!(ran.code == 0 && ran.out == all, "{ran:?}");
        });
        s.spawn(|| {
            // It has ended before anybody can be attached.
            let ran = run("short", "echo short; exit 9", b"unread");
            assert_eq!((ran.code, ran.out.as_str()), (9, "short\n"), "{}", ran.err);
        });
    });
    assert_eq!(w.run(["ps", "-a", "-o", "name"]).ok().out, "");
}

#[test]
fn attach_joins_a_running_command() {
    let w = World::new("attach");
    let script = "while read -r line; do echo \"got $line\"; echo \"err $line\" >&2; done; echo end; exit 5";
    w.run(["run", "--name", "web", "--", "sleep", "3600"]).ok();
    let refused = w.feed(["attach", "gone"], b"");
    assert_eq!(refused.code, 125, "{}", refused.err);
    // A first run is left by a signal, and goes on.
    let mut child = w.pod(["run", "-a", "--name", "left", "--", "sh", "-c", "echo on; sleep 3600"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"on\n");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    let out = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(143) && words.contains("left goes on"), "{words}");
    assert!(w.run(["ps", "-o", "name"]).ok().out.contains("left"));
    // stdin, stdout, stderr and the code, of one that another made.
    let manifest = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other"},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": crate::world::image(),
            "stdin": true, "stdinOnce": true, "args": ["sh", "-c", script]}]}
    });
    w.kubectl(&["create", "-f", "-"], &manifest.to_string()).ok();
    eventually("it runs", || w.run(["ps", "-o", "name"]).out.contains("other"));
    let ran = w.feed(["attach", "other"], b"a\nb\n");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (5, "got a\ngot b\nend\n", "err a\nerr b\n"));
    let over = w.run(["attach", "other"]);
    assert!(over.code == 125 && over.err.contains("does not run"), "{}", over.err);
}

#[test]
fn run_t_gives_a_terminal() {
    let w = World::new("runt");
    let (master, slave) = terminal();
    let size = rustix::termios::Winsize { ws_row: 40, ws_col: 132, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&master, size).unwrap();
    // The cluster may give the terminal its size a moment after it took it.
    let script = "echo first; read -r line; echo \"got $line\"; \
                  until [ \"$(stty size)\" = '40 132' ]; do sleep 0.1; done; stty size; exit 6";
    let mut child = w
        .pod(["run", "-t", "--rm", "--name", "web", "--", "sh", "-c", script])
        .stdin(Stdio::from(slave.try_clone().unwrap()))
        .stdout(Stdio::from(slave))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut screen = fs::File::from(master);
    let mut text = String::new();
    let mut read_until = |screen: &mut fs::File, word: &str| {
        let mut buf = [0u8; 4096];
        while !text.contains(word) {
            let n = screen.read(&mut buf).unwrap();
            text.push_str(&String::from_utf8_lossy(&buf[..n]));
        }
        text.clone()
    };
    read_until(&mut screen, "first\r\n");
    screen.write_all(b"word\r").unwrap();
    let text = read_until(&mut screen, "40 132\r\n");
    assert_eq!(text.matches("first").count(), 1, "{text:?}");
    assert!(text.contains("got word\r\n"), "{text:?}");
    assert_eq!(child.wait().unwrap().code(), Some(6));
}

/// A terminal of the test's own.
fn terminal() -> (OwnedFd, OwnedFd) {
    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
    let master = rustix::pty::openpt(flags).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let slave = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
    (master, slave)
}
