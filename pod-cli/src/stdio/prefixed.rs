//! Many programs on our own streams, each line with the name of its workload.

use super::output::{Stream, Writer};
use pod::{BoxRead, ExitStatus, Process, Result};
use tokio::io::AsyncReadExt;
use tokio::sync::{Mutex, watch};

/// The longest line that is kept whole, in bytes.
const LINE: usize = 64 << 10;

/// Our stdout and stderr, shared by many programs line by line.
pub(crate) struct Prefixed {
    stdout: Mutex<Writer>,
    stderr: Mutex<Writer>,
}

impl Prefixed {
    /// Starts the threads that write.
    pub(crate) fn begin() -> Self {
        Self { stdout: Mutex::new(Writer::begin(Stream::Stdout)), stderr: Mutex::new(Writer::begin(Stream::Stderr)) }
    }

    /// Prints all of a program's output, and gives its end. When `stop` becomes true, the program and
    /// all it started is killed.
    ///
    /// # Errors
    /// As [`Process::wait`].
    pub(crate) async fn run(
        &self,
        name: &str,
        mut process: Process,
        mut stop: watch::Receiver<bool>,
    ) -> Result<ExitStatus> {
        let prefix = format!("{name} | ").into_bytes();
        let (out, err) = (process.take_stdout(), process.take_stderr());
        let lines = async { tokio::join!(lines(out, &prefix, &self.stdout), lines(err, &prefix, &self.stderr)) };
        tokio::pin!(lines);
        let mut printed = false;
        let status = loop {
            tokio::select! {
                status = process.wait() => break status,
                _ = &mut lines, if !printed => printed = true,
                // A sender that is gone can't ask any more.
                Ok(_) = stop.wait_for(|s| *s) => break process.kill().await.map(|()| ExitStatus::Signaled(9)),
            }
        };
        if !printed {
            // What the program left running may hold its streams open for ever.
            let _ = tokio::time::timeout(super::output::SILENCE, &mut lines).await;
        }
        status
    }

    /// Waits until all is written; a closed pipe is no error.
    ///
    /// # Errors
    /// When one can't be written.
    pub(crate) async fn finish(self) -> Result<()> {
        self.stdout.into_inner().finish().await?;
        self.stderr.into_inner().finish().await?;
        Ok(())
    }
}

/// Writes each line with the prefix before it; a last line without a newline gets one.
async fn lines(from: Option<BoxRead>, prefix: &[u8], to: &Mutex<Writer>) {
    let Some(mut from) = from else { return };
    let mut rest: Vec<u8> = Vec::new();
    loop {
        let before = rest.len();
        rest.reserve(LINE);
        let ended = match from.read_buf(&mut rest).await {
            Ok(0) => true,
            Ok(_) => false,
            Err(e) => {
                tracing::warn!(error = %e, "a program's output was cut");
                true
            }
        };
        let mut out = Vec::new();
        let mut begin = 0;
        while let Some(at) = rest[begin.max(before)..].iter().position(|b| *b == b'\n') {
            let end = begin.max(before) + at + 1;
            out.extend_from_slice(prefix);
            out.extend_from_slice(&rest[begin..end]);
            begin = end;
        }
        if begin < rest.len() && (ended || rest.len() - begin >= LINE) {
            out.extend_from_slice(prefix);
            out.extend_from_slice(&rest[begin..]);
            out.push(b'\n');
            begin = rest.len();
        }
        rest.drain(..begin);
        if !out.is_empty() {
            let mut writer = to.lock().await;
            // A buffer is taken for each write, so that no more than the writer's few are on the way.
            if writer.buffer().await.is_none() || !writer.write(out).await {
                return;
            }
        }
        if ended {
            return;
        }
    }
}
