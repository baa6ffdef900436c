//! The streams of a container's own command, on both engines.

mod lab;

use lab::Engine;
use pod_core::{
    AttachRequest, Backend, BoxRead, BoxWrite, CreateRequest, ErrorKind, ExitStatus, Process, RemoveRequest, Result,
    StartRequest, State, TtySize, WorkloadName, WorkloadSpec,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// How long anything may take.
const SOON: Duration = Duration::from_secs(30);

/// A workload that is attached to.
struct Attached {
    backend: Arc<dyn Backend>,
    name: WorkloadName,
}

/// A command that is attached to, and its streams.
struct Held {
    process: Process,
    stdin: Option<BoxWrite>,
    stdout: BoxRead,
}

impl Attached {
    fn request(&self) -> AttachRequest {
        AttachRequest::new(self.name.clone())
    }

    async fn attach(&self, request: AttachRequest) -> Result<Held> {
        let mut process = self.backend.attach(request).await?;
        let (stdin, stdout) = (process.take_stdin(), process.take_stdout().expect("an output"));
        Ok(Held { process, stdin, stdout })
    }

    async fn fed(&self) -> Result<Held> {
        self.attach(self.request().with_stdin(true)).await
    }
}

impl Held {
    async fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("a stdin");
        timeout(SOON, stdin.write_all(text.as_bytes())).await.expect("in time").expect("written");
        stdin.flush().await.expect("flushed");
    }

    async fn end(&mut self) {
        timeout(SOON, self.stdin.as_mut().expect("a stdin").shutdown()).await.expect("in time").expect("ended");
    }

    /// What comes up to this.
    async fn until(&mut self, end: &str) -> String {
        let mut all = Vec::new();
        while !all.ends_with(end.as_bytes()) {
            let read = timeout(SOON, self.stdout.read_buf(&mut all)).await;
            let read = read.unwrap_or_else(|_| panic!("no {end:?} after {:?}", String::from_utf8_lossy(&all)));
            assert!(read.expect("no loss") > 0, "it ended after {:?}", String::from_utf8_lossy(&all));
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// What comes to the end, and how the command ended.
    async fn rest(mut self) -> Result<(String, ExitStatus)> {
        let mut all = String::new();
        timeout(SOON, self.stdout.read_to_string(&mut all)).await.expect("in time").expect("no loss");
        let status = timeout(SOON, self.process.wait()).await.expect("in time")?;
        Ok((all, status))
    }
}

/// Runs a test on both engines at once, each with a workload that is removed whatever happens.
async fn on_both<F, Fut>(change: impl Fn(WorkloadSpec) -> WorkloadSpec, test: F)
where
    F: Fn(Arc<Attached>) -> Fut,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let one = async |engine: Engine| {
        let backend = lab::registry().connect(&engine.uri()).await.expect("the engine");
        let name = lab::unique("attach");
        let spec = change(lab::spec(&name).with_stdin(true));
        backend.create(CreateRequest::new(spec).with_start()).await.expect("a workload");
        let attached = Arc::new(Attached { backend: backend.clone(), name: name.clone() });
        let done = tokio::spawn(test(attached)).await;
        backend.remove(RemoveRequest::new(name).with_force(true)).await.expect("it is removed");
        match done {
            Ok(done) => done.unwrap_or_else(|e| panic!("on {engine:?}: {e}")),
            Err(e) => std::panic::resume_unwind(e.into_panic()),
        }
    };
    tokio::join!(one(Engine::Docker), one(Engine::Podman));
}

fn script(text: &'static str) -> impl Fn(WorkloadSpec) -> WorkloadSpec {
    move |spec| spec.with_command(["sh", "-c", text])
}

#[tokio::test]
async fn who_lets_go_leaves_the_input_open_to_others() {
    on_both(script("wc -c; exit 4"), async |w| {
        let mut first = w.fed().await?;
        first.write("half a li").await;
        // As if killed: nothing is shut down.
        drop(first);
        let (mut second, mut third) = (w.fed().await?, w.fed().await?);
        second.write("two\n").await;
        third.write("three\n").await;
        drop(second);
        third.end().await;
        let (out, status) = third.rest().await?;
        assert_eq!((out.trim(), status), ("19", ExitStatus::Exited(4)));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_restart_opens_the_input_again() {
    on_both(script("wc -c"), async |w| {
        for input in ["12345", "123"] {
            let mut held = w.fed().await?;
            held.write(input).await;
            held.end().await;
            let (out, status) = held.rest().await?;
            assert_eq!((out.trim(), status), (input.len().to_string().as_str(), ExitStatus::Exited(0)));
            w.backend.start(StartRequest::new(w.name.clone())).await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn other_users_commands_are_fed() {
    on_both(
        |spec| spec.with_command(["sh", "-c", "id -u; wc -c"]).with_user("1000:1000"),
        async |w| {
            let mut held = w.attach(w.request().with_stdin(true).with_logs(true)).await?;
            held.write("12345").await;
            held.end().await;
            assert_eq!(held.rest().await?, ("1000\n5\n".into(), ExitStatus::Exited(0)));
            Ok(())
        },
    )
    .await;
}

#[tokio::test]
async fn what_was_printed_before_comes_first_on_its_own_stream() {
    let text = "echo out; echo err >&2; printf 'name? '; read n; echo \"hi $n\"; echo bye >&2; read n";
    on_both(script(text), async |w| {
        let mut held = w.attach(w.request().with_stdin(true).with_logs(true)).await?;
        let mut stderr = held.process.take_stderr().expect("a stderr");
        held.write("Bob\n").await;
        assert_eq!(held.until("Bob\n").await, "out\nname? hi Bob\n", "a line that was begun before is whole");
        held.end().await;
        assert_eq!(held.rest().await?, (String::new(), ExitStatus::Exited(1)));
        let mut all = String::new();
        stderr.read_to_string(&mut all).await.expect("no loss");
        assert_eq!(all, "err\nbye\n");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn how_a_command_ended_that_needs_no_end_of_its_input_is_known() {
    on_both(script("read n; echo \"hi $n\"; exit 5"), async |w| {
        let mut held = w.fed().await?;
        held.write("Bob\n").await;
        held.end().await;
        assert_eq!(held.rest().await?, ("hi Bob\n".into(), ExitStatus::Exited(5)));
        let state = w.backend.inspect(&w.name).await?.state;
        assert_eq!(state, State::Exited(ExitStatus::Exited(5)), "to tell the end must not make it ready again");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_flood_is_neither_cut_nor_doubled() {
    let text = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; read n; echo end";
    on_both(script(text), async |w| {
        let expected: String = (0..20000).map(|i| format!("line {i}\n")).collect();
        let mut held = w.attach(w.request().with_stdin(true).with_logs(true)).await?;
        let found = held.until("line 19999\n").await;
        assert!(found == expected, "{} bytes of {}", found.len(), expected.len());
        held.write("go\n").await;
        assert_eq!(held.rest().await?, ("end\n".into(), ExitStatus::Exited(0)));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn no_keys_let_go_of_a_terminal() {
    on_both(
        |spec| spec.with_command(["sh", "-c", "stty -icanon -echo -ixon; echo ready; exec cat"]).with_tty(true),
        async |w| {
            let request = w.request().with_stdin(true).with_logs(true);
            let mut held = w.attach(request.with_tty(Some(TtySize { rows: 20, cols: 70 }))).await?;
            held.until("ready\r\n").await;
            // Docker's own keys, and one of those that it is told, which comes with the next.
            for keys in ["\u{10}", "\u{11}", "\u{10}\u{11}", "x"] {
                held.write(keys).await;
                assert_eq!(held.until(keys).await, keys);
            }
            held.process.kill().await?;
            assert_eq!(held.rest().await?.1, ExitStatus::Exited(137));
            Ok(())
        },
    )
    .await;
}

#[tokio::test]
async fn an_image_without_a_shell_is_attached_to_but_not_fed() {
    let bare = |spec: WorkloadSpec| {
        spec.with_image("pod.test/bare:1".parse().expect("an image")).with_command(["/sleep", "3600"])
    };
    on_both(bare, async |w| {
        let e = w.backend.attach(w.request().with_stdin(true)).await.expect_err("no shell");
        assert_eq!(e.kind(), ErrorKind::Unsupported, "{e}");
        assert!(e.message().contains("`sh`") && e.hint().is_some(), "{e}");
        let held = w.attach(w.request()).await?;
        held.process.kill().await?;
        assert_eq!(held.rest().await?, (String::new(), ExitStatus::Exited(137)));
        Ok(())
    })
    .await;
}
