//! Whole copies over any [`Connection`], by the rules of [`target`].

use super::check::show;
use super::tar::{self, TarOptions};
use super::{
    CopyInRequest, CopyOutRequest, CopyReport, CopySource, EntryStream, FileStat, FileType, StatRequest, Verify, target,
};
use crate::{Connection, Error, ErrorKind, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// How far a copy has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[non_exhaustive]
pub struct CopyProgress {
    /// Entries that have passed, directories included.
    pub entries: u64,
    /// Bytes of regular files that have passed, holes not counted.
    pub bytes: u64,
}

/// Is told how far a copy has come, after every entry and every piece of a file.
#[derive(Clone)]
pub struct ProgressHook(Arc<dyn Fn(CopyProgress) + Send + Sync>);

impl ProgressHook {
    /// Calls `hook`, which must not block.
    pub fn new(hook: impl Fn(CopyProgress) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    pub(super) fn call(&self, progress: CopyProgress) {
        (self.0)(progress);
    }
}

impl fmt::Debug for ProgressHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProgressHook")
    }
}

/// How [`upload`], [`download`] and the others copy.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CopyOptions {
    /// How to check.
    pub verify: Verify,
    /// Keep owners and set-id bits.
    pub archive: bool,
    /// Follow a symbolic link at the source itself.
    pub follow: bool,
    /// Take up an earlier copy that broke off ([`CopyInRequest::resume`]). [`download`] asks only for the
    /// files that the destination lacks or has otherwise, by size and time, and by SHA-256 with
    /// [`Verify::Hash`]; of a directory, name its contents (`/.`), so that a destination that is there by
    /// now means the same place. [`download_tar`] refuses it.
    pub resume: bool,
    /// For [`download`]: the most entries; `None` is no limit.
    pub max_entries: Option<u64>,
    /// For [`download`]: the most bytes, counting each file with its apparent size; `None` is no limit.
    pub max_bytes: Option<u64>,
    /// Is told how far the copy has come.
    pub progress: Option<ProgressHook>,
}

impl CopyOptions {
    /// Checks lengths, keeps no owners, follows no link, has no limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how to check.
    #[must_use]
    pub fn with_verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// Keeps owners and set-id bits.
    #[must_use]
    pub fn with_archive(mut self, archive: bool) -> Self {
        self.archive = archive;
        self
    }

    /// Follows a symbolic link at the source itself.
    #[must_use]
    pub fn with_follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// Takes up an earlier copy that broke off.
    #[must_use]
    pub fn with_resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Limits what [`download`] takes.
    #[must_use]
    pub fn with_limits(mut self, max_entries: Option<u64>, max_bytes: Option<u64>) -> Self {
        (self.max_entries, self.max_bytes) = (max_entries, max_bytes);
        self
    }

    /// Calls `hook`, which must not block, as the copy goes on.
    #[must_use]
    pub fn with_progress(mut self, hook: impl Fn(CopyProgress) + Send + Sync + 'static) -> Self {
        self.progress = Some(ProgressHook::new(hook));
        self
    }

    fn watch(&self, stream: EntryStream) -> EntryStream {
        match &self.progress {
            Some(hook) => stream.with_progress(hook.clone()),
            None => stream,
        }
    }

    async fn request(&self, dest: Vec<u8>, source: CopySource) -> Result<CopyInRequest> {
        let source = match &self.progress {
            Some(_) => CopySource::Stream(self.watch(blocking(move || source.open()).await?)),
            None => source,
        };
        Ok(CopyInRequest::new(dest, source)
            .with_verify(self.verify)
            .with_archive(self.archive)
            .with_resume(self.resume))
    }
}

/// Copies a file or tree of this machine to `dest` in a workload, by the rules of [`target`].
///
/// # Errors
/// As [`target::resolve`] and [`Connection::copy_in`]; `NotFound` when `local` does not exist.
pub async fn upload(conn: &dyn Connection, local: &Path, dest: &[u8], options: &CopyOptions) -> Result<CopyReport> {
    let source = local.to_owned();
    let follow = options.follow;
    let (read, name, kind) = blocking(move || local_source(source, follow)).await?;
    let there = conn.stat(StatRequest::new(dest).kind_only()).await?;
    let dest = target::resolve(&name, kind, dest, there.as_ref())?;
    conn.copy_in(options.request(dest, CopySource::Local(read)).await?).await
}

