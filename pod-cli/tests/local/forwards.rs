//! `pod forward` on the embedded engine, which carries a half-closed connection whole.

use crate::Engine;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

#[test]
fn the_end_of_what_is_sent_is_carried_and_the_answer_comes_back() {
    let engine = Engine::new();
    // It answers when all has come: how many bytes that was.
    let serve = "exec busybox nc -ll -p 7400 -e wc -c";
    engine.run(["run", "--name", "web", "--", "sh", "-c", serve]).ok();
    let mut forward = engine.start(["forward", "-o", "name", "web", "7400", "7401"]);
    let mut out = BufReader::new(forward.stdout.take().unwrap());
    let mut addresses = [String::new(), String::new()];
    for address in &mut addresses {
        out.read_line(address).unwrap();
    }
    let connect = |n: usize| TcpStream::connect(addresses[n].trim()).unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let mut stream = connect(0);
        let mut answer = String::new();
        let sent = stream.write_all(&[7; 1_000_003]).and_then(|()| stream.shutdown(Shutdown::Write));
        if sent.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer == "1000003\n" {
            break;
        }
        assert!(Instant::now() < end, "the answer was {answer:?}");
    }
    // Many at once, the last begun being the first to end.
    let mut open: Vec<_> = (0..50).map(|_| connect(0)).collect();
    while let Some(mut stream) = open.pop() {
        stream.write_all(&vec![7; open.len()]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, format!("{}\n", open.len()));
    }
    // Nobody listens at the other: that is an error there, and the first still answers.
    assert!(connect(1).read(&mut [0]).is_err());
    let mut last = connect(0);
    last.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    last.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "0\n");
    kill_process(Pid::from_raw(i32::try_from(forward.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    let mut said = String::new();
    forward.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(forward.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains("port: 7401"), "{said}");
    engine.run(["rm", "-f", "web"]).ok();
    engine.assert_nothing_left();
}
