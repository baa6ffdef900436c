//! What a dialect gives for an intent: programs to run, and how to read what they print.

use crate::{Error, ErrorKind, ExecRequest, ExitStatus, Output, RUN_OUTPUT_LIMIT, Result, Retry};
use std::fmt;
use std::time::Duration;

/// What a step's program reads on its stdin. `Debug` never prints it: it may be a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Input(Vec<u8>);

impl Input {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input({} bytes)", self.0.len())
    }
}

/// One program of a [`Plan`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// What to run.
    pub request: ExecRequest,
    /// What it reads on stdin; `None` is nothing.
    pub input: Option<Input>,
    /// The most it may print, in bytes.
    pub limit: usize,
}

/// How long a program that only reads may take, unless the caller said otherwise.
pub const READ_TIMEOUT: Duration = Duration::from_secs(60);

impl Step {
    /// Runs this; it ends within [`READ_TIMEOUT`] unless the request has a time of its own.
    #[must_use]
    pub fn new(mut request: ExecRequest) -> Self {
        request.timeout.get_or_insert(READ_TIMEOUT);
        Self { request, input: None, limit: RUN_OUTPUT_LIMIT }
    }

    /// Gives the program this on stdin. Needs `exec.stdin`.
    #[must_use]
    pub fn with_input(mut self, input: Input) -> Self {
        self.request.stdin = true;
        self.input = Some(input);
        self
    }

    /// Sets how long the program may take.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout = Some(timeout);
        self
    }

    /// Sets the most the program may print, in bytes.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

type Reader<T> = Box<dyn FnOnce(&[Output]) -> Result<T> + Send>;

/// Programs to run in order, and how to read what they printed. Making one does no I/O.
///
/// A program that fails ends the plan; its error's kind is told from the code and from stderr.
///
/// ```
/// use pod_core::os::{Plan, Step};
/// use pod_core::{ExecRequest, ExitStatus, Output};
///
/// let plan = Plan::new(Step::new(ExecRequest::new(["uname", "-r"])), |out: &Output| Ok(out.stdout_text()));
/// assert_eq!(plan.steps()[0].request.argv[0], b"uname");
/// let printed = Output { status: ExitStatus::Exited(0), stdout: b"6.12.1\n".to_vec(), stderr: Vec::new() };
/// assert_eq!(plan.read(&[printed])?, "6.12.1\n");
/// # Ok::<(), pod_core::Error>(())
/// ```
pub struct Plan<T> {
    steps: Vec<Step>,
    read: Reader<T>,
}

impl<T> fmt::Debug for Plan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("steps", &self.steps).finish_non_exhaustive()
    }
}

impl<T: 'static> Plan<T> {
    /// A plan of one program.
    #[must_use]
    pub fn new(step: Step, read: impl FnOnce(&Output) -> Result<T> + Send + 'static) -> Self {
        Self::of(vec![step], move |outputs| match outputs {
            [output] => read(output),
            _ => Err(Error::unexpected("a plan of one program was given other than one output")),
        })
    }

    /// A plan of several programs; `read` gets one output for each.
    #[must_use]
    pub fn of(steps: Vec<Step>, read: impl FnOnce(&[Output]) -> Result<T> + Send + 'static) -> Self {
        Self { steps, read: Box::new(read) }
    }

    /// A plan whose result goes through `f`.
    #[must_use]
    pub fn map<U: 'static>(self, f: impl FnOnce(T) -> Result<U> + Send + 'static) -> Plan<U> {
        let read = self.read;
        Plan { steps: self.steps, read: Box::new(move |outputs| read(outputs).and_then(f)) }
    }

    /// The programs, in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Reads what the programs printed, one output a step.
    ///
    /// # Errors
    /// The first program's that failed, or what can't be read.
    pub fn read(self, outputs: &[Output]) -> Result<T> {
        if outputs.len() != self.steps.len() {
            return Err(Error::unexpected(format!(
                "a plan of {} programs was given {} outputs",
                self.steps.len(),
                outputs.len()
            )));
        }
        outputs.iter().try_for_each(check)?;
        (self.read)(outputs)
    }
}