/// What to read, the path its name is taken from, and its kind.
fn local_source(local: PathBuf, follow: bool) -> Result<(PathBuf, Vec<u8>, FileType)> {
    let missing = |e| Error::io("can't read this path", e).with_context("path", local.display().to_string());
    let stat = local_stat(&local, follow).map_err(missing)?;
    let Some(stat) = stat else { return Err(Error::not_found("file", local.display().to_string())) };
    let mut name = path_bytes(&local);
    if name.ends_with(b"..") && target::into_itself(&name) {
        name = path_bytes(&local.canonicalize().map_err(missing)?);
    }
    let read = if follow && !target::into_itself(&name) { local.canonicalize().map_err(missing)? } else { local };
    Ok((read, name, stat.kind))
}

/// Copies a file or tree of a workload to `local`, by the rules of [`target`]. What the workload sends is
/// taken for hostile: nothing is written outside of `local` ([`write_tree`](super::tree::write_tree)).
///
/// # Errors
/// As [`target::resolve`], [`Connection::copy_out`] and [`write_tree`](super::tree::write_tree);
/// `NotFound` when there is nothing at `source`; `Unsupported` on a system that is no Unix.
pub async fn download(conn: &dyn Connection, source: &[u8], local: &Path, options: &CopyOptions) -> Result<CopyReport> {
    let (mut request, stat) = remote_source(conn, source, options.follow).await?;
    let dest = path_bytes(local);
    let path = local.to_owned();
    let there = blocking(move || {
        let shown = path.display().to_string();
        local_stat(&path, true).map_err(|e| Error::io("can't look at this path", e).with_context("path", shown))
    })
    .await?;
    let dest = target::resolve(source, stat.kind, &dest, there.as_ref())?;
    if options.resume {
        let (at, hash) = (dest.clone(), options.verify == Verify::Hash);
        request = request.with_have(blocking(move || local_files(&at, hash)).await?);
    }
    let stream = options.watch(conn.copy_out(request).await?);
    write_local(dest, stat.kind, stream, options.clone()).await
}

/// The files that a copy to `dest` would write, as far as they are there.
#[cfg(unix)]
fn local_files(dest: &[u8], hash: bool) -> Result<Vec<super::Had>> {
    use std::os::unix::ffi::OsStrExt;
    super::tree::files_at(Path::new(std::ffi::OsStr::from_bytes(dest)), hash)
}

#[cfg(not(unix))]
fn local_files(_: &[u8], _: bool) -> Result<Vec<super::Had>> {
    Ok(Vec::new())
}

#[cfg(unix)]
async fn write_local(dest: Vec<u8>, kind: FileType, stream: EntryStream, options: CopyOptions) -> Result<CopyReport> {
    use super::tree::{WriteOptions, write_tree};
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    blocking(move || {
        let path = Path::new(OsStr::from_bytes(&dest));
        let (above, name) = super::split(&dest);
        // A directory that is there already may be reached by a link of this machine's user; what does
        // not exist yet has its parent.
        let (dir, name) = if kind == FileType::Dir && path.is_dir() {
            (path, &b"/"[..])
        } else {
            let above: &[u8] = match above {
                b"" if dest.first() == Some(&b'/') => b"/",
                b"" => b".",
                above => above,
            };
            (Path::new(OsStr::from_bytes(above)), name)
        };
        let open = std::fs::File::open(dir).map_err(|e| {
            let error = Error::io("can't open the directory to copy into", e);
            error.with_context("path", dir.display().to_string()).with_hint("make it first")
        })?;
        let inside = if name == b"/" { b"/".to_vec() } else { [b"/", name].concat() };
        let write = WriteOptions::new()
            .with_verify(options.verify)
            .with_archive(options.archive)
            .with_resume(options.resume)
            .with_limits(options.max_entries, options.max_bytes);
        write_tree(open.into(), &inside, stream, write)
            .map_err(|e| e.with_context("destination", path.display().to_string()))
    })
    .await
}

#[cfg(not(unix))]
async fn write_local(_: Vec<u8>, _: FileType, _: EntryStream, _: CopyOptions) -> Result<CopyReport> {
    Err(Error::unsupported("files can be copied to Unix systems only").with_hint("take a tar stream instead"))
}

