//! The channel loop against a server in memory.

use super::session::{Order, Runs, Session, Setup, StdinEnd, Wrapper, start};
use super::status::End;
use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use pod_core::{ExitStatus, TtySize};
use pod_shell::Mark;
use pod_shell::pipe::FULL;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

type Server = WebSocketStream<DuplexStream>;

const OK: &[u8] = b"\x03{\"status\":\"Success\"}";
const SEVEN: &[u8] = b"\x03{\"status\":\"Failure\",\"reason\":\"NonZeroExitCode\",\"details\":{\"causes\":[{\"reason\":\"ExitCode\",\"message\":\"7\"}]}}";

/// A session and its server, with this much room between them.
async fn pair(room: usize, setup: Setup) -> (Session, Server) {
    let (ours, theirs) = tokio::io::duplex(room);
    let client = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
    (start(client, setup), WebSocketStream::from_raw_socket(theirs, Role::Server, None).await)
}

fn plain() -> Setup {
    Setup { stdin: true, tty: false, stdin_end: StdinEnd::Closed, wrapper: None }
}

/// With a wrapper of the token `t`, around what lives on or not.
fn wrapped(runs: Runs, lives: bool) -> Setup {
    let lives = Box::new(move || std::future::ready(lives).boxed());
    Setup { wrapper: Some(Wrapper::new("t", runs, lives)), ..plain() }
}

async fn send(server: &mut Server, message: impl AsRef<[u8]>) {
    server.send(Message::Binary(Bytes::copy_from_slice(message.as_ref()))).await.expect("the client listens");
}

async fn end(session: &mut Session) -> End {
    let ended = timeout(Duration::from_secs(20), session.progress.wait_for(|p| p.end.is_some())).await;
    ended.expect("in time").expect("the loop reports").end.clone().expect("an end")
}

fn exited(code: u8) -> End {
    End::Exited(ExitStatus::Exited(code))
}

async fn all_of(reader: impl tokio::io::AsyncRead + Unpin) -> Vec<u8> {
    let (mut reader, mut all) = (reader, Vec::new());
    timeout(Duration::from_secs(20), reader.read_to_end(&mut all)).await.expect("in time").expect("no loss");
    all
}

#[tokio::test]
async fn outputs_and_status_are_told_apart() {
    let (mut session, mut server) = pair(1 << 16, plain()).await;
    for message in [&b"\x01"[..], b"\x02", b"\x03", b"\x01out", b"\x02err", b"\x01 more", SEVEN] {
        send(&mut server, message).await;
    }
    server.close(None).await.expect("closed");
    assert_eq!(end(&mut session).await, exited(7));
    assert_eq!(all_of(session.stdout.take().expect("stdout")).await, b"out more");
    assert_eq!(all_of(session.stderr.take().expect("stderr")).await, b"err");
}

#[tokio::test]
async fn output_after_the_status_still_comes() {
    let (mut session, mut server) = pair(1 << 16, plain()).await;
    send(&mut server, b"\x01one ").await;
    send(&mut server, OK).await;
    assert_eq!(end(&mut session).await, exited(0), "the status is told at once");
    for piece in [&b"\x01two "[..], b"\x01three"] {
        tokio::time::sleep(Duration::from_millis(100)).await;
        send(&mut server, piece).await;
    }
    // The server goes on holding the socket: the output ends all the same.
    assert_eq!(all_of(session.stdout.take().expect("stdout")).await, b"one two three");
}

#[tokio::test]
async fn no_status_is_never_success() {
    let (mut session, mut server) = pair(1 << 16, plain()).await;
    send(&mut server, b"\x01half").await;
    server.close(None).await.expect("closed");
    assert!(matches!(end(&mut session).await, End::Lost(_)));
    assert_eq!(all_of(session.stdout.take().expect("stdout")).await, b"half");

    let (mut session, server) = pair(1 << 16, plain()).await;
    drop(server);
    assert!(matches!(end(&mut session).await, End::Lost(_)), "a socket that was cut");
}

