//! Run, exec, copy, logs, ps, rm: the verbs of every backend.

use crate::World;
use crate::driver::Driver;
use std::fs;

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