/// The codes by which POD's own scripts say what went wrong.
pub(crate) const EXIT_KINDS: &[(u8, ErrorKind)] = &[
    (90, ErrorKind::NotFound),
    (91, ErrorKind::AlreadyExists),
    (92, ErrorKind::Unsupported),
    (93, ErrorKind::PermissionDenied),
    (94, ErrorKind::InvalidInput),
    (95, ErrorKind::Conflict),
    (96, ErrorKind::WrongState),
    (97, ErrorKind::Integrity),
    (98, ErrorKind::Busy),
];

/// Words anywhere in stderr that tell an error's kind, the first that is found; in the C locale.
const ANYWHERE: &[(&str, ErrorKind)] = &[
    ("read-only file system", ErrorKind::PermissionDenied),
    ("permission denied", ErrorKind::PermissionDenied),
    ("operation not permitted", ErrorKind::PermissionDenied),
    ("must be root", ErrorKind::PermissionDenied),
    ("are you root", ErrorKind::PermissionDenied),
    ("superuser privilege", ErrorKind::PermissionDenied),
    ("interactive authentication required", ErrorKind::PermissionDenied),
    ("no space left on device", ErrorKind::Exhausted),
    ("disk quota exceeded", ErrorKind::Exhausted),
    ("cannot allocate memory", ErrorKind::Exhausted),
    ("unable to locate package", ErrorKind::NotFound),
    ("no match for argument", ErrorKind::NotFound),
    ("unable to find a match", ErrorKind::NotFound),
    ("target not found", ErrorKind::NotFound),
    ("no such package", ErrorKind::NotFound),
    ("could not get lock", ErrorKind::Busy),
    ("unable to lock database", ErrorKind::Busy),
    ("temporary failure resolving", ErrorKind::Unavailable),
    ("could not resolve host", ErrorKind::Unavailable),
];

/// Words that count only in the last line: further up, what is or is not there may be anything.
const LAST_LINE: &[(&str, ErrorKind)] = &[
    ("no such process", ErrorKind::NotFound),
    ("no such file or directory", ErrorKind::NotFound),
    ("cannot find device", ErrorKind::NotFound),
    ("can't find device", ErrorKind::NotFound),
    ("no such device", ErrorKind::NotFound),
    ("does not exist", ErrorKind::NotFound),
    ("file exists", ErrorKind::AlreadyExists),
    ("already exists", ErrorKind::AlreadyExists),
    ("resource busy", ErrorKind::Busy),
    ("directory not empty", ErrorKind::Conflict),
    ("operation not supported", ErrorKind::Unsupported),
    ("unknown device type", ErrorKind::Unsupported),
    ("invalid option", ErrorKind::Unsupported),
    ("unrecognized option", ErrorKind::Unsupported),
    ("network is unreachable", ErrorKind::Unavailable),
];

/// Turns an output that is no success into an error.
pub(crate) fn check(output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = last_words(&output.stderr);
    if output.status == ExitStatus::Unknown {
        let error = Error::new(ErrorKind::Unavailable, "how a program in the workload ended is not known");
        return Err(error.with_retry(Retry::Later));
    }
    let own = match output.status {
        ExitStatus::Exited(code) => EXIT_KINDS.iter().find(|(c, _)| *c == code),
        _ => None,
    };
    if let Some((_, kind)) = own {
        // The script's own sentence is behind a byte 1; what a program said before it is context.
        let (before, message) = said.rsplit_once('\x01').unwrap_or(("", said.as_str()));
        let error = Error::new(*kind, if message.is_empty() { "a program failed" } else { message.trim_end() });
        return Err(if before.is_empty() { error } else { error.with_context("stderr", before.trim_end()) });
    }
    let kind = match output.status {
        ExitStatus::Exited(126 | 127) => ErrorKind::Unsupported,
        _ => kind_of(&said),
    };
    let mut error =
        Error::new(kind, "a program in the workload failed").with_context("status", output.status.to_string());
    if !said.is_empty() {
        error = error.with_context("stderr", said);
    }
    Err(match kind {
        ErrorKind::PermissionDenied => error.with_hint("run it as a user who may, or give the workload the privilege"),
        ErrorKind::Unsupported => error.with_hint("the workload lacks a program or a kernel feature"),
        ErrorKind::Busy => error.with_retry(Retry::Later),
        _ => error,
    })
}