#[tokio::test]
async fn a_slow_reader_holds_the_server_up() {
    let (mut session, mut server) = pair(1 << 16, plain()).await;
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = sent.clone();
    const TOTAL: usize = 16 << 20;
    let feed = tokio::spawn(async move {
        let piece = [&[1u8][..], &vec![5; 32 << 10]].concat();
        for _ in 0..TOTAL / (32 << 10) {
            send(&mut server, &piece).await;
            counter.fetch_add(32 << 10, std::sync::atomic::Ordering::SeqCst);
        }
        send(&mut server, OK).await;
        server.close(None).await.expect("closed");
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let ahead = sent.load(std::sync::atomic::Ordering::SeqCst);
    assert!(ahead < 2 * FULL + (1 << 20), "{ahead} bytes were taken with nobody reading");
    drop(session.stdin.take());
    assert_eq!(all_of(session.stdout.take().expect("stdout")).await.len(), TOTAL);
    assert_eq!(end(&mut session).await, exited(0));
    feed.await.expect("no panic");
}

#[tokio::test]
async fn an_unread_stderr_does_not_stop_stdout_and_is_not_lost() {
    let (mut session, mut server) = pair(1 << 16, plain()).await;
    const ERRORS: usize = 24 << 20;
    tokio::spawn(async move {
        let piece = [&[2u8][..], &vec![6; 32 << 10]].concat();
        for _ in 0..ERRORS / (32 << 10) {
            send(&mut server, &piece).await;
        }
        send(&mut server, b"\x01after all that").await;
        send(&mut server, OK).await;
        server.close(None).await.expect("closed");
    });
    let stdout = session.stdout.take().expect("stdout");
    assert_eq!(all_of(stdout).await, b"after all that");
    assert_eq!(end(&mut session).await, exited(0));
    let errors = all_of(session.stderr.take().expect("stderr")).await;
    assert!(errors.len() == ERRORS && errors.iter().all(|b| *b == 6));
}

#[tokio::test]
async fn a_dropped_reader_holds_nothing_up() {
    let (mut session, mut server) = pair(1 << 16, plain()).await;
    drop(session.stdout.take());
    drop(session.stderr.take());
    for _ in 0..100 {
        send(&mut server, [&[1u8][..], &vec![5; 32 << 10]].concat()).await;
    }
    send(&mut server, SEVEN).await;
    assert_eq!(end(&mut session).await, exited(7));
}

#[tokio::test]
async fn flushing_lets_the_status_through_a_full_output() {
    let (mut session, mut server) = pair(1 << 16, plain()).await;
    tokio::spawn(async move {
        for _ in 0..200 {
            send(&mut server, [&[1u8][..], &vec![5; 32 << 10]].concat()).await;
        }
        send(&mut server, SEVEN).await;
        std::future::pending::<()>().await;
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(session.progress.borrow().end, None, "nobody reads");
    session.orders.send(Order::Flush).await.expect("told");
    assert_eq!(end(&mut session).await, exited(7));
    assert_eq!(all_of(session.stdout.take().expect("stdout")).await.len(), 200 * (32 << 10));
}

#[tokio::test]
async fn a_filter_runs_both_ways_at_once() {
    // Each side has little room: who only wrote would never come to read.
    let (mut session, server) = pair(4 << 10, plain()).await;
    tokio::spawn(async move {
        let (mut sink, mut stream) = server.split();
        while let Some(Ok(message)) = stream.next().await {
            let data = message.into_data();
            match data.as_ref() {
                [255, 0] => break,
                [0, data @ ..] => {
                    let out = [&[1u8], data].concat();
                    sink.send(Message::Binary(out.into())).await.expect("sent");
                }
                _ => {}
            }
        }
        sink.send(Message::Binary(Bytes::from_static(OK))).await.expect("sent");
        sink.close().await.expect("closed");
    });
    let data: Vec<u8> = (0..8_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut stdin = session.stdin.take().expect("stdin");
    let feed = async {
        stdin.write_all(&data).await.expect("written");
        stdin.shutdown().await.expect("ended");
    };
    let (got, ()) = tokio::join!(all_of(session.stdout.take().expect("stdout")), feed);
    assert!(got == data);
    assert_eq!(end(&mut session).await, exited(0));
}

#[tokio::test]
async fn a_program_that_reads_no_stdin_ends_all_the_same() {
    let (mut session, mut server) = pair(4 << 10, plain()).await;
    let mut stdin = session.stdin.take().expect("stdin");
    let feed = tokio::spawn(async move { stdin.write_all(&vec![1; 8 << 20]).await });
    send(&mut server, OK).await;
    assert_eq!(end(&mut session).await, exited(0));
    assert!(feed.await.expect("no panic").is_err(), "the pipe is broken, and nobody waits on it");
    drop(server);
}

#[tokio::test]
async fn the_end_of_stdin_is_told_in_its_way() {
    for (stdin_end, last) in [(StdinEnd::Closed, &b"\xff\x00"[..]), (StdinEnd::Typed, b"\x00\x04")] {
        let (mut session, mut server) = pair(1 << 16, Setup { stdin_end, ..plain() }).await;
        let mut stdin = session.stdin.take().expect("stdin");
        stdin.write_all(b"in").await.expect("written");
        drop(stdin);
        session.orders.send(Order::Resize(TtySize { rows: 3, cols: 9 })).await.expect("told");
        let mut got = Vec::new();
        while got.len() < 3 {
            got.push(server.next().await.expect("a message").expect("whole").into_data());
        }
        got.sort_by_key(|m| m.first() == Some(&4));
        assert_eq!([&got[0][..], &got[1][..], &got[2][..]], [b"\x00in", last, b"\x04{\"Width\":9,\"Height\":3}"]);
    }
}

#[tokio::test]
async fn marks_tell_the_beginning_and_the_end_while_a_child_goes_on() {
    let setup = wrapped(Runs::Program, true);
    let (mut session, mut server) = pair(1 << 16, setup).await;
    send(&mut server, b"\x02\x01pod:t:B42\x02warn").await;
    session.progress.wait_for(|p| p.first == Some(Mark::Began(42))).await.expect("told");
    send(&mut server, b"\x02ing\x01pod:t:").await;
    send(&mut server, b"\x02E3\x02left behind").await;
    assert_eq!(end(&mut session).await, exited(3));
    send(&mut server, SEVEN).await;
    assert_eq!(all_of(session.stderr.take().expect("stderr")).await, b"warningleft behind");
    assert_eq!(end(&mut session).await, exited(3), "the first word counts");

    let setup = Setup { tty: true, ..wrapped(Runs::Program, true) };
    let (mut session, mut server) = pair(1 << 16, setup).await;
    send(&mut server, b"\x01\x01pod:t:B1\x02hello").await;
    session.progress.wait_for(|p| p.first == Some(Mark::Began(1))).await.expect("told");
    drop(server);
    assert_eq!(all_of(session.stdout.take().expect("stdout")).await, b"hello");
}

#[tokio::test]
async fn a_success_without_its_mark_is_a_loss() {
    // As an API server has it when the node's kubelet is gone.
    let setup = || wrapped(Runs::Program, true);
    let (mut session, mut server) = pair(1 << 16, setup()).await;
    send(&mut server, b"\x02\x01pod:t:B42\x02").await;
    send(&mut server, OK).await;
    server.close(None).await.expect("closed");
    assert!(matches!(end(&mut session).await, End::Lost(_)));

    let (mut session, mut server) = pair(1 << 16, setup()).await;
    send(&mut server, OK).await;
    send(&mut server, b"\x02\x01pod:t:E0\x02").await;
    server.close(None).await.expect("closed");
    assert_eq!(end(&mut session).await, exited(0), "the mark came behind the status");
}

#[tokio::test]
async fn what_is_let_go_of_is_closed_but_what_ended_is_read_out() {
    let (session, mut server) = pair(1 << 16, plain()).await;
    drop(session);
    let closed = async {
        while let Some(Ok(m)) = server.next().await {
            if m.is_close() {
                break;
            }
        }
    };
    timeout(Duration::from_secs(5), closed).await.expect("the client closes");

    let setup = wrapped(Runs::Program, true);
    let (mut session, mut server) = pair(1 << 16, setup).await;
    send(&mut server, b"\x02\x01pod:t:E0\x02").await;
    assert_eq!(end(&mut session).await, exited(0));
    let stdout = session.stdout.take().expect("stdout");
    drop(session);
    send(&mut server, b"\x01still on its way\x01pod:t:E0\x02").await;
    send(&mut server, OK).await;
    assert_eq!(all_of(stdout).await, b"still on its way");
}

#[tokio::test]
async fn an_abandoned_session_ends_with_the_reason() {
    let (mut session, _server) = pair(1 << 16, plain()).await;
    session.orders.send(Order::Abandon("the pod was removed".into())).await.expect("told");
    assert_eq!(end(&mut session).await, End::Lost("the pod was removed".into()));
}

#[tokio::test(start_paused = true)]
async fn what_is_idle_is_kept_awake_and_silence_is_noticed() {
    let (mut session, mut server) = pair(1 << 16, plain()).await;
    let begun = tokio::time::Instant::now();
    for n in 1..=20u32 {
        let message = server.next().await.expect("a message").expect("whole");
        assert!(message.is_ping(), "{message:?}");
        assert!(begun.elapsed() <= Duration::from_secs(20) * n, "the pings are too far apart");
    }
    assert_eq!(session.progress.borrow().end, None, "a server that answers pings is alive");
    // A server that answers nothing any more.
    let ended = timeout(Duration::from_secs(120), session.progress.wait_for(|p| p.end.is_some())).await;
    assert!(matches!(ended.expect("noticed").expect("told").end, Some(End::Lost(_))));
}

#[tokio::test(start_paused = true)]
async fn stdin_that_nobody_reads_holds_nothing_up_once_the_program_has_ended() {
    let (mut session, mut server) = pair(4 << 10, wrapped(Runs::Program, true)).await;
    let mut stdin = session.stdin.take().expect("stdin");
    let feed = tokio::spawn(async move { stdin.write_all(&vec![1; 8 << 20]).await });
    send(&mut server, b"\x01out\x01pod:t:E8\x02").await;
    send(&mut server, b"\x02\x01pod:t:E8\x02").await;
    // The server reads no more, and sends no status.
    assert_eq!(all_of(session.stdout.take().expect("stdout")).await, b"out");
    assert_eq!(end(&mut session).await, exited(8));
    assert!(feed.await.expect("no panic").is_err(), "the pipe is broken");
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_goes_on_is_heard_as_long_as_the_server_listens() {
    let (mut session, mut server) = pair(1 << 16, wrapped(Runs::Program, true)).await;
    session.stdin.take().expect("stdin").write_all(b"in").await.expect("written");
    assert_eq!(&server.next().await.expect("a message").expect("whole").into_data()[..], b"\x00in");
    send(&mut server, b"\x02\x01pod:t:E0\x02").await;
    let serve = async {
        // Reading answers pings.
        let quiet = timeout(Duration::from_secs(60), async { while server.next().await.is_some() {} }).await;
        quiet.expect_err("the session stays");
        send(&mut server, b"\x01\x01pod:t:E0\x02late").await;
        send(&mut server, OK).await;
    };
    let mut stdout = session.stdout.take().expect("stdout");
    let mut out = Vec::new();
    let (read, ()) = tokio::join!(stdout.read_to_end(&mut out), serve);
    read.expect("no loss");
    assert_eq!(out, b"late");
    assert_eq!(end(&mut session).await, exited(0));
}

#[tokio::test]
async fn a_mark_behind_much_output_begins_the_program() {
    let (mut session, mut server) = pair(1 << 16, wrapped(Runs::Program, true)).await;
    let serve = async {
        for _ in 0..4 * FULL / 4096 {
            send(&mut server, [b"\x01".as_slice(), &[7; 4096]].concat()).await;
        }
        send(&mut server, b"\x02\x01pod:t:B42\x02").await;
    };
    timeout(Duration::from_secs(20), serve).await.expect("it is read before anybody can");
    session.progress.wait_for(|p| p.first == Some(Mark::Began(42))).await.expect("told");
    send(&mut server, b"\x02\x01pod:t:E0\x02").await;
    send(&mut server, b"\x01\x01pod:t:E0\x02").await;
    send(&mut server, OK).await;
    assert_eq!(all_of(session.stdout.take().expect("stdout")).await, vec![7; 4 * FULL]);
}

/// Answers pings, and says nothing.
async fn listen(server: &mut Server) {
    while server.next().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn an_end_that_the_server_keeps_to_itself_ends_the_output() {
    // Of a script, at once; of a program, when nothing of it is there any more.
    for (runs, lives) in [(Runs::Script, true), (Runs::Program, false)] {
        let (mut session, mut server) = pair(1 << 16, wrapped(runs, lives)).await;
        send(&mut server, b"\x01out").await;
        send(&mut server, b"\x02\x01pod:t:E8\x02").await;
        if runs == Runs::Program {
            send(&mut server, b"\x01\x01pod:t:E8\x02").await;
        }
        let stdout = session.stdout.take().expect("stdout");
        tokio::select! {
            out = all_of(stdout) => assert_eq!(out, b"out"),
            () = listen(&mut server) => {}
        }
        assert_eq!(end(&mut session).await, exited(8));
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_is_gone_without_a_word_is_lost_and_one_that_is_quiet_is_not() {
    for (lives, said) in
        [(true, b"\x02\x01pod:t:B1\x02".as_slice()), (false, b"\x02\x01pod:t:B1\x02"), (false, b"\x01")]
    {
        let (mut session, mut server) = pair(1 << 16, wrapped(Runs::Program, lives)).await;
        send(&mut server, said).await;
        let quiet = async {
            tokio::select! {
                _ = session.progress.wait_for(|p| p.end.is_some()) => {}
                () = listen(&mut server) => {}
            }
        };
        let over = timeout(Duration::from_secs(3600), quiet).await.is_ok();
        assert_eq!(over, !lives, "after an hour");
        if over {
            assert!(matches!(end(&mut session).await, End::Lost(_)));
        }
    }
}

#[tokio::test]
async fn an_output_that_is_cut_behind_the_mark_of_the_end_is_not_taken_for_whole() {
    let (mut session, mut server) = pair(1 << 16, wrapped(Runs::Program, false)).await;
    send(&mut server, b"\x02\x01pod:t:E0\x02").await;
    send(&mut server, b"\x01half").await;
    drop(server);
    assert_eq!(end(&mut session).await, exited(0));
    let (mut stdout, mut read) = (session.stdout.take().expect("stdout"), Vec::new());
    let error = stdout.read_to_end(&mut read).await.expect_err("it is cut");
    assert_eq!((read.as_slice(), error.kind()), (b"half".as_slice(), std::io::ErrorKind::ConnectionAborted));
}

#[tokio::test]
async fn a_stdout_without_the_mark_of_its_end_is_not_taken_for_whole() {
    // All but the end of it came, and the server calls that a success.
    for (output, whole) in [
        (&[&b"\x01half"[..]][..], false),
        (&[b"\x01half", b"\x01\x01pod:t:E"], false),
        (&[b"\x01half\x01po", b"\x01d:t:E0\x02"], true),
        // A child that went on.
        (&[b"\x01\x01pod:t:E0\x02half"], true),
    ] {
        let (mut session, mut server) = pair(1 << 16, wrapped(Runs::Program, false)).await;
        for piece in output {
            send(&mut server, piece).await;
        }
        send(&mut server, b"\x02\x01pod:t:E0\x02").await;
        send(&mut server, OK).await;
        server.close(None).await.expect("closed");
        assert_eq!(end(&mut session).await, exited(0));
        let (mut stdout, mut read) = (session.stdout.take().expect("stdout"), Vec::new());
        let done = stdout.read_to_end(&mut read).await.map_err(|e| e.kind());
        assert_eq!(done.is_ok(), whole, "{output:?}");
        assert!(read.starts_with(b"half"), "{read:?}");
        assert!(whole || done == Err(std::io::ErrorKind::ConnectionAborted), "{done:?}");
        let stderr = all_of(session.stderr.take().expect("stderr")).await;
        assert!(stderr.is_empty(), "{stderr:?}");
    }
}
