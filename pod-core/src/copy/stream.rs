//! The channel that entries flow through.

use super::transfer::{CopyProgress, ProgressHook};
use super::{Chunk, Item};
use crate::{Error, ErrorKind, Result};
use std::any::Any;
use tokio::sync::mpsc;

/// Messages under way at once.
const DEPTH: usize = 32;
/// A batch is sent when it holds this many items or bytes. Waking the other side for every small file
/// costs more than the file.
const BATCH_ITEMS: usize = 64;
const BATCH_BYTES: usize = 256 << 10;

#[derive(Debug)]
enum Message {
    One(Item),
    Several(Vec<Item>),
    Failed(Error),
    /// The sink's word that the copy is complete.
    Complete,
}

/// The receiving end of a copy: items as they come. Dropping it ends the copy.
///
/// The stream must be read to its `None`: an error may come last.
#[derive(Debug)]
pub struct EntryStream {
    messages: mpsc::Receiver<Message>,
    /// What is left of the last batch.
    batch: std::vec::IntoIter<Item>,
    finished: bool,
    watched: Option<(ProgressHook, CopyProgress)>,
    held: Option<Box<dyn Any + Send>>,
}

/// The sending end of a copy. The copy is complete only when [`EntrySink::finish`] was called: a sink
/// that is dropped before gives the receiver an error, so that a cut stream is never taken for a whole
/// one. Of several clones, one word is enough.
#[derive(Debug, Clone)]
pub struct EntrySink {
    messages: mpsc::Sender<Message>,
}

impl EntryStream {
    /// A bounded channel for a copy.
    #[must_use]
    pub fn channel() -> (EntrySink, Self) {
        let (tx, rx) = mpsc::channel(DEPTH);
        (
            EntrySink { messages: tx },
            Self { messages: rx, batch: Vec::new().into_iter(), finished: false, watched: None, held: None },
        )
    }

    /// Tells `hook` of every item that is taken.
    #[must_use]
    pub fn with_progress(mut self, hook: ProgressHook) -> Self {
        self.watched = Some((hook, CopyProgress::default()));
        self
    }

    /// Keeps something, such as a lock on what is read, until the stream has ended or is dropped.
    #[must_use]
    pub fn holding(mut self, what: impl Send + 'static) -> Self {
        self.held = Some(Box::new(what));
        self
    }

    /// The next item; `None` when the copy is complete.
    ///
    /// # Errors
    /// What went wrong at the far end; `Integrity` when it went away before the end.
    pub async fn next(&mut self) -> Result<Option<Item>> {
        loop {
            if let Some(item) = self.batch.next() {
                return Ok(Some(self.passed(item)));
            }
            if self.finished {
                return Ok(None);
            }
            let message = self.messages.recv().await;
            self.take(message)?;
        }
    }

    /// As [`EntryStream::next`], for a thread that may block.
    ///
    /// # Errors
    /// As [`EntryStream::next`].
    pub fn blocking_next(&mut self) -> Result<Option<Item>> {
        loop {
            if let Some(item) = self.batch.next() {
                return Ok(Some(self.passed(item)));
            }
            if self.finished {
                return Ok(None);
            }
            let message = self.messages.blocking_recv();
            self.take(message)?;
        }
    }

    fn take(&mut self, message: Option<Message>) -> Result<()> {
        match message {
            Some(Message::One(item)) => self.batch = vec![item].into_iter(),
            Some(Message::Several(items)) => self.batch = items.into_iter(),
            Some(Message::Failed(e)) => return Err(e),
            Some(Message::Complete) => {
                self.finished = true;
                self.held = None;
            }
            None => {
                self.finished = true;
                self.held = None;
                return Err(Error::new(ErrorKind::Integrity, "the copy ended before it was complete"));
            }
        }
        Ok(())
    }

    fn passed(&mut self, item: Item) -> Item {
        if let Some((hook, progress)) = &mut self.watched {
            match &item {
                Item::Entry(_) => progress.entries += 1,
                Item::Chunk(chunk) => progress.bytes += chunk.data.len() as u64,
            }
            hook.call(*progress);
        }
        item
    }
}

fn message(item: Result<Item>) -> Message {
    match item {
        Ok(item) => Message::One(item),
        Err(e) => Message::Failed(e),
    }
}

impl EntrySink {
    /// Sends an item; `false` when the receiver is gone and the sender can stop.
    pub async fn send(&self, item: Result<Item>) -> bool {
        self.messages.send(message(item)).await.is_ok()
    }

    /// As [`EntrySink::send`], for a thread that may block.
    #[must_use]
    pub fn blocking_send(&self, item: Result<Item>) -> bool {
        self.messages.blocking_send(message(item)).is_ok()
    }

