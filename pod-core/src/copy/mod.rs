//! Safe copy: typed entries, tar in and out, and an extractor that never leaves its root.
//!
//! A file or tree is a stream of [`Entry`] and [`Chunk`] items. What comes from a far end is hostile:
//! every entry passes [`StreamCheck`] before it is used, and is written only by the extractor, which
//! resolves every name beneath a directory descriptor.

mod check;
mod entry;
#[cfg(unix)]
mod resolve;
mod source;
mod stream;
pub mod tar;
pub mod target;
mod transfer;
#[cfg(unix)]
pub mod tree;

pub use check::{MAX_LINK, MAX_NAME, MAX_PATH, SOCKET, StreamCheck, check_path, show, split};
pub use entry::{
    Chunk, CopyCheck, CopyInRequest, CopyOutRequest, CopyReport, CopySource, Entry, EntryKind, FileStat, FileType, Had,
    Item, StatRequest, Verify,
};
pub use stream::{EntrySink, EntryStream};
pub use transfer::{CopyOptions, CopyProgress, ProgressHook, between, download, download_tar, upload, upload_tar};
