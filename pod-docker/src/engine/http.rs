//! HTTP/1.1 to a daemon, over its socket.
//!
//! Each request has a connection of its own: a unix socket costs next to nothing, and a request that
//! streams for hours holds nobody else up. No request has a time limit of its own unless it is short by
//! nature ([`Http::answer`]): an upload or a wait may take as long as it goes on.

use super::endpoint::Endpoint;
use super::failure::Failure;
use super::tls;
use crate::config::Flavor;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use pod_core::{BoxDuplex, Result};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long a daemon may take to take a connection.
const CONNECT: Duration = Duration::from_secs(15);
/// How long a short request may take: a daemon under load makes a container in seconds.
pub(crate) const SHORT: Duration = Duration::from_secs(120);
/// The most that is read of an answer that is held in memory: a list of thousands of containers.
const ANSWER: usize = 64 << 20;

/// What a request carries.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// No body.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// These bytes.
pub(crate) fn full(data: impl Into<Bytes>) -> Body {
    Full::new(data.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A way to a daemon.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    pub(crate) endpoint: Endpoint,
    /// The program that is meant to listen there.
    pub(crate) flavor: Flavor,
    tls: Option<Arc<rustls::ClientConfig>>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Http {
    /// Reads the certificates that the endpoint names.
    ///
    /// # Errors
    /// `ConfigInvalid` for files that can't be used.
    pub(crate) fn new(endpoint: Endpoint, flavor: Flavor) -> Result<Self> {
        let tls = match &endpoint {
            Endpoint::Tcp { tls: Some(certificates), .. } => Some(tls::client(certificates)?),
            _ => None,
        };
        Ok(Self { endpoint, flavor, tls })
    }

    /// What the requests name as their host.
    fn host(&self) -> String {
        match &self.endpoint {
            Endpoint::Unix(_) => "docker".to_owned(),
            Endpoint::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Endpoint::Tcp { host, port, .. } => format!("{host}:{port}"),
        }
    }

    async fn dial(&self) -> Result<BoxDuplex, Failure> {
        match &self.endpoint {
            #[cfg(unix)]
            Endpoint::Unix(path) => match tokio::net::UnixStream::connect(path).await {
                Ok(stream) => Ok(Box::pin(stream)),
                Err(e) => Err(Failure::Connect(e)),
            },
            #[cfg(not(unix))]
            Endpoint::Unix(_) => Err(Failure::Connect(io::Error::from(io::ErrorKind::Unsupported))),
            Endpoint::Tcp { host, port, .. } => {
                let stream = tokio::net::TcpStream::connect((host.as_str(), *port)).await.map_err(Failure::Connect)?;
                // Keystrokes must not wait for more of them; where that can't be set, they do.
                let _ = stream.set_nodelay(true);
                let Some(config) = &self.tls else { return Ok(Box::pin(stream)) };
                let name = rustls::pki_types::ServerName::try_from(host.clone())
                    .map_err(|e| Failure::Tls(io::Error::new(io::ErrorKind::InvalidInput, e)))?;
                let secure = tokio_rustls::TlsConnector::from(config.clone()).connect(name, stream).await;
                secure.map(|s| Box::pin(s) as BoxDuplex).map_err(Failure::Tls)
            }
        }
    }

    /// Sends a request and gives the answer's head; its body comes as it is read. Dropping the answer
    /// closes the connection.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>, Failure> {
        let stream = match tokio::time::timeout(CONNECT, self.dial()).await {
            Ok(stream) => stream?,
            Err(_) => return Err(Failure::Connect(io::ErrorKind::TimedOut.into())),
        };
        let host = http::HeaderValue::from_str(&self.host())
            .map_err(|e| Failure::Connect(io::Error::new(io::ErrorKind::InvalidInput, e)))?;
        request.headers_mut().insert(header::HOST, host);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Failure::Http)?;
        // It ends with the answer, or with what the connection becomes.
        tokio::spawn(async move {
            if let Err(e) = connection.with_upgrades().await {
                tracing::trace!(error = %e, "a connection to the daemon ended");
            }
        });
        sender.send_request(request).await.map_err(Failure::Http)
    }

    /// Sends a request and reads the whole answer, within `limit`.
    pub(crate) async fn answer(&self, request: Request<Body>, limit: Duration) -> Result<Answer, Failure> {
        let whole = async {
            let response = self.send(request).await?;
            collect(response).await
        };
        tokio::time::timeout(limit, whole).await.unwrap_or(Err(Failure::Slow(limit)))
    }
}

/// Reads the rest of an answer.
pub(crate) async fn collect(response: Response<Incoming>) -> Result<Answer, Failure> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER).collect().await.map_err(Failure::Body)?.to_bytes();
    Ok(Answer { status: head.status, headers: head.headers, body })
}
