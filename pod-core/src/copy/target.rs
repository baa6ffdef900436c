//! Where a copy goes: the rules of `docker cp`, free of any file system.
//!
//! | source | destination | result |
//! |---|---|---|
//! | file | nothing | the destination is that file; with a trailing `/` an error |
//! | file | file or link to one | replaced |
//! | file | directory | `DEST/NAME` |
//! | directory | nothing | the destination becomes a copy of the directory |
//! | directory | file | an error |
//! | directory | directory | `DEST/NAME`; with `/.` after the source its contents go into `DEST` |
//!
//! A symbolic link counts as a file as a source, unless it is followed, and as what it leads to as a
//! destination. Unlike `docker cp`, a link to a file is replaced, not written through.

use super::check::{show, split};
use super::{FileStat, FileType};
use crate::{Error, ErrorKind, Result};

/// What the source's root entry becomes: the `dest` of a [`CopyInRequest`](super::CopyInRequest).
///
/// `source` is the path as the user gave it, `kind` what is there; `dest` is where it shall go and
/// `there` what its [`stat`](crate::Connection::stat) with links followed says.
///
/// ```
/// use pod_core::copy::{FileStat, FileType, target};
/// let dir = FileStat::new(FileType::Dir, 0);
/// assert_eq!(target::resolve(b"./a.txt", FileType::File, b"/tmp", Some(&dir))?, b"/tmp/a.txt");
/// assert_eq!(target::resolve(b"src", FileType::Dir, b"/new", None)?, b"/new");
/// assert_eq!(target::resolve(b"src/.", FileType::Dir, b"/tmp", Some(&dir))?, b"/tmp");
/// # Ok::<(), pod_core::Error>(())
/// ```
///
/// # Errors
/// `NotFound` for a file to `DEST/` that does not exist; `Conflict` for a directory to a file;
/// `InvalidInput` for a file with a trailing `/`, an empty path, or a source that ends in `..`.
pub fn resolve(source: &[u8], kind: FileType, dest: &[u8], there: Option<&FileStat>) -> Result<Vec<u8>> {
    for (what, path) in [("source", source), ("destination", dest)] {
        if path.is_empty() || path.contains(&0) {
            return Err(Error::invalid(format!("the {what} is empty or holds a zero byte")));
        }
    }
    let into = into_itself(dest);
    let is_dir = there.is_some_and(|s| s.kind == FileType::Dir);
    if kind == FileType::Dir {
        return match there {
            None => Ok(trimmed(dest).to_vec()),
            Some(_) if !is_dir => Err(Error::new(ErrorKind::Conflict, "a directory can't be copied onto a file")
                .with_context("destination", show(dest))
                .with_hint("choose another destination, or remove the file")),
            Some(_) => match base_name(source)? {
                Some(name) => Ok(join(dest, name)),
                None => Ok(trimmed(dest).to_vec()),
            },
        };
    }
    if into_itself(source) {
        return Err(Error::invalid("the source is no directory, yet ends in `/`").with_context("source", show(source)));
    }
    match (there, is_dir) {
        (_, true) => match base_name(source)? {
            Some(name) => Ok(join(dest, name)),
            None => Err(Error::invalid("the source has no name of its own").with_context("source", show(source))),
        },
        (None, _) if into => Err(Error::new(ErrorKind::NotFound, "the directory to copy into does not exist")
            .with_context("destination", show(dest))
            .with_hint("make it first, or leave out the trailing `/`")),
        (Some(_), _) if into => {
            Err(Error::new(ErrorKind::Conflict, "the destination is no directory, yet ends in `/`")
                .with_context("destination", show(dest)))
        }
        _ => Ok(dest.to_vec()),
    }
}

/// The last part of a source's path; `None` when its contents are meant (`.`, `DIR/.`, `/`).
///
/// # Errors
/// `InvalidInput` when it is `..`, which says nothing about a name.
pub fn base_name(source: &[u8]) -> Result<Option<&[u8]>> {
    match split(trim_slashes(source)).1 {
        b"" | b"." => Ok(None),
        b".." => Err(Error::invalid("the source ends in `..`, which is no name")
            .with_context("source", show(source))
            .with_hint("write the directory's own name, or put `/.` after it for its contents")),
        name => Ok(Some(name)),
    }
}

/// Whether the path says by its end that it is a directory: `/` or `/.`, or is `.` or `..`.
#[must_use]
pub fn into_itself(path: &[u8]) -> bool {
    matches!(path, b"." | b"..") || [&b"/"[..], b"/.", b"/.."].iter().any(|end| path.ends_with(end))
}

/// The path without what [`into_itself`] looks for, except `..`; at least `/` or `.`.
#[must_use]
pub fn trimmed(path: &[u8]) -> &[u8] {
    let mut path = trim_slashes(path);
    while let Some(rest) = path.strip_suffix(b"/.") {
        path = if rest.is_empty() { b"/" } else { trim_slashes(rest) };
    }
    path
}