    /// Passes on what a stream gives, each item after `change` has seen it, in the batches that it comes in;
    /// not the word that the copy is complete. `false` when the receiver is gone.
    ///
    /// # Errors
    /// Those of the stream, and of `change`; what came before has been passed on.
    pub async fn pass_on(
        &self,
        stream: &mut EntryStream,
        mut change: impl FnMut(&mut Item) -> Result<()> + Send,
    ) -> Result<bool> {
        while !stream.finished {
            let batch = std::mem::take(&mut stream.batch);
            let mut items: Vec<Item> = batch.map(|item| stream.passed(item)).collect();
            if items.is_empty() {
                let message = stream.messages.recv().await;
                stream.take(message)?;
                continue;
            }
            let wrong = items.iter_mut().enumerate().find_map(|(at, item)| change(item).err().map(|e| (at, e)));
            if let Some((at, _)) = &wrong {
                items.truncate(*at);
            }
            if !items.is_empty() && self.messages.send(Message::Several(items)).await.is_err() {
                return Ok(false);
            }
            if let Some((_, e)) = wrong {
                return Err(e);
            }
        }
        Ok(true)
    }

    /// Returns when the receiver is gone, so that a sender that waits for its own source can stop.
    pub async fn closed(&self) {
        self.messages.closed().await;
    }

    /// Says that the copy is complete.
    pub async fn finish(self) {
        // A receiver that is gone needs no word.
        let _ = self.messages.send(Message::Complete).await;
    }

    /// As [`EntrySink::finish`], for a thread that may block.
    pub fn blocking_finish(self) {
        let _ = self.messages.blocking_send(Message::Complete);
    }
}

/// Items gathered for one message. What is gathered goes out when the batch is full or is told to; it must
/// be told to before the sink fails or finishes.
#[derive(Debug, Default)]
pub(super) struct Batch {
    items: Vec<Item>,
    bytes: usize,
}

impl Batch {
    /// Adds an item; whether the batch is full now.
    #[must_use]
    pub(super) fn add(&mut self, item: Item) -> bool {
        self.bytes += match &item {
            Item::Entry(entry) => entry.path.len(),
            Item::Chunk(Chunk { data, .. }) => data.len(),
        };
        self.items.push(item);
        self.items.len() >= BATCH_ITEMS || self.bytes >= BATCH_BYTES
    }

    fn message(&mut self) -> Option<Message> {
        self.bytes = 0;
        let items = std::mem::take(&mut self.items);
        (!items.is_empty()).then_some(Message::Several(items))
    }

    /// Sends what is gathered; `false` when the receiver is gone.
    pub(super) async fn flush(&mut self, sink: &EntrySink) -> bool {
        match self.message() {
            Some(message) => sink.messages.send(message).await.is_ok(),
            None => true,
        }
    }

    /// As [`Batch::flush`], for a thread that may block.
    #[cfg(unix)]
    pub(super) fn blocking_flush(&mut self, sink: &EntrySink) -> bool {
        match self.message() {
            Some(message) => sink.messages.blocking_send(message).is_ok(),
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::{Entry, EntryKind};

    fn dir(path: &str) -> Item {
        Item::Entry(Entry::new(path, EntryKind::Dir))
    }

    #[tokio::test]
    async fn what_is_passed_on_keeps_its_order_and_ends_at_the_first_error() {
        let (from, mut source) = EntryStream::channel();
        let mut batch = Batch::default();
        for path in ["a", "b", "bad", "c"] {
            assert!(!batch.add(dir(path)));
        }
        assert!(from.send(Ok(dir("first"))).await && batch.flush(&from).await);
        from.finish().await;
        let (to, mut out) = EntryStream::channel();
        let passed = to.pass_on(&mut source, |item| match item {
            Item::Entry(entry) if entry.path == b"bad" => Err(Error::invalid("bad")),
            Item::Entry(entry) => {
                entry.path.push(b'/');
                Ok(())
            }
            Item::Chunk(_) => Ok(()),
        });
        assert_eq!(passed.await.map_err(|e| e.kind()), Err(ErrorKind::InvalidInput));
        to.finish().await;
        for path in ["first/", "a/", "b/"] {
            assert_eq!(out.next().await.ok(), Some(Some(dir(path))));
        }
        assert_eq!(out.next().await.ok(), Some(None));
    }

    #[tokio::test]
    async fn what_is_passed_on_stops_at_the_end_of_either_side() {
        let (from, mut source) = EntryStream::channel();
        let (to, out) = EntryStream::channel();
        assert!(from.send(Ok(dir("a"))).await);
        drop(from);
        let cut = to.pass_on(&mut source, |_| Ok(())).await;
        assert_eq!(cut.map_err(|e| e.kind()), Err(ErrorKind::Integrity));
        drop(out);
        let (from, mut source) = EntryStream::channel();
        assert!(from.send(Ok(dir("a"))).await);
        assert_eq!(to.pass_on(&mut source, |_| Ok(())).await.ok(), Some(false));
    }

    #[tokio::test]
    async fn a_cut_stream_is_an_error_and_a_finished_one_is_not() {
        let (sink, mut stream) = EntryStream::channel();
        assert!(sink.send(Ok(Item::Entry(Entry::new("a", EntryKind::Dir)))).await);
        drop(sink);
        assert!(matches!(stream.next().await, Ok(Some(Item::Entry(_)))));
        assert_eq!(stream.next().await.map_err(|e| e.kind()), Err(ErrorKind::Integrity));

        let (sink, mut stream) = EntryStream::channel();
        sink.finish().await;
        assert_eq!(stream.next().await.ok(), Some(None));
    }
}
