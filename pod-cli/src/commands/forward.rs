//! `pod forward`

use crate::args::{Forward, PortPair};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{ForwardList, ForwardView};
use crate::signals::Controls;
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use pod::{Capability, Connection, Error, ErrorKind, ForwardRequest, IoResultExt, Result};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// The size of the buffers of a connection, each way, in bytes.
const BUFFER: usize = 64 << 10;

/// How long to wait when a connection can't be taken: there may be no file descriptor left.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn run(context: &Context, args: Forward) -> Result<Exit> {
    if !args.address.is_loopback() && !args.allow_remote {
        return Err(Error::invalid("other machines would reach the workload by that address")
            .with_context("address", args.address.to_string())
            .with_hint("--allow-remote allows it"));
    }
    let target = context.target(&args.workload).await?;
    if !target.backend.capabilities().has(Capability::ExecForward) {
        return Err(Error::unsupported("the backend can't connect to ports of workloads")
            .with_context("capability", Capability::ExecForward.path())
            .with_backend(target.backend.info().uri.to_string()));
    }
    let found = match target.backend.inspect(&target.name).await {
        Ok(workload) => workload,
        Err(e) => return Err(target.explain(e).await),
    };
    if !found.state.is_running() {
        return Err(Error::new(ErrorKind::WrongState, "the workload does not run")
            .with_context("workload", target.name.as_str())
            .with_context("state", found.state.to_string()));
    }
    let connection = target.backend.connect(&target.name).await?;
    // From here on a signal ends it, also between the line that says where to connect and the first try.
    let mut controls = Controls::new(false)?;
    let mut doors = Vec::new();
    for pair in &args.ports {
        doors.push(Door::open(args.address, *pair).await?);
    }
    let view = |door: &Door| ForwardView {
        address: door.at.to_string(),
        workload: target.name.to_string(),
        port: door.remote,
    };
    context.print(&ForwardList(doors.iter().map(view).collect()))?;
    let report = |error: Error| {
        context.report(&error);
    };
    let signal = tokio::select! {
        () = serve(&*connection, &doors, report) => return Ok(Exit::OK),
        signal = controls.end() => signal,
    };
    Ok(Exit::of_signal(signal.get()))
}

/// A port here that leads to one in the workload.
#[derive(Debug)]
struct Door {
    listener: TcpListener,
    at: SocketAddr,
    remote: u16,
}

impl Door {
    async fn open(address: IpAddr, pair: PortPair) -> Result<Self> {
        let wanted = SocketAddr::new(address, pair.local);
        let listener = TcpListener::bind(wanted).await.doing(|| format!("listen at {wanted}"))?;
        let at = listener.local_addr().doing(|| "ask for the port that is listened at")?;
        Ok(Self { listener, at, remote: pair.remote })
    }

    async fn take(&self) -> (Result<TcpStream>, u16) {
        let taken = self.listener.accept().await.map(|(stream, _)| stream);
        if taken.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        (taken.doing(|| format!("take a connection at {}", self.at)), self.remote)
    }
}

/// Takes connections at all doors, and passes them on, for ever.
async fn serve(connection: &dyn Connection, doors: &[Door], report: impl Fn(Error)) {
    let coming = doors.iter().map(|door| Box::pin(stream::unfold(door, |d| async move { Some((d.take().await, d)) })));
    let mut coming = stream::select_all(coming);
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some((taken, remote)) = coming.next() => match taken {
                Ok(near) => open.push(pass(connection, near, remote)),
                Err(e) => report(e),
            },
            Some(done) = open.next() => if let Err(e) = done {
                report(e);
            },
            else => return,
        }
    }
}

/// Passes one connection on until both ends are done. What fails resets it, so that nobody takes a
/// failure for an end.
async fn pass(connection: &dyn Connection, mut near: TcpStream, remote: u16) -> Result<()> {
    let passed = both_ways(connection, &mut near, remote).await;
    if passed.is_err() {
        // A peer that is gone already needs no reset.
        let _ = near.set_zero_linger();
    }
    passed.map_err(|e| e.with_context("port", remote.to_string())).or_else(|e| {
        let cut = std::error::Error::source(&e).and_then(|s| s.downcast_ref::<io::Error>()).map(io::Error::kind);
        match cut {
            // Whoever leaves so has a reason, and knows of it.
            Some(io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                tracing::info!(error = %e, "a connection was cut");
                Ok(())
            }
            _ => Err(e),
        }
    })
}

async fn both_ways(connection: &dyn Connection, near: &mut TcpStream, remote: u16) -> Result<()> {
    near.set_nodelay(true).doing(|| "set up a connection")?;
    let mut far = connection.forward(ForwardRequest::new(remote)).await?;
    let copied = tokio::io::copy_bidirectional_with_sizes(near, &mut far, BUFFER, BUFFER).await;
    copied.map(drop).doing(|| "pass a connection on")
}
