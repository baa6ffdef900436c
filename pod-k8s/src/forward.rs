//! One TCP connection to a port of a pod, over the `portforward` WebSocket.
//!
//! Each port has two channels: data, and one message of error. Each begins with the port's number
//! (kubelet's `portforward/websocket.go`). The protocol has no half-close: a program can't be told that
//! nothing more comes. So a stream whose writing half was shut down, and on which the program then says
//! nothing for a while, fails; else one that waits for the end would hold it open for ever.

use crate::exec::Target;
use crate::exec::frame;
use crate::exec::input;
use crate::pods;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use pod_core::{BoxDuplex, Error, ErrorKind, ForwardRequest, Result, Retry};
use pod_shell::pipe::{self, Outlet};
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const DATA: u8 = 0;
const ERROR: u8 = 1;
/// Balancers cut what is idle for 30 s.
const PING: Duration = Duration::from_secs(15);
/// How long a program may be silent that can't be told the end.
const SILENCE: Duration = Duration::from_secs(60);
/// How long the server may take to open the channels.
const OPENING: Duration = Duration::from_secs(30);

/// Connects to a port of the pod's loopback.
///
/// # Errors
/// As [`Connection::forward`](pod_core::Connection::forward).
pub(crate) async fn forward(target: &Target, request: ForwardRequest) -> Result<BoxDuplex> {
    request.validate()?;
    // The kubelet serves ports of a pod that has ended, too: each is refused.
    let pod = target.cluster.pods().get(&target.pod).await.map_err(|e| target.refused(e))?;
    let state = pods::workload_of(&pod, Some(&target.container))?.state;
    if !state.is_running() {
        return Err(
            target.about(Error::new(ErrorKind::WrongState, format!("the pod does not run: it is {}", state.word())))
        );
    }
    let opened = target.upgrade(&format!("{}/portforward?ports={}", target.path(), request.port)).await?;
    open(opened.socket, request.port).await.map_err(|e| target.about(e).with_context("port", request.port.to_string()))
}

/// Waits until the channels are open, and starts the loop.
async fn open<S>(mut socket: WebSocketStream<S>, port: u16) -> Result<BoxDuplex>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut open = [false; 2];
    let opening = async {
        while open != [true; 2] {
            match socket.next().await {
                Some(Ok(Message::Binary(message))) => match message.as_ref() {
                    [channel @ (DATA | ERROR), low, high] if u16::from_le_bytes([*low, *high]) == port => {
                        open[usize::from(*channel)] = true;
                    }
                    _ => return Err("the server opens the port in an unknown way".to_owned()),
                },
                Some(Ok(Message::Close(_)) | Err(_)) | None => {
                    return Err("the server closed the stream before the port was open".to_owned());
                }
                Some(Ok(_)) => {}
            }
        }
        Ok(())
    };
    let opened = tokio::time::timeout(OPENING, opening).await;
    opened
        .unwrap_or_else(|_| Err(format!("the port was not open within {} s", OPENING.as_secs())))
        .map_err(|why| Error::new(ErrorKind::Unavailable, why).with_retry(Retry::Later))?;
    let (outlet, reader) = pipe::output();
    let (writer, input) = input::stdin(|data| frame::channel(DATA, data));
    tokio::spawn(serve(socket, outlet, input));
    Ok(Box::pin(tokio::io::join(reader, writer)))
}