/// The kind that a program's words tell.
fn kind_of(said: &str) -> ErrorKind {
    let lower = said.to_ascii_lowercase();
    let last = lower.lines().next_back().unwrap_or_default();
    let told = |table: &[(&str, ErrorKind)], text: &str| table.iter().find(|(w, _)| text.contains(w)).map(|(_, k)| *k);
    told(ANYWHERE, &lower).or_else(|| told(LAST_LINE, last)).unwrap_or(ErrorKind::CommandFailed)
}

/// The last 2,000 bytes of a program's stderr, from the start of a line, without what a shell says when
/// its folder is gone.
fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let text: String = text.split_inclusive('\n').filter(|l| !l.contains("getcwd()")).collect();
    let text = text.trim();
    if text.len() <= 2000 {
        return text.to_owned();
    }
    let mut from = text.len() - 2000;
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let tail = &text[from..];
    tail.split_once('\n').map_or(tail, |(_, rest)| rest).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: u8, stderr: &str) -> Output {
        Output { status: ExitStatus::Exited(code), stdout: Vec::new(), stderr: stderr.as_bytes().to_vec() }
    }

    #[test]
    fn failures_get_a_kind() {
        for (code, stderr, kind) in [
            (1, "useradd: Permission denied.", ErrorKind::PermissionDenied),
            (2, "ip: RTNETLINK answers: Operation not permitted", ErrorKind::PermissionDenied),
            (1, "Cannot find device \"nope\"", ErrorKind::NotFound),
            (2, "ip: can't find device 'p0'", ErrorKind::NotFound),
            (2, "RTNETLINK answers: File exists", ErrorKind::AlreadyExists),
            (1, "cat: write error: No space left on device", ErrorKind::Exhausted),
            (127, "/bin/sh: 1: dnf: not found", ErrorKind::Unsupported),
            (100, "E: Unable to locate package nope", ErrorKind::NotFound),
            (1, "something else", ErrorKind::CommandFailed),
            (1, "sh: 0: getcwd() failed: No such file or directory\nJob failed.", ErrorKind::CommandFailed),
            (1, "postinst: x: No such file or directory\nE: dpkg returned an error code (1)", ErrorKind::CommandFailed),
            (90, "noise\n\x01no such user: bob\n", ErrorKind::NotFound),
        ] {
            let error = check(&failed(code, stderr)).map_err(|e| e.kind());
            assert_eq!(error, Err(kind), "{stderr}");
        }
        assert!(check(&failed(0, "a warning")).is_ok());
    }

    #[test]
    fn the_scripts_own_sentence_is_the_message() {
        let error = check(&failed(90, "noise\n\x01no such user: bob\n")).expect_err("it failed");
        assert_eq!(error.to_string(), "no such user: bob (stderr: noise)");
    }

    #[test]
    fn a_signal_or_a_lost_status_is_a_failure() {
        for (status, retry) in [(ExitStatus::Signaled(9), Retry::Never), (ExitStatus::Unknown, Retry::Later)] {
            let error = check(&Output { status, stdout: Vec::new(), stderr: Vec::new() }).expect_err("no success");
            assert_eq!(error.retry(), retry, "{error}");
        }
    }

    #[test]
    fn stdin_is_never_printed() {
        let step = Step::new(ExecRequest::new(["chpasswd"])).with_input(Input::new("bob:secret"));
        assert!(!format!("{step:?}").contains("secret"));
        assert!(step.request.stdin);
    }

    #[test]
    fn a_long_stderr_is_cut_at_a_line() {
        let long = "ä line\n".repeat(1000);
        let words = last_words(long.as_bytes());
        assert!(words.len() <= 2000 && words.starts_with("ä line"));
    }
}
