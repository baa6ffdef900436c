//! The engine's journal: one JSON line an event, appended by whoever makes the change.

use crate::readiness::register;
use pod_core::{Error, Event, EventStream, EventsRequest, IoResultExt, Result};
use rustix::fs::inotify;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use tokio::io::unix::AsyncFd;

/// Appends an event. An event that can't be written is no reason to undo what it tells of.
pub(crate) fn emit(journal: &Path, event: &Event) {
    let write = || -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        // One write of one line: lines of several processes don't mix.
        OpenOptions::new().create(true).append(true).open(journal)?.write_all(&line)
    };
    if let Err(e) = write() {
        tracing::warn!(error = %e, "an event could not be written");
    }
}

/// Tells when something in a folder, or one file, changes.
#[derive(Debug)]
pub(crate) struct Watch {
    fd: AsyncFd<OwnedFd>,
}

impl Watch {
    /// Watches `path`.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let flags = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::DELETE_SELF;
        inotify::add_watch(&fd, path, flags)?;
        Ok(Self { fd: register(fd, tokio::io::Interest::READABLE)? })
    }

    /// Waits for a change since the last call.
    pub(crate) async fn changed(&self) -> io::Result<()> {
        let mut buf = [0u8; 4096];
        self.fd
            .async_io(tokio::io::Interest::READABLE, |fd| {
                let mut any = false;
                loop {
                    match rustix::io::read(fd, &mut buf) {
                        Ok(_) => any = true,
                        Err(rustix::io::Errno::AGAIN) if any => return Ok(()),
                        Err(e) => return Err(e.into()),
                    }
                }
            })
            .await
    }
}

struct Reader {
    watch: Watch,
    path: PathBuf,
    file: Option<File>,
    pending: Vec<u8>,
    ready: std::collections::VecDeque<Event>,
    request: EventsRequest,
}

impl Drop for Reader {
    fn drop(&mut self) {
        // An empty folder that was kept only to be watched; one in use stays.
        let _ = self.path.parent().map(std::fs::remove_dir);
    }
}

impl Reader {
    fn read(&mut self) -> Result<()> {
        // The last removal takes the watched folder along.
        if let Some(dir) = self.path.parent().filter(|d| !d.exists()) {
            self.watch = watch(dir)?;
        }
        if self.file.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(e) => return Err(Error::io("open the journal", e)),
            }
        }
        if let Some(file) = &mut self.file {
            file.read_to_end(&mut self.pending).doing(|| "read the journal")?;
            use std::os::unix::fs::MetadataExt;
            // The last removal takes the journal along; the next creation starts a new one.
            if file.metadata().doing(|| "look at the journal")?.nlink() == 0 {
                self.file = None;
            }
        }
        while let Some(end) = self.pending.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let event: Event = serde_json::from_slice(&line)
                .map_err(|e| Error::unexpected("the journal of events is damaged").with_source(e))?;
            if self.request.workload.as_ref().is_none_or(|w| *w == event.workload) {
                self.ready.push_back(event);
            }
        }
        Ok(())
    }
}

fn watch(dir: &Path) -> Result<Watch> {
    std::fs::create_dir_all(dir).and_then(|()| Watch::new(dir)).doing(|| "watch the journal of events")
}

/// Events from now on.
pub(crate) fn follow(journal: &Path, request: EventsRequest) -> Result<EventStream> {
    let watch = watch(journal.parent().unwrap_or(Path::new("/")))?;
    let file = match File::open(journal) {
        Ok(mut file) => {
            file.seek(SeekFrom::End(0)).doing(|| "read the journal")?;
            Some(file)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(Error::io("open the journal", e)),
    };
    let reader = Reader {
        watch,
        path: journal.to_owned(),
        file,
        pending: Vec::new(),
        ready: std::collections::VecDeque::new(),
        request,
    };
    Ok(Box::pin(futures_util::stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        loop {
            if let Some(event) = reader.ready.pop_front() {
                return Some((Ok(event), Some(reader)));
            }
            if let Err(e) = reader.read() {
                return Some((Err(e), None));
            }
            if reader.ready.is_empty()
                && let Err(e) = reader.watch.changed().await
            {
                return Some((Err(Error::io("watch the journal of events", e)), None));
            }
        }
    })))
}
