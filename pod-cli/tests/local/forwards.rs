//! `pod forward` on the embedded engine, which carries a half-closed connection whole.

use crate::Engine;
use crate::driver::Driver;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

#[test]
fn the_end_of_what_is_sent_is_carried_and_the_answer_comes_back() {
    let engine = Engine::new();
    // It says that it is there, and when all has come, how many bytes that was.
    let serve = "exec busybox nc -ll -p 7400 -e sh -c 'echo ready; exec wc -c'";
    engine.run(["run", "--name", "web", "--", "sh", "-c", serve]).ok();
    let mut forward = engine.start(["forward", "-o", "name", "web", "7400", "7401"]);
    let mut out = BufReader::new(forward.stdout.take().unwrap());
    let mut addresses = [String::new(), String::new()];
    for address in &mut addresses {
        out.read_line(address).unwrap();
    }
    let connect = |n: usize| TcpStream::connect(addresses[n].trim()).unwrap();
    let greeted = || {
        let mut stream = connect(0);
        let mut word = [0; 6];
        stream.read_exact(&mut word).map(|()| assert_eq!(&word, b"ready\n")).map(|()| stream)
    };
    let count = |mut stream: TcpStream, bytes: usize| {
        stream.write_all(&vec![7; bytes]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, format!("{bytes}\n"));
    };
    let end = Instant::now() + Duration::from_secs(20);
    let first = loop {
        match greeted() {
            Ok(stream) => break stream,
            Err(e) => assert!(Instant::now() < end, "{e}"),
        }
    };
    count(first, 1_000_003);
    // Many at once, the last begun being the first to end.
    let mut open: Vec<_> = (0..30).map(|_| greeted().unwrap()).collect();
    while let Some(stream) = open.pop() {
        count(stream, open.len());
    }
    // Nobody listens at the other: that is an error there, and the first still answers.
    assert!(connect(1).read(&mut [0]).is_err());
    count(greeted().unwrap(), 0);
    kill_process(Pid::from_raw(i32::try_from(forward.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    let mut said = String::new();
    forward.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(forward.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains("port: 7401"), "{said}");
    engine.run(["rm", "-f", "web"]).ok();
    engine.assert_nothing_left();
}