async fn serve<S>(socket: WebSocketStream<S>, mut outlet: Outlet, mut input: mpsc::Receiver<Bytes>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let reader = outlet.watcher();
    let (mut sink, mut stream) = socket.split();
    let (shut, was_shut) = watch::channel(false);
    let receiving = async {
        let mut silent = pin!(silence(was_shut.clone()));
        loop {
            outlet.room().await;
            let message = tokio::select! {
                message = stream.next() => message,
                () = &mut silent => {
                    let words = "the program says nothing, and Kubernetes can't tell it that nothing more comes";
                    return outlet.fail(io::ErrorKind::TimedOut, words.to_owned());
                }
            };
            match message {
                Some(Ok(Message::Binary(mut message))) if message.len() > 1 => {
                    match (message.split_to(1)[0], message) {
                        (DATA, data) => {
                            outlet.give(data).await;
                            silent.set(silence(was_shut.clone()));
                        }
                        (ERROR, words) => {
                            let words = String::from_utf8_lossy(&words).trim().to_owned();
                            return outlet.fail(kind(&words), words);
                        }
                        _ => {}
                    }
                }
                Some(Ok(Message::Close(_))) | None => return outlet.end(),
                Some(Ok(_)) => {}
                Some(Err(e)) => return outlet.fail(io::ErrorKind::ConnectionReset, format!("the stream was cut: {e}")),
            }
        }
    };
    let sending = async {
        let mut ping = tokio::time::interval_at(Instant::now() + PING, PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = true;
        loop {
            let sent = tokio::select! {
                piece = input.recv(), if open => match piece {
                    Some(piece) => sink.send(Message::Binary(piece)).await,
                    None => {
                        open = false;
                        shut.send_replace(true);
                        Ok(())
                    }
                },
                _ = ping.tick() => sink.send(Message::Ping(Bytes::new())).await,
            };
            if sent.is_err() {
                return std::future::pending().await; // what came before can still be read
            }
        }
    };
    tokio::select! {
        () = receiving => {}
        () = sending => {}
        () = reader.gone() => {}
    }
    // A server that is gone does not care.
    let _ = tokio::time::timeout(Duration::from_secs(1), sink.close()).await;
}

/// Ends when the writing half has been shut down for a while.
async fn silence(mut was_shut: watch::Receiver<bool>) {
    // A sender that is gone takes the whole stream with it.
    if was_shut.wait_for(|shut| *shut).await.is_ok() {
        tokio::time::sleep(SILENCE).await;
    } else {
        std::future::pending().await
    }
}

/// What the words of the error channel mean (kubelet and containerd).
fn kind(words: &str) -> io::ErrorKind {
    let lower = words.to_ascii_lowercase();
    if lower.contains("connection refused") {
        io::ErrorKind::ConnectionRefused
    } else if lower.contains("timed out") || lower.contains("timeout") {
        io::ErrorKind::TimedOut
    } else {
        io::ErrorKind::ConnectionAborted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio_tungstenite::tungstenite::protocol::Role;

    async fn server() -> (WebSocketStream<DuplexStream>, WebSocketStream<DuplexStream>) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let client = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
        (client, WebSocketStream::from_raw_socket(theirs, Role::Server, None).await)
    }

    async fn send(server: &mut WebSocketStream<DuplexStream>, message: &'static [u8]) {
        server.send(Message::Binary(Bytes::from_static(message))).await.expect("sent");
    }

    #[tokio::test]
    async fn bytes_go_both_ways_until_the_end() {
        let (client, mut server) = server().await;
        for message in [b"\x00\xe8\x1c", b"\x01\xe8\x1c"] {
            send(&mut server, message).await;
        }
        let mut stream = open(client, 7400).await.expect("open");
        stream.write_all(b"ping").await.expect("written");
        assert_eq!(server.next().await.expect("a message").expect("whole").into_data().as_ref(), b"\x00ping");
        send(&mut server, b"\x00pong").await;
        server.close(None).await.expect("closed");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.expect("read");
        assert_eq!(all, b"pong");
    }

    #[tokio::test]
    async fn a_refusal_is_an_error_and_no_end() {
        let (client, mut server) = server().await;
        for message in
            [&b"\x00\xe8\x1c"[..], b"\x01\xe8\x1c", b"\x01dial tcp4 127.0.0.1:7400: connect: connection refused"]
        {
            send(&mut server, message).await;
        }
        server.close(None).await.expect("closed");
        let mut stream = open(client, 7400).await.expect("open");
        let e = stream.read(&mut [0]).await.expect_err("refused");
        assert_eq!(e.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_waits_for_the_end_does_not_hold_it_for_ever() {
        let (client, mut server) = server().await;
        for message in [b"\x00\xe8\x1c", b"\x01\xe8\x1c"] {
            send(&mut server, message).await;
        }
        let mut stream = open(client, 7400).await.expect("open");
        stream.shutdown().await.expect("shut");
        let (mut seen, begun) = ([0], Instant::now());
        // What it still says is read, and gives it more time.
        tokio::time::sleep(SILENCE / 2).await;
        send(&mut server, b"\x00a").await;
        stream.read_exact(&mut seen).await.expect("read");
        // Pings are answered meanwhile: they are no word of the program's.
        tokio::spawn(async move { while let Some(Ok(_)) = server.next().await {} });
        let e = stream.read(&mut seen).await.expect_err("silence");
        assert_eq!(e.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= SILENCE * 3 / 2, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn another_port_or_no_answer_is_refused() {
        let (client, mut other) = server().await;
        send(&mut other, b"\x00\x01\x00").await;
        assert_eq!(open(client, 7400).await.err().map(|e| e.kind()), Some(ErrorKind::Unavailable));
        let (client, gone) = server().await;
        drop(gone);
        assert_eq!(open(client, 7400).await.err().map(|e| e.kind()), Some(ErrorKind::Unavailable));
    }

    #[tokio::test]
    async fn dropping_it_closes_the_connection() {
        let (client, mut server) = server().await;
        for message in [b"\x00\xe8\x1c", b"\x01\xe8\x1c"] {
            send(&mut server, message).await;
        }
        drop(open(client, 7400).await.expect("open"));
        let closed = async {
            while let Some(Ok(m)) = server.next().await {
                if m.is_close() {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), closed).await.expect("closed");
    }
}
