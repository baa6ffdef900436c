//! Workloads that outlive their command, on Docker and Podman: what the contract suite does not ask of every
//! backend.

mod lab;

use futures_util::StreamExt;
use lab::world::{World, on_both};
use pod_core::{
    AttachRequest, BackendExt, CreateRequest, ErrorKind, EventKind, EventsRequest, ExitStatus, LogsRequest, Signal,
    StartOutcome, StartRequest, State, StopOutcome, StopRequest, WorkloadName, WorkloadSpec,
};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SOON: Duration = Duration::from_secs(20);

fn kept(name: &WorkloadName, script: &str) -> WorkloadSpec {
    lab::spec(name).with_command(["sh", "-c", script]).with_keep_alive(true)
}

impl World {
    async fn kept(&mut self, script: &str) -> WorkloadName {
        let name = self.named();
        self.backend.create(CreateRequest::new(kept(&name, script)).with_start()).await.expect("a workload");
        name
    }

    async fn state(&self, name: &WorkloadName) -> State {
        self.backend.inspect(name).await.expect("a workload").state
    }

    async fn ended(&self, name: &WorkloadName) -> ExitStatus {
        tokio::time::timeout(SOON, self.backend.wait_exit(name)).await.expect("it is told").expect("a status")
    }
}

#[tokio::test]
async fn it_goes_on_and_its_command_is_run_again_in_it() {
    on_both(async |w| {
        let name = w.kept("echo $$ >>/runs; until rm /go 2>/dev/null; do sleep 0.05; done; exit 7").await;
        assert_eq!(w.state(&name).await, State::Running { command: None });
        let start = || w.backend.start(StartRequest::new(name.clone()));
        assert_eq!(start().await.expect("it runs"), StartOutcome::AlreadyRunning);
        let go = async || assert_eq!(w.sh(&name, "touch /go").await, "");
        let mut events = w.backend.events(EventsRequest::of(name.clone())).await.expect("events");
        go().await;
        assert_eq!(w.ended(&name).await, ExitStatus::Exited(7));
        let over = State::Running { command: Some(ExitStatus::Exited(7)) };
        assert_eq!(w.state(&name).await, over);
        let listed = w.backend.list(pod_core::Filter::all()).await.expect("a list");
        assert_eq!(listed.iter().find(|l| *l.name() == name).map(|l| &l.state), Some(&over));
        assert_eq!(start().await.expect("it is run again"), StartOutcome::Started);
        assert_eq!(w.state(&name).await, State::Running { command: None });
        go().await;
        assert_eq!(w.ended(&name).await, ExitStatus::Exited(7));
        for _ in 0..2 {
            let event = tokio::time::timeout(SOON, events.next()).await.expect("it is told");
            let kind = event.expect("an event").expect("an event").kind;
            assert_eq!(kind, EventKind::Exited(ExitStatus::Exited(7)));
        }
        assert_eq!(w.sh(&name, "wc -l </runs").await.trim(), "2");

        // Ended as a whole, it keeps the status; started again, that is the old run's.
        let stop = StopRequest::new(name.clone()).with_grace(SOON);
        assert_eq!(w.backend.stop(stop.clone()).await.expect("it stops"), StopOutcome::Stopped);
        assert_eq!(w.state(&name).await, State::Exited(ExitStatus::Exited(7)));
        assert_eq!(start().await.expect("it starts"), StartOutcome::Started);
        assert_eq!(w.state(&name).await, State::Running { command: None });
        let kind = async |events: &mut pod_core::EventStream| {
            let event = tokio::time::timeout(SOON, events.next()).await.expect("it is told");
            event.expect("an event").expect("an event").kind
        };
        assert_eq!(kind(&mut events).await, EventKind::Exited(ExitStatus::Exited(7)), "the container's own end");
        assert_eq!(kind(&mut events).await, EventKind::Started);
        go().await;
        assert_eq!(w.ended(&name).await, ExitStatus::Exited(7));
        assert_eq!(kind(&mut events).await, EventKind::Exited(ExitStatus::Exited(7)));
        // Killed, the command's own status stays.
        let killed = w.backend.stop(stop.with_grace(Duration::ZERO)).await.expect("it is killed");
        assert_eq!(killed, StopOutcome::Killed);
        assert_eq!(w.state(&name).await, State::Exited(ExitStatus::Exited(7)));
    })
    .await;
}

#[tokio::test]
async fn a_stop_reaches_the_command() {
    on_both(async |w| {
        let name = w.kept("trap 'exit 4' TERM; trap 'exit 5' USR1; while :; do sleep 0.05; done").await;
        let start = || w.backend.start(StartRequest::new(name.clone()));
        for (signal, code) in [(Signal::TERM, 4), (Signal::USR1, 5)] {
            // The shell has set its traps by then.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let begun = Instant::now();
            let request = StopRequest::new(name.clone()).with_signal(signal).with_grace(SOON);
            assert_eq!(w.backend.stop(request).await.expect("it stops"), StopOutcome::Stopped, "{signal}");
            assert_eq!(w.state(&name).await, State::Exited(ExitStatus::Exited(code)), "{signal}");
            assert!(begun.elapsed() < SOON, "{signal} took {:?}", begun.elapsed());
            start().await.expect("it starts");
        }
        // The daemon's own stop as well, which is also what it does when it ends itself.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let begun = Instant::now();
        w.docker(&["stop", "-t", "60", name.as_str()]);
        assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
        assert_eq!(w.state(&name).await, State::Exited(ExitStatus::Exited(4)));

        let stubborn = w.kept("trap '' TERM; while :; do sleep 0.05; done").await;
        let request = StopRequest::new(stubborn.clone()).with_grace(Duration::from_millis(300));
        assert_eq!(w.backend.stop(request).await.expect("it is killed"), StopOutcome::Killed);
        assert_eq!(w.state(&stubborn).await, State::Exited(ExitStatus::Exited(137)));
    })
    .await;
}

