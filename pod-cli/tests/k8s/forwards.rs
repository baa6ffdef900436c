//! `pod forward`.

use crate::World;
use crate::driver::Driver;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Child;
use std::time::Duration;

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

/// Connects, and waits for the program to say its port: a queue of connections that nobody has taken yet
/// may overflow.
fn greeted(forward: &Forward, n: usize) -> io::Result<BufReader<TcpStream>> {
    let mut stream = BufReader::new(forward.connect(n));
    let mut port = String::new();
    stream.read_line(&mut port)?;
    if port.is_empty() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    assert_eq!(port, format!("800{}\n", n + 1));
    Ok(stream)
}

#[test]
fn many_connections_reach_many_ports() {
    let w = World::new("forward");
    // Each connection is answered by a program of its own that says its port and repeats a line.
    let serve = "for p in 8001 8002; do nc -ll -p $p -e sh -c \"echo $p; read l; echo \\$l\" & done; wait";
    w.run(["run", "--name", "web", "--", "sh", "-c", serve]).ok();
    let forward = Forward::of(&w, &["8001", "0:8002", ":8009"]);
    assert!(forward.addresses.iter().all(|a| a.starts_with("127.0.0.1:") && !a.ends_with(":0")));
    for n in 0..2 {
        crate::world::eventually("the program listens", || greeted(&forward, n).is_ok());
    }
    // Nobody listens there: that connection is reset, and told, and the others go on.
    let mut refused = forward.connect(2);
    let seen = refused.read(&mut [0]);
    assert!(matches!(&seen, Err(e) if e.kind() == ErrorKind::ConnectionReset), "{seen:?}");
    let mut open: Vec<_> = (0..20).map(|n| (n, greeted(&forward, n % 2).unwrap())).collect();
    // The last begun is the first to go on. containerd takes a second for the end of each.
    for (n, stream) in open.iter_mut().rev() {
        writeln!(stream.get_mut(), "line {n}").unwrap();
        // What the program says is read to its end, though nothing more is written.
        stream.get_mut().shutdown(Shutdown::Write).unwrap();
    }
    for (n, mut stream) in open {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, format!("line {n}\n"));
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
