//! Opening a stream into a container: one upgrade, nothing before it.

use super::frame::{V4, V5};
use super::status;
use crate::cluster::Cluster;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pod_core::{Error, ErrorKind, Result};
use std::fmt::Write as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;

/// What stays as it is in a query (RFC 3986, section 2.3, "unreserved").
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The client's own addresses are at most 65,534 bytes long, less what stands before the arguments.
const LONGEST: usize = (64 << 10) - 2048;

/// A container of a pod.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) cluster: Cluster,
    /// The pod's name.
    pub(crate) pod: String,
    /// The container's name.
    pub(crate) container: String,
}

/// What to open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Streams {
    pub(crate) stdin: bool,
    pub(crate) tty: bool,
}

/// A stream that was opened.
#[derive(Debug)]
pub(crate) struct Opened<S> {
    pub(crate) socket: WebSocketStream<S>,
    /// Whether the end of stdin can be told.
    pub(crate) half_close: bool,
}

impl Target {
    /// Says which pod an error is about, unless it says so already.
    pub(crate) fn about(&self, error: Error) -> Error {
        if error.context().iter().any(|(key, _)| *key == "pod") {
            return error;
        }
        error
            .with_context("pod", self.pod.clone())
            .with_context("container", self.container.clone())
            .with_context("namespace", self.cluster.namespace.clone())
    }

    /// Runs an argv.
    ///
    /// # Errors
    /// `NotFound` without the pod or container; `WrongState` when it does not run; as the cluster says.
    pub(crate) async fn exec(
        &self,
        argv: &[Vec<u8>],
        streams: Streams,
    ) -> Result<Opened<impl AsyncRead + AsyncWrite + Unpin + Send + use<>>> {
        let mut query = String::new();
        for arg in argv {
            let text = std::str::from_utf8(arg).map_err(|_| {
                Error::unsupported("Kubernetes carries no arguments that are no UTF-8")
                    .with_context("argument", arg.escape_ascii().to_string())
                    .with_hint("pass the bytes by stdin or a file")
            })?;
            // Writing to a string can't fail.
            let _ = write!(query, "command={}&", utf8_percent_encode(text, QUERY));
        }
        if query.len() > LONGEST {
            return Err(Error::invalid("the arguments and environment are too long for an address")
                .with_context("bytes", query.len().to_string())
                .with_context("limit", LONGEST.to_string())
                .with_hint("pass what is long by stdin or a file"));
        }
        self.open("exec", &query, streams).await
    }

    /// Attaches to the container's own command.
    ///
    /// # Errors
    /// As [`Target::exec`].
    pub(crate) async fn attach(
        &self,
        streams: Streams,
    ) -> Result<Opened<impl AsyncRead + AsyncWrite + Unpin + Send + use<>>> {
        self.open("attach", "", streams).await
    }

    /// Attaches to nothing but the stdin of the container's own command.
    ///
    /// # Errors
    /// As [`Target::exec`].
    pub(crate) async fn attach_stdin(&self) -> Result<Opened<impl AsyncRead + AsyncWrite + Unpin + Send + use<>>> {
        let container = utf8_percent_encode(&self.container, QUERY);
        self.upgrade(&format!("{}/attach?container={container}&stdin=true", self.path())).await
    }

    async fn open(
        &self,
        verb: &str,
        query: &str,
        streams: Streams,
    ) -> Result<Opened<impl AsyncRead + AsyncWrite + Unpin + Send + use<>>> {
        let container = utf8_percent_encode(&self.container, QUERY);
        let mut path = format!("{}/{verb}?{query}container={container}&stdout=true", self.path());
        for (name, wanted) in [("stdin", streams.stdin), ("stderr", !streams.tty), ("tty", streams.tty)] {
            if wanted {
                path.push('&');
                path.push_str(name);
                path.push_str("=true");
            }
        }
        self.upgrade(&path).await
    }

    /// The path of the pod in the API.
    pub(crate) fn path(&self) -> String {
        let part = |text| utf8_percent_encode(text, QUERY);
        format!("/api/v1/namespaces/{}/pods/{}", part(&self.cluster.namespace), part(&self.pod))
    }

    /// Opens a WebSocket at a path.
    pub(crate) async fn upgrade(
        &self,
        path: &str,
    ) -> Result<Opened<impl AsyncRead + AsyncWrite + Unpin + Send + use<>>> {
        let request = http::Request::get(path)
            .body(Vec::new())
            .map_err(|e| Error::unexpected("the address of a stream is malformed").with_source(e))?;
        tracing::trace!(target: "pod", v5 = V5, v4 = V4, pod = self.pod, "opening a stream");
        match self.cluster.client.connect(request).await {
            Ok(connection) => {
                let half_close = connection.supports_stream_close();
                Ok(Opened { socket: connection.into_stream(), half_close })
            }
            Err(e) => Err(self.refused(e)),
        }
    }

    /// The error for a refusal by the API server.
    pub(crate) fn refused(&self, error: kube::Error) -> Error {
        if let kube::Error::Api(status) = &error {
            let (code, words) = (status.code, status.message.as_str());
            if code == 404 && words.starts_with("pods ") {
                return self.about(
                    Error::new(ErrorKind::NotFound, "no such pod")
                        .with_hint("it was removed, or is in another namespace"),
                );
            }
            if code == 400 || code == 404 || code >= 500 {
                let known = status::cause(words);
                if !matches!(known, status::Cause::Other | status::Cause::NoProgram | status::Cause::NotExecutable) {
                    return self.about(status::refused(words, None));
                }
            }
        }
        let error = self.cluster.error(error);
        error.with_context("pod", self.pod.clone())
    }
}
