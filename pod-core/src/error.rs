//! The one error type of POD.
//!
//! An [`Error`] says what kind of thing went wrong ([`ErrorKind`]), during which operation, on which
//! backend, about which things (context pairs), whether trying again can help, and what to do next.
//! Platform errors stay private to their backend and arrive here as a `source`.

use std::fmt;

/// The result of every fallible call in POD.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type BoxedSource = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What went wrong, by meaning and never by transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The thing named does not exist.
    NotFound,
    /// A thing of that name exists already; it was not touched.
    AlreadyExists,
    /// A value given by the caller is not acceptable.
    InvalidInput,
    /// A configuration file, address or option is not acceptable.
    ConfigInvalid,
    /// The backend, kernel or image lacks the capability; nothing was changed.
    Unsupported,
    /// The platform does not know who is asking.
    Unauthenticated,
    /// The platform knows who is asking and says no.
    PermissionDenied,
    /// Someone else changed the thing meanwhile, or it clashes with another.
    Conflict,
    /// The thing exists but is in a state that forbids the operation.
    WrongState,
    /// The thing is in use.
    Busy,
    /// The platform can't be reached, or can't serve now.
    Unavailable,
    /// The time given ran out.
    Timeout,
    /// The caller gave up.
    Cancelled,
    /// A program could not be run: see [`Error::exit_code`] (126 or 127). Without that code, one that
    /// POD itself ran in a workload failed; the context holds its status and what it said.
    CommandFailed,
    /// What arrived is not what was sent, or a read-back differs from what was asked for.
    Integrity,
    /// No space, no memory, no free address.
    Exhausted,
    /// Several parts failed; the context lists them.
    Partial,
    /// None of the above: a defect of POD or of the platform.
    Unexpected,
}

impl ErrorKind {
    /// The kind in snake case, as it stands in JSON output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::InvalidInput => "invalid_input",
            Self::ConfigInvalid => "config_invalid",
            Self::Unsupported => "unsupported",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::Conflict => "conflict",
            Self::WrongState => "wrong_state",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::CommandFailed => "command_failed",
            Self::Integrity => "integrity",
            Self::Exhausted => "exhausted",
            Self::Partial => "partial",
            Self::Unexpected => "unexpected",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str().replace('_', " "))
    }
}

/// Whether the same call can succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// The same call gives the same error.
    #[default]
    Never,
    /// The same call may succeed at once or a little later.
    Later,
}

struct Inner {
    kind: ErrorKind,
    message: String,
    operation: Option<&'static str>,
    backend: Option<String>,
    context: Vec<(&'static str, String)>,
    hint: Option<String>,
    retry: Retry,
    exit_code: Option<u8>,
    source: Option<BoxedSource>,
}

/// What went wrong, where, about what, and what to do next.
///
/// `Display` prints the message, the context and the hint on one line; it never repeats
/// [`source`](std::error::Error::source). Messages are lower case with no full stop.
///
/// ```
/// use pod_core::{Error, ErrorKind};
/// let e = Error::new(ErrorKind::NotFound, "no such workload")
///     .with_context("workload", "web")
///     .with_hint("`pod ps -a` lists them");
/// assert_eq!(e.to_string(), "no such workload (workload: web); `pod ps -a` lists them");
/// ```
pub struct Error(Box<Inner>);

impl Error {
    /// An error of this kind with this message.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            operation: None,
            backend: None,
            context: Vec::new(),
            hint: None,
            retry: Retry::Never,
            exit_code: None,
            source: None,
        }))
    }

    /// [`ErrorKind::NotFound`]: `what` named `name` does not exist.
    #[must_use]
    pub fn not_found(what: &'static str, name: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, format!("no such {what}")).with_context(what, name)
    }

    /// [`ErrorKind::InvalidInput`] with this message.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// [`ErrorKind::Unsupported`] with this message.
    #[must_use]
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// [`ErrorKind::Unexpected`] with this message.
    #[must_use]
    pub fn unexpected(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unexpected, message)
    }

    /// An operating system error, its kind taken from the error number.
    #[must_use]
    pub fn io(message: impl Into<String>, source: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match source.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::AlreadyExists => ErrorKind::AlreadyExists,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
            Io::InvalidInput | Io::InvalidFilename | Io::NotADirectory | Io::IsADirectory => ErrorKind::InvalidInput,
            Io::StorageFull | Io::QuotaExceeded | Io::OutOfMemory | Io::FileTooLarge => ErrorKind::Exhausted,
            Io::ConnectionRefused
            | Io::ConnectionReset
            | Io::ConnectionAborted
            | Io::BrokenPipe
            | Io::UnexpectedEof
            | Io::NotConnected => ErrorKind::Unavailable,
            Io::TimedOut => ErrorKind::Timeout,
            Io::ResourceBusy => ErrorKind::Busy,
            Io::Unsupported => ErrorKind::Unsupported,
            _ => ErrorKind::Unexpected,
        };
        let hint = match kind {
            ErrorKind::Exhausted => Some("free some space and run the command again"),
            _ => None,
        };
        let mut error = Self::new(kind, message).with_source(source);
        if let Some(hint) = hint {
            error = error.with_hint(hint);
        }
        error
    }

    /// Adds what the error is about. Values never hold secrets.
    #[must_use]
    pub fn with_context(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.0.context.push((key, value.into()));
        self
    }

    /// Says what the user can do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the lower-level error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxedSource>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Marks the error as worth another try.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// The shell's code for a program that could not be run: 126 or 127.
    #[must_use]
    pub fn with_exit_code(mut self, code: u8) -> Self {
        self.0.exit_code = Some(code);
        self
    }

    /// Names the operation unless a deeper layer already did.
    #[must_use]
    pub fn with_operation(mut self, operation: &'static str) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Names the backend unless a deeper layer already did.
    #[must_use]
    pub fn with_backend(mut self, backend: impl Into<String>) -> Self {
        self.0.backend.get_or_insert_with(|| backend.into());
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message alone.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The operation, such as `create` or `exec`.
    #[must_use]
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The backend's address.
    #[must_use]
    pub fn backend(&self) -> Option<&str> {
        self.0.backend.as_deref()
    }

    /// What the error is about, in the order it was added.
    #[must_use]
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }

    /// What the user can do next.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Whether another try can help.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// 126 (not executable) or 127 (not found) for a program that could not be run.
    #[must_use]
    pub fn exit_code(&self) -> Option<u8> {
        self.0.exit_code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if !self.0.context.is_empty() {
            f.write_str(" (")?;
            for (i, (key, value)) in self.0.context.iter().enumerate() {
                if i > 0 {
                    f.write_str(", ")?;
                }
                write!(f, "{key}: {value}")?;
            }
            f.write_str(")")?;
        }
        if let Some(hint) = &self.0.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("operation", &self.0.operation)
            .field("backend", &self.0.backend)
            .field("context", &self.0.context)
            .field("hint", &self.0.hint)
            .field("retry", &self.0.retry)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|s| s.as_ref() as _)
    }
}

