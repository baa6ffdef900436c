//! A program's output between what receives it and the caller.
//!
//! Both of a program's outputs may come over one socket: not reading it stops both. So an output that
//! nobody reads holds the socket up only as long as nobody waits for the other one. When somebody does,
//! what comes for the full one goes to a temporary file, which keeps memory flat and loses nothing.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, ReadBuf};

/// The bytes an output holds in memory before it counts as full.
pub const FULL: usize = 512 << 10;
/// How much is taken back from the file at once.
const BACK: usize = 256 << 10;

/// What was lost, and how.
type Loss = (io::ErrorKind, String);

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<Bytes>,
    held: usize,
    /// Bytes in the file that were not taken back.
    filed: u64,
    /// No more comes; with an error, something was lost.
    ended: Option<Result<(), Loss>>,
    gone: bool,
    reader: Option<Waker>,
    /// The reader found nothing and waits.
    waits: bool,
    filler: Option<Waker>,
    /// Who waits for the reader to go.
    watcher: Option<Waker>,
}

impl State {
    fn wake_reader(&mut self) {
        self.waits = false;
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    fn wake_filler(&mut self) {
        if let Some(waker) = self.filler.take() {
            waker.wake();
        }
    }
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An output's end at what receives it.
#[derive(Debug)]
pub struct Outlet {
    shared: Arc<Shared>,
    file: Option<File>,
    read_at: u64,
    write_at: u64,
}

/// An output's end at the caller.
#[derive(Debug)]
pub struct Reader(Arc<Shared>);

/// An output: its end at what receives it, and the caller's.
#[must_use]
pub fn output() -> (Outlet, Reader) {
    let shared = Arc::new(Shared::default());
    (Outlet { shared: shared.clone(), file: None, read_at: 0, write_at: 0 }, Reader(shared))
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.gone = true;
        (state.pieces, state.held) = (VecDeque::new(), 0);
        state.wake_filler();
        if let Some(waker) = state.watcher.take() {
            waker.wake();
        }
    }
}

/// Tells when an output's reader is gone.
#[derive(Debug)]
pub struct Watcher(Arc<Shared>);

impl Watcher {
    /// Waits until nobody reads any more.
    pub async fn gone(&self) {
        poll_fn(|cx| {
            let mut state = self.0.lock();
            if state.gone {
                return Poll::Ready(());
            }
            state.watcher = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut state = self.0.lock();
        let Some(mut piece) = state.pieces.pop_front() else {
            if state.filed == 0
                && let Some(end) = &state.ended
            {
                return Poll::Ready(end.clone().map_err(|(kind, why)| io::Error::new(kind, why)));
            }
            state.reader = Some(cx.waker().clone());
            state.waits = true;
            state.wake_filler();
            return Poll::Pending;
        };
        let mut taken = 0;
        loop {
            let now = buf.remaining().min(piece.len());
            buf.put_slice(&piece[..now]);
            piece.advance(now);
            taken += now;
            if !piece.is_empty() {
                state.pieces.push_front(piece);
                break;
            }
            match state.pieces.pop_front() {
                Some(next) if buf.remaining() > 0 => piece = next,
                Some(next) => {
                    state.pieces.push_front(next);
                    break;
                }
                None => break,
            }
        }
        state.held -= taken;
        if state.held <= FULL / 2 {
            state.wake_filler();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Outlet {
    /// Who reads shall not wait for what never comes, nor take it for the end.
    fn drop(&mut self) {
        if self.shared.lock().ended.is_none() {
            self.fail(io::ErrorKind::ConnectionAborted, "the stream was let go of before its end".into());
        }
    }
}

impl Outlet {
    /// Tells when its reader is gone.
    #[must_use]
    pub fn watcher(&self) -> Watcher {
        Watcher(self.shared.clone())
    }

    /// Whether it can take more into memory. Else `cx` is woken when that changes.
    #[must_use]
    pub fn has_room(&self, cx: &Context<'_>) -> bool {
        let mut state = self.shared.lock();
        state.filler = Some(cx.waker().clone());
        state.gone || state.held < FULL
    }

    /// Waits until it can take more into memory.
    pub async fn room(&self) {
        poll_fn(|cx| if self.has_room(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Whether its reader waits for something to come; `cx` is woken when it begins to.
    #[must_use]
    pub fn is_awaited(&self, cx: &Context<'_>) -> bool {
        let mut state = self.shared.lock();
        state.filler = Some(cx.waker().clone());
        state.waits && state.filed == 0
    }

    /// Whether something should be taken back from the file now; `cx` is woken when that changes.
    #[must_use]
    pub fn wants_back(&self, cx: &Context<'_>) -> bool {
        let mut state = self.shared.lock();
        state.filler = Some(cx.waker().clone());
        state.filed > 0 && !state.gone && state.held <= FULL / 2
    }

    /// Whether something is still in the file, and somebody may read it.
    #[must_use]
    pub fn has_filed(&self) -> bool {
        let state = self.shared.lock();
        state.filed > 0 && !state.gone
    }

    /// Gives bytes to the reader; into the file when memory is full or others went there before.
    pub async fn give(&mut self, data: Bytes) {
        {
            let mut state = self.shared.lock();
            if state.gone || data.is_empty() || matches!(state.ended, Some(Err(_))) {
                return;
            }
            if state.filed == 0 && state.held < FULL {
                state.held += data.len();
                state.pieces.push_back(data);
                state.wake_reader();
                return;
            }
        }
        let (file, at) = (self.file.take(), self.write_at);
        let length = data.len() as u64;
        let written = blocking(move || {
            let mut file = match file {
                Some(file) => file,
                None => tempfile::tempfile()?,
            };
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&data)?;
            Ok(file)
        })
        .await;
        match written {
            Ok(file) => {
                self.file = Some(file);
                self.write_at += length;
                self.shared.lock().filed += length;
            }
            Err(e) => self.fail(e.kind(), format!("output that nobody read could not be kept: {e}")),
        }
    }

    /// Takes a piece back from the file.
    pub async fn take_back(&mut self) {
        let Some(mut file) = self.file.take() else { return };
        let left = self.write_at - self.read_at;
        let (at, now) = (self.read_at, usize::try_from(left).map_or(BACK, |n| n.min(BACK)));
        let read = blocking(move || {
            let mut data = vec![0; now];
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut data)?;
            Ok((file, data))
        })
        .await;
        match read {
            Ok((file, data)) => {
                self.read_at += data.len() as u64;
                if self.read_at == self.write_at {
                    // Nothing is in it any more: begin anew, so that it does not grow for ever.
                    (self.read_at, self.write_at) = (0, 0);
                } else {
                    self.file = Some(file);
                }
                let mut state = self.shared.lock();
                state.filed -= data.len() as u64;
                state.held += data.len();
                state.pieces.push_back(data.into());
                state.wake_reader();
            }
            Err(e) => self.fail(e.kind(), format!("output that nobody read could not be read back: {e}")),
        }
    }

    /// No more comes.
    pub fn end(&self) {
        let mut state = self.shared.lock();
        state.ended.get_or_insert(Ok(()));
        state.wake_reader();
    }

    /// Something was lost: the reader gets an error after what it has.
    pub fn fail(&self, kind: io::ErrorKind, why: String) {
        let mut state = self.shared.lock();
        state.filed = 0;
        if !matches!(state.ended, Some(Err(_))) {
            state.ended = Some(Err((kind, why)));
        }
        state.wake_reader();
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(io::Error::other(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    /// Lets a filler wait, take back and end, as the loop does.
    async fn serve(mut outlet: Outlet) {
        outlet.end();
        while outlet.has_filed() {
            poll_fn(|cx| if outlet.wants_back(cx) || !outlet.has_filed() { Poll::Ready(()) } else { Poll::Pending })
                .await;
            outlet.take_back().await;
        }
        outlet.end();
    }

    #[tokio::test]
    async fn what_does_not_fit_comes_back_in_order() {
        let (mut outlet, mut reader) = output();
        let all: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for piece in all.chunks(30_011) {
            outlet.give(Bytes::copy_from_slice(piece)).await;
        }
        assert!(outlet.has_filed());
        assert!(outlet.shared.lock().held < FULL + 30_011);
        let server = tokio::spawn(serve(outlet));
        let mut got = Vec::new();
        reader.read_to_end(&mut got).await.expect("all of it");
        assert!(got == all);
        server.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_holds_nothing() {
        let (mut outlet, reader) = output();
        drop(reader);
        for _ in 0..100 {
            outlet.give(Bytes::from(vec![0; 100_000])).await;
        }
        assert_eq!(outlet.shared.lock().held, 0);
        assert!(!outlet.has_filed() && outlet.file.is_none());
    }

    #[tokio::test]
    async fn a_loss_is_an_error_after_what_came() {
        let (mut outlet, mut reader) = output();
        outlet.give(Bytes::from_static(b"some")).await;
        outlet.fail(io::ErrorKind::ConnectionReset, "cut".into());
        let mut got = Vec::new();
        let e = reader.read_to_end(&mut got).await.expect_err("lost");
        assert_eq!((got.as_slice(), e.to_string().as_str()), (&b"some"[..], "cut"));
    }
}