#[tokio::test]
async fn its_log_and_its_streams_end_with_the_command() {
    on_both(async |w| {
        let name = w.kept("echo one; sleep 0.5; echo two; exit 3").await;
        let read = async || {
            let request = LogsRequest::new(name.clone()).with_follow(true);
            let mut log = w.backend.logs(request).await.expect("a log");
            let mut text = Vec::new();
            while let Some(record) = tokio::time::timeout(SOON, log.next()).await.expect("it ends") {
                text.extend_from_slice(&record.expect("a record").data);
            }
            String::from_utf8_lossy(&text).into_owned()
        };
        assert_eq!(read().await, "one\ntwo\n", "while it runs");
        assert_eq!(read().await, "one\ntwo\n", "after its end");

        let silent = w.kept("sleep 0.5").await;
        let request = LogsRequest::new(silent.clone()).with_follow(true);
        let mut log = w.backend.logs(request).await.expect("a log");
        assert!(tokio::time::timeout(SOON, log.next()).await.expect("it ends").is_none());

        let fed = w.named();
        let spec = kept(&fed, "cat; echo end; exit 6").with_stdin(true);
        w.backend.create(CreateRequest::new(spec).with_start()).await.expect("a workload");
        let request = AttachRequest::new(fed.clone()).with_stdin(true).with_logs(true);
        let mut process = w.backend.attach(request).await.expect("its streams");
        let mut stdin = process.take_stdin().expect("a stdin");
        let mut stdout = process.take_stdout().expect("a stdout");
        stdin.write_all(b"typed\n").await.expect("written");
        stdin.shutdown().await.expect("ended");
        let mut text = String::new();
        tokio::time::timeout(SOON, stdout.read_to_string(&mut text)).await.expect("it ends").expect("text");
        assert_eq!(text, "typed\nend\n");
        assert_eq!(process.wait().await.expect("a status"), ExitStatus::Exited(6));
        let again = w.backend.attach(AttachRequest::new(fed.clone())).await;
        assert_eq!(again.map(drop).map_err(|e| e.kind()), Err(ErrorKind::WrongState));
    })
    .await;
}

#[tokio::test]
async fn what_can_not_be_run_is_told_and_any_user_can_end() {
    on_both(async |w| {
        for (program, code) in [("no-such-program", 127), ("/etc/passwd", 126), ("/no/such", 127)] {
            let name = w.named();
            let spec = lab::spec(&name).with_command([program]).with_keep_alive(true);
            let e = w.backend.create(CreateRequest::new(spec.clone()).with_start()).await.map(drop).expect_err(program);
            assert_eq!((e.kind(), e.exit_code()), (ErrorKind::CommandFailed, Some(code)), "{program}: {e}");
            let there = w.backend.inspect(&name).await.map(drop).map_err(|e| e.kind());
            assert_eq!(there, Err(ErrorKind::NotFound), "{program}");
            w.backend.create(CreateRequest::new(spec)).await.expect("a workload");
            let e = w.backend.start(StartRequest::new(name.clone())).await.expect_err(program);
            assert_eq!((e.kind(), e.exit_code()), (ErrorKind::CommandFailed, Some(code)), "{program}: {e}");
            assert_eq!(w.state(&name).await, State::Exited(ExitStatus::Exited(code)), "{program}");
        }
        let name = w.named();
        let spec = kept(&name, "[ \"$(id -u):$n:$s\" = 1234:a:b ] && exit 8").with_user("1234:1234");
        let spec = spec.with_env("n", "a").with_env("s", "b");
        w.backend.create(CreateRequest::new(spec).with_start()).await.expect("a workload");
        assert_eq!(w.ended(&name).await, ExitStatus::Exited(8));
    })
    .await;
}

#[tokio::test]
async fn the_keys_of_a_terminal_reach_the_command() {
    on_both(async |w| {
        let name = w.named();
        let spec = kept(&name, "trap 'exit 9' INT; echo ready; while :; do sleep 0.05; done").with_tty(true);
        w.backend.create(CreateRequest::new(spec.with_stdin(true)).with_start()).await.expect("a workload");
        let request = AttachRequest::new(name.clone()).with_stdin(true).with_logs(true);
        let mut process = w.backend.attach(request).await.expect("its terminal");
        let mut stdout = process.take_stdout().expect("a terminal");
        let mut text = [0; 5];
        tokio::time::timeout(SOON, stdout.read_exact(&mut text)).await.expect("it is ready").expect("text");
        process.take_stdin().expect("a terminal").write_all(b"\x03").await.expect("typed");
        assert_eq!(w.ended(&name).await, ExitStatus::Exited(9));
        assert_eq!(w.state(&name).await, State::Running { command: Some(ExitStatus::Exited(9)) });
    })
    .await;
}