/// The JSON form: `{kind, operation, backend, message, context, hint, retry, causes}`.
impl serde::Serialize for Error {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut causes = Vec::new();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        let context: std::collections::BTreeMap<_, _> = self.0.context.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let mut s = serializer.serialize_struct("Error", 8)?;
        s.serialize_field("kind", &self.0.kind)?;
        s.serialize_field("operation", &self.0.operation)?;
        s.serialize_field("backend", &self.0.backend)?;
        s.serialize_field("message", &self.0.message)?;
        s.serialize_field("context", &context)?;
        s.serialize_field("hint", &self.0.hint)?;
        s.serialize_field("retry", &self.0.retry)?;
        s.serialize_field("causes", &causes)?;
        s.end()
    }
}

/// Adds where an error happened to a `Result`.
pub trait ResultExt<T> {
    /// Names the operation unless a deeper layer already did.
    fn operation(self, operation: &'static str) -> Result<T>;
    /// Adds what the error is about.
    fn context(self, key: &'static str, value: impl Into<String>) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn operation(self, operation: &'static str) -> Result<T> {
        self.map_err(|e| e.with_operation(operation))
    }

    fn context(self, key: &'static str, value: impl Into<String>) -> Result<T> {
        self.map_err(|e| e.with_context(key, value))
    }
}

/// Turns an [`std::io::Result`] into a POD result with a message.
pub trait IoResultExt<T> {
    /// Says what was being done; called only on an error.
    fn doing<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T> IoResultExt<T> for std::io::Result<T> {
    fn doing<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|e| Error::io(message(), e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_has_context_and_hint_but_not_the_source() {
        let e = Error::io("open the log", std::io::Error::other("inner words")).with_context("path", "/x");
        assert_eq!(e.to_string(), "open the log (path: /x)");
        assert_eq!(std::error::Error::source(&e).map(ToString::to_string).as_deref(), Some("inner words"));
    }

    #[test]
    fn the_deepest_layer_names_operation_and_backend() {
        let e = Error::invalid("x").with_operation("exec").with_operation("up").with_backend("a:").with_backend("b:");
        assert_eq!(e.operation(), Some("exec"));
        assert_eq!(e.backend(), Some("a:"));
    }

    #[test]
    fn a_full_disk_is_exhausted_and_says_what_to_do() {
        let e = Error::io("write", std::io::Error::from_raw_os_error(28));
        assert_eq!(e.kind(), ErrorKind::Exhausted);
        assert!(e.hint().is_some());
    }
}
