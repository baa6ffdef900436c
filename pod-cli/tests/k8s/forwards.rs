//! `pod forward`.

use crate::World;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Child;
use std::time::{Duration, Instant};

/// A `pod forward` that runs, and the addresses that it printed.
struct Forward {
    child: Child,
    addresses: Vec<String>,
}

impl Forward {
    fn of(w: &World, ports: &[&str]) -> Self {
        let words = ["forward", "-o", "name", "web"].into_iter().chain(ports.iter().copied());
        let mut child = w.start(words);
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut addresses = Vec::new();
        for _ in ports {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            addresses.push(line.trim().to_owned());
        }
        Self { child, addresses }
    }

    fn connect(&self, n: usize) -> TcpStream {
        let stream = TcpStream::connect(&self.addresses[n]).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// Ends it as Ctrl-C does; its code, and what it said.
    fn interrupt(mut self) -> (Option<i32>, String) {
        kill_process(Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        // One that ended already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until the port's program answers.
fn ask(forward: &Forward, n: usize, line: &str) -> String {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let mut stream = forward.connect(n);
        let mut answer = String::new();
        let asked = writeln!(stream, "{line}").and_then(|()| BufReader::new(&stream).read_line(&mut answer));
        if asked.is_ok() && !answer.is_empty() {
            return answer.trim().to_owned();
        }
        assert!(Instant::now() < end, "the program never answered");
    }
}

#[test]
fn many_connections_reach_many_ports() {
    let w = World::new("forward");
    // Each connection is answered by a program of its own that says its port and repeats a line.
    let serve = "for p in 8001 8002; do nc -ll -p $p -e sh -c \"read l; echo $p \\$l\" & done; wait";
    w.run(["run", "--name", "web", "--", "sh", "-c", serve]).ok();
    let forward = Forward::of(&w, &["8001", "0:8002", ":8009"]);
    assert!(forward.addresses.iter().all(|a| a.starts_with("127.0.0.1:") && !a.ends_with(":0")));
    assert_eq!(ask(&forward, 0, "hello"), "8001 hello");
    assert_eq!(ask(&forward, 1, "hello"), "8002 hello");
    // Nobody listens there: that connection is reset, and told, and the others go on.
    let mut refused = forward.connect(2);
    let seen = refused.read(&mut [0]);
    assert!(matches!(&seen, Err(e) if e.kind() == ErrorKind::ConnectionReset), "{seen:?}");
    let open: Vec<_> = (0..20).map(|n| (n, forward.connect(n % 2))).collect();
    for (n, mut stream) in open.into_iter().rev() {
        writeln!(stream, "line {n}").unwrap();
        // What the program says is read to its end, though nothing more is written.
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, format!("800{} line {n}\n", n % 2 + 1));
    }
    let (code, said) = forward.interrupt();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("port: 8009"), "{said}");
}

#[test]
fn what_can_not_be_forwarded_is_told_at_once() {
    let w = World::new("noforward");
    let none = w.run(["forward", "web", "80"]);
    assert!(none.code == 125 && none.err.contains("no such workload"), "{}", none.err);
    w.run(["run", "--name", "done", "--", "true"]).ok();
    w.run(["wait", "done"]).ok();
    let ended = w.run(["forward", "done", "80"]);
    assert!(ended.code == 125 && ended.err.contains("does not run"), "{}", ended.err);
}
