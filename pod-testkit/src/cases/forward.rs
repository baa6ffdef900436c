//! Connections to ports of a workload.

use super::stdio::read_until;
use crate::case::{cases, ensure, ensure_eq, expect_error};
use crate::{Failure, Lab, Outcome};
use pod_core::{BoxDuplex, BoxRead, Connection, ErrorKind, ExecRequest, ForwardRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

cases! { "forward":
    a_port_is_reached [Create, Exec, ExecStdin, ExecForward];
    nothing_that_listens_is_an_error [Create, ExecForward];
    port_0_is_refused [Create, ExecForward];
    a_stopped_workload_is_refused [Create, ExecForward];
}

const PORT: u16 = 7400;

/// One try to send a line to the listener; `None` when it does not listen yet.
async fn reach(lab: &Lab, connection: &dyn Connection, printed: &mut BoxRead) -> Result<Option<BoxDuplex>, Failure> {
    let mut stream = match connection.forward(ForwardRequest::new(PORT)).await {
        Ok(stream) => stream,
        Err(e) if e.kind() == ErrorKind::Unavailable => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    // A platform may learn only now that nothing listens.
    if stream.write_all(b"ping\n").await.is_err() || stream.flush().await.is_err() {
        return Ok(None);
    }
    let mut byte = [0];
    tokio::select! {
        line = read_until(lab, printed, "ping\n") => {
            ensure_eq!(line?, "ping\n", "what the listener printed");
            Ok(Some(stream))
        }
        read = stream.read(&mut byte) => {
            ensure!(read.is_err(), "a connection to a port ended without an error: {read:?}");
            Ok(None)
        }
    }
}

async fn a_port_is_reached(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let script = format!("if command -v nc >/dev/null; then exec nc -l -p {PORT}; fi; exec busybox nc -l -p {PORT}");
    let mut listener = connection.exec(ExecRequest::shell(script).with_stdin()).await?;
    let mut stdin = listener.take_stdin().ok_or_else(|| Failure::new("there is no stdin"))?;
    let mut printed = listener.take_stdout().ok_or_else(|| Failure::new("there is no stdout"))?;
    let mut stream = None;
    for _ in 0..100 {
        stream = reach(lab, &*connection, &mut printed).await?;
        if stream.is_some() {
            break;
        }
        tokio::time::sleep(lab.ms(50)).await;
    }
    let mut stream = stream.ok_or_else(|| Failure::new("the listener was never reached"))?;
    stdin.write_all(b"pong\n").await?;
    stdin.flush().await?;
    let mut answer = [0; 5];
    lab.within(10_000, "the answer", stream.read_exact(&mut answer)).await??;
    ensure_eq!(&answer, b"pong\n", "the answer");
    drop(stream);
    lab.within(10_000, "the listener's end", printed.read_to_end(&mut Vec::new())).await??;
    Ok(())
}

async fn nothing_that_listens_is_an_error(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    match connection.forward(ForwardRequest::new(PORT + 1)).await {
        Err(e) => ensure_eq!(e.kind(), ErrorKind::Unavailable, "the error"),
        Ok(mut stream) => {
            let read = lab.within(10_000, "a read from a port where nothing listens", stream.read(&mut [0])).await?;
            ensure!(read.is_err(), "a port where nothing listens gave {read:?}");
        }
    }
    Ok(())
}

async fn port_0_is_refused(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let answer = connection.forward(ForwardRequest::new(0)).await.map(|_| "a stream");
    expect_error(answer, ErrorKind::InvalidInput, "port 0")?;
    Ok(())
}

async fn a_stopped_workload_is_refused(lab: &Lab) -> Outcome {
    let connection = if lab.has(pod_core::Capability::StartStop) {
        let (name, connection) = lab.running().await?;
        lab.backend().stop(pod_core::StopRequest::new(name).with_grace(std::time::Duration::ZERO)).await?;
        connection
    } else {
        lab.backend().connect(&lab.idle().await?).await?
    };
    let answer = connection.forward(ForwardRequest::new(PORT)).await.map(|_| "a stream");
    expect_error(answer, ErrorKind::WrongState, "a stopped workload")?;
    Ok(())
}
