//! Tar streams, in and out, a piece at a time.
//!
//! **Reading** takes what GNU tar, BusyBox, libarchive, Go and Python write: v7, ustar (POSIX.1-1988), pax
//! (POSIX.1-2001: `path`, `linkpath`, `size`, `mtime`, `uid`, `gid`), GNU long names, and GNU's four
//! ways to write files with holes (`GNU.sparse` 0.0, 0.1 and 1.0, and the older type `S`; GNU tar manual,
//! "Storing Sparse Files"). Names lose `./` and doubled or trailing slashes and are otherwise given as
//! they are: whoever takes the entries passes them through [`StreamCheck`](super::StreamCheck). Headers
//! are bounded in size, numbers are checked, and what is malformed is an error that names the entry, or
//! the one before it. A stream that ends without tar's end mark is taken for cut. Compressed streams are
//! recognised and refused with the command that unpacks them.
//!
//! **Writing** gives what GNU tar and BusyBox both extract: ustar headers, GNU long names (BusyBox skips
//! pax headers), sizes above 8 GiB in GNU's binary numbers, and a pax header only for a time with a
//! fraction. A file whose holes are known beforehand ([`Entry::extents`](super::Entry::extents)) becomes
//! `GNU.sparse` 1.0, which BusyBox does not know; [`TarOptions::sparse`] turns that off.

mod header;
mod pax;
mod read;
mod write;

pub use read::{read, read_as};
pub use write::{TarOptions, write, write_with};