/// Copies a file or tree of one workload to another, through this process and by the rules of
/// [`target`]. Within one workload, give the same connection twice: then a directory is not copied into
/// itself, which would never end.
///
/// # Errors
/// As [`target::resolve`], [`Connection::copy_out`] and [`Connection::copy_in`]; `NotFound` when there is
/// nothing at `source`; `InvalidInput` for a directory into itself.
pub async fn between(
    from: &dyn Connection,
    source: &[u8],
    to: &dyn Connection,
    dest: &[u8],
    options: &CopyOptions,
) -> Result<CopyReport> {
    let (request, stat) = remote_source(from, source, options.follow).await?;
    let there = to.stat(StatRequest::new(dest).kind_only()).await?;
    let dest = target::resolve(source, stat.kind, dest, there.as_ref())?;
    let same = std::ptr::addr_eq(std::ptr::from_ref(from), std::ptr::from_ref(to));
    if same && stat.kind == FileType::Dir && target::is_inside(&dest, &request.path) {
        return Err(Error::invalid("a directory can't be copied into itself")
            .with_context("source", show(source))
            .with_context("destination", show(&dest)));
    }
    let stream = from.copy_out(request).await?;
    to.copy_in(options.request(dest, CopySource::Stream(stream)).await?).await
}

/// Unpacks a tar stream into the directory `dest` of a workload, which must exist.
///
/// # Errors
/// `NotFound` or `Conflict` when `dest` is no directory; as [`tar::read`] and [`Connection::copy_in`].
pub async fn upload_tar(
    conn: &dyn Connection,
    reader: impl AsyncRead + Send + Unpin + 'static,
    dest: &[u8],
    options: &CopyOptions,
) -> Result<CopyReport> {
    match conn.stat(StatRequest::new(dest).kind_only()).await?.map(|s| s.kind) {
        Some(FileType::Dir) => {}
        Some(_) => {
            return Err(Error::new(ErrorKind::Conflict, "a tar stream can be unpacked into a directory only")
                .with_context("destination", show(dest)));
        }
        None => {
            return Err(Error::new(ErrorKind::NotFound, "the directory to unpack into does not exist")
                .with_context("destination", show(dest))
                .with_hint("make it first"));
        }
    }
    let dest = target::trimmed(dest).to_vec();
    conn.copy_in(options.request(dest, CopySource::Stream(tar::read(reader))).await?).await
}

/// Writes a file or tree of a workload as a tar stream, under its own name; with `/.` after `source` its
/// contents.
///
/// # Errors
/// As [`Connection::copy_out`] and [`tar::write`]; `NotFound` when there is nothing at `source`;
/// `InvalidInput` with [`CopyOptions::resume`].
pub async fn download_tar(
    conn: &dyn Connection,
    source: &[u8],
    writer: &mut (impl AsyncWrite + Send + Unpin),
    options: &CopyOptions,
) -> Result<CopyReport> {
    if options.resume {
        return Err(Error::invalid("a tar stream can't be taken up where it broke off")
            .with_hint("copy to a directory to resume"));
    }
    let (request, _) = remote_source(conn, source, options.follow).await?;
    let root = target::base_name(source)?.unwrap_or_default().to_vec();
    let stream = options.watch(conn.copy_out(request).await?);
    tar::write_with(stream, writer, &TarOptions::new().with_root(root)).await
}

/// The request for a source as the user wrote it, and what is there.
async fn remote_source(conn: &dyn Connection, source: &[u8], follow: bool) -> Result<(CopyOutRequest, FileStat)> {
    let path = target::trimmed(source);
    let into = target::into_itself(source);
    let follow = follow || into;
    let stat = conn.stat(StatRequest::new(path).with_follow(follow).kind_only()).await?;
    let Some(stat) = stat else { return Err(Error::not_found("file", show(source)).with_hint("check the path")) };
    if into && stat.kind != FileType::Dir {
        return Err(Error::invalid("the source is no directory, yet ends in `/`").with_context("source", show(source)));
    }
    Ok((CopyOutRequest::new(path).with_follow(follow), stat))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(e) => Err(Error::unexpected("the thread that copies has died").with_source(e)),
    }
}

fn local_stat(path: &Path, follow: bool) -> std::io::Result<Option<FileStat>> {
    let meta = if follow { std::fs::metadata(path) } else { std::fs::symlink_metadata(path) };
    match meta {
        Ok(meta) => {
            let kind = match meta.file_type() {
                t if t.is_dir() => FileType::Dir,
                t if t.is_symlink() => FileType::Symlink,
                t if t.is_file() => FileType::File,
                _ => FileType::Other,
            };
            Ok(Some(FileStat::new(kind, meta.len())))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(unix)]
fn path_bytes(path: &Path) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec()
}

#[cfg(not(unix))]
fn path_bytes(path: &Path) -> Vec<u8> {
    path.to_string_lossy().replace('\\', "/").into_bytes()
}
