//! Turning a [`CopySource`] into its stream.

use super::{Chunk, CopySource, EntryStream, Item};
use crate::Result;

impl CopySource {
    /// Starts reading. A local tree is read on a thread of its own; its root entry has an empty path, and
    /// a symbolic link at the path itself is copied as a link unless the path ends in `/` or `/.`.
    ///
    /// # Errors
    /// `NotFound` when there is nothing at a local path; what goes wrong later comes in the stream.
    /// `Unsupported` for a local path on a system that is no Unix.
    pub fn open(self) -> Result<EntryStream> {
        match self {
            #[cfg(unix)]
            Self::Local(path) => super::tree::read_local(&path),
            #[cfg(not(unix))]
            Self::Local(path) => Err(crate::Error::unsupported("local files can be copied on Unix systems only")
                .with_context("path", path.display().to_string())
                .with_hint("give a tar stream instead")),
            Self::Stream(stream) => Ok(stream),
            Self::Memory(entries) => {
                let (sink, stream) = EntryStream::channel();
                let send = move || {
                    for (entry, data) in entries {
                        let chunk = (!data.is_empty()).then_some(Item::Chunk(Chunk { offset: 0, data }));
                        for item in std::iter::once(Item::Entry(entry)).chain(chunk) {
                            if !sink.blocking_send(Ok(item)) {
                                return;
                            }
                        }
                    }
                    sink.blocking_finish();
                };
                std::thread::Builder::new()
                    .name("pod-copy-memory".into())
                    .spawn(send)
                    .map_err(|e| crate::Error::io("can't start a thread to read with", e))?;
                Ok(stream)
            }
        }
    }
}
