//! What goes wrong between here and a daemon, before it has a meaning.

use http::StatusCode;
use std::io;
use std::time::Duration;

/// A request that came to nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing took the connection.
    Connect(io::Error),
    /// TLS was not agreed on.
    Tls(io::Error),
    /// The connection broke, or what came is no HTTP.
    Http(hyper::Error),
    /// The answer broke off, or is too long.
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// The daemon took longer than this.
    Slow(Duration),
    /// The daemon refused, and says why.
    Refused(StatusCode, String),
    /// The answer is not what the API says it is.
    Odd(&'static str, serde_json::Error),
}

impl Failure {
    /// Whether the daemon says that there is no such thing.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(StatusCode::NOT_FOUND, _))
    }

    /// Whether the daemon says that a container is gone, in whatever way.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_not_found() || self.words().is_some_and(|w| w.to_ascii_lowercase().contains("no such container"))
    }

    /// Whether the daemon says that the thing is in another state.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(StatusCode::CONFLICT, _))
    }

    /// The daemon's own words, if it said any.
    pub(crate) fn words(&self) -> Option<&str> {
        match self {
            Self::Refused(_, words) => Some(words),
            _ => None,
        }
    }
}

/// The message of a refusal: `{"message": …}` (API, "ErrorResponse"), else the text as it is.
pub(crate) fn message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        message: String,
    }
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.message.trim().to_owned(),
        Err(_) => String::from_utf8_lossy(&body[..body.len().min(2000)]).trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_in_both_forms() {
        assert_eq!(message(br#"{"message":"No such container: a"}"#), "No such container: a");
        assert_eq!(message(br#"{"cause":"x","message":"no container","response":404}"#), "no container");
        assert_eq!(message(b"404 page not found\n"), "404 page not found");
    }
}