/// Whether `path` is `dir` or lies beneath it, by the words alone. Copying a directory into itself would
/// never end.
#[must_use]
pub fn is_inside(path: &[u8], dir: &[u8]) -> bool {
    let parts = |p: &'_ [u8]| -> Vec<Vec<u8>> {
        p.split(|b| *b == b'/').filter(|p| !matches!(*p, b"" | b".")).map(<[u8]>::to_vec).collect()
    };
    parts(path).starts_with(&parts(dir))
}

fn trim_slashes(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|b| *b != b'/').map_or(1, |at| at + 1);
    &path[..end.min(path.len())]
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let dir = trimmed(dir);
    if dir == b"/" { [dir, name].concat() } else { [dir, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorKind::{Conflict, InvalidInput, NotFound};
    use FileType::{Dir, File, Symlink};

    #[test]
    fn the_rules_of_docker_cp() {
        let none = None;
        type Case = (&'static str, FileType, &'static str, Option<FileType>, Result<&'static str, ErrorKind>);
        #[rustfmt::skip]
        let cases: [Case; 33] = [
            ("a/f", File, "/d", none, Ok("/d")),
            ("a/f", File, "/d/", none, Err(NotFound)),
            ("a/f", File, "/d/.", none, Err(NotFound)),
            ("a/f", File, "/d", Some(File), Ok("/d")),
            ("a/f", File, "/d/", Some(File), Err(Conflict)),
            ("a/f", File, "/d", Some(Dir), Ok("/d/f")),
            ("a/f", File, "/d/", Some(Dir), Ok("/d/f")),
            ("a/f", File, "/d/.", Some(Dir), Ok("/d/f")),
            ("a/f", File, "/", Some(Dir), Ok("/f")),
            ("f", File, ".", Some(Dir), Ok("./f")),
            ("f", File, "..", Some(Dir), Ok("../f")),
            ("/f", File, "/d", Some(Dir), Ok("/d/f")),
            ("f/", File, "/d", Some(Dir), Err(InvalidInput)),
            ("f/.", File, "/d", none, Err(InvalidInput)),
            ("l", Symlink, "/d", none, Ok("/d")),
            ("l", Symlink, "/d", Some(Dir), Ok("/d/l")),
            ("f", File, "/d", Some(Symlink), Ok("/d")),
            ("d", Dir, "/x", none, Ok("/x")),
            ("d", Dir, "/x/", none, Ok("/x")),
            ("d", Dir, "/x/.", none, Ok("/x")),
            ("d/.", Dir, "/x", none, Ok("/x")),
            ("d", Dir, "/x", Some(File), Err(Conflict)),
            ("d/.", Dir, "/x", Some(File), Err(Conflict)),
            ("d", Dir, "/x", Some(Dir), Ok("/x/d")),
            ("d/", Dir, "/x", Some(Dir), Ok("/x/d")),
            ("a/d", Dir, "/x//", Some(Dir), Ok("/x/d")),
            ("d/.", Dir, "/x", Some(Dir), Ok("/x")),
            ("d/.", Dir, "/", Some(Dir), Ok("/")),
            (".", Dir, "/x/", Some(Dir), Ok("/x")),
            ("/", Dir, "/x", Some(Dir), Ok("/x")),
            ("..", Dir, "/x", Some(Dir), Err(InvalidInput)),
            ("", File, "/x", none, Err(InvalidInput)),
            ("f", File, "", none, Err(InvalidInput)),
        ];
        for (source, kind, dest, there, want) in cases {
            let there = there.map(|k| FileStat::new(k, 0));
            let got = resolve(source.as_bytes(), kind, dest.as_bytes(), there.as_ref());
            let got = got.map(|p| String::from_utf8(p).expect("text"));
            assert_eq!(got.as_deref().map_err(|e| e.kind()), want, "{source} ({kind:?}) to {dest} ({there:?})");
        }
    }

    #[test]
    fn a_path_inside_another_is_told() {
        for (path, dir, inside) in [
            ("/a/b", "/a", true),
            ("/a", "/a/", true),
            ("/a/./b//c", "/a/b/.", true),
            ("/x", "/", true),
            ("/ab", "/a", false),
            ("/a", "/a/b", false),
        ] {
            assert_eq!(is_inside(path.as_bytes(), dir.as_bytes()), inside, "{path} in {dir}");
        }
    }

    #[test]
    fn paths_lose_what_only_says_directory() {
        for (path, want) in
            [("/", "/"), ("//", "/"), ("/.", "/"), ("a/./.", "a"), ("a//", "a"), (".", "."), ("./.", "."), ("..", "..")]
        {
            assert_eq!(trimmed(path.as_bytes()), want.as_bytes(), "{path}");
        }
    }
}
