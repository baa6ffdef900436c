//! A daemon: its requests, in the version of the API that both sides know.

pub(crate) mod context;
pub(crate) mod endpoint;
pub(crate) mod failure;
pub(crate) mod frame;
pub(crate) mod http;
pub(crate) mod tls;

use self::failure::Failure;
use self::http::{Answer, Body, Http, SHORT, collect, empty, full};
use crate::errors;
use crate::libpod::Libpod;
use ::http::{HeaderMap, Method, Request, StatusCode, header};
use bytes::Bytes;
use futures_util::Stream;
use http_body_util::BodyDataStream;
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use pod_core::{BoxDuplex, Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// The oldest API that is spoken: Docker 19.03.
pub(crate) const OLDEST: Version = Version(1, 40);
/// The newest API that is spoken, which is the newest that the contract suite runs on. A newer daemon serves it too.
pub(crate) const NEWEST: Version = Version(1, 56);

/// What stays as it is in a path or query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A version of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u16, pub(crate) u16);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl std::str::FromStr for Version {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let (major, minor) = text.trim().split_once('.').ok_or(())?;
        // Podman tells three numbers in some places.
        let minor = minor.split('.').next().unwrap_or(minor);
        Ok(Self(major.parse().map_err(|_| ())?, minor.parse().map_err(|_| ())?))
    }
}

/// The version to speak with a daemon that offers `offered`.
fn agree(offered: Version) -> Option<Version> {
    (offered >= OLDEST).then(|| offered.min(NEWEST))
}

/// Which program a daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Docker,
    Podman,
}

impl Kind {
    /// The log driver that keeps bytes as they were.
    ///
    /// Docker's own choice, json-file, writes text: bytes that are no UTF-8 are lost, and it grows for ever
    /// (Docker's documentation, "Local file logging driver"). Podman may choose the journal.
    pub(crate) fn log_driver(self) -> &'static str {
        match self {
            Self::Docker => "local",
            Self::Podman => "k8s-file",
        }
    }

    /// The command by which it tells about itself.
    pub(crate) fn info(self) -> &'static str {
        match self {
            Self::Docker => "docker info",
            Self::Podman => "podman info",
        }
    }

    /// What it is called for short.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Docker => "Docker",
            Self::Podman => "Podman",
        }
    }

    /// What it is called.
    pub(crate) fn product(self) -> &'static str {
        match self {
            Self::Docker => "Docker Engine",
            Self::Podman => "Podman",
        }
    }
}

/// What a daemon says of itself (`GET /version`).
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct About {
    pub(crate) version: String,
    components: Vec<Component>,
}

#[derive(Debug, Clone, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Component {
    name: String,
}

impl About {
    /// The same by the headers of any answer, `Server: Docker/27.1.1 (linux)` or `Libpod/4.3.1 (linux)`;
    /// `None` where something between leaves that out. For `GET /version` Docker starts programs to ask them.
    fn of_headers(headers: &HeaderMap) -> Option<(Kind, Self)> {
        let server = headers.get(header::SERVER)?.to_str().ok()?;
        let (program, version) = server.split(' ').next()?.split_once('/')?;
        let kind = match program {
            "Docker" => Kind::Docker,
            "Libpod" => Kind::Podman,
            _ => return None,
        };
        Some((kind, Self { version: version.to_owned(), components: Vec::new() }))
    }

    fn kind(&self) -> Kind {
        let podman = self.components.iter().any(|c| c.name.to_ascii_lowercase().contains("podman"));
        if podman { Kind::Podman } else { Kind::Docker }
    }
}

/// What a daemon can do (`GET /info`).
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Info {
    #[serde(rename = "OSType")]
    pub(crate) os_type: String,
    pub(crate) memory_limit: bool,
    pub(crate) cpu_cfs_quota: bool,
    pub(crate) pids_limit: bool,
    pub(crate) driver: String,
    pub(crate) cgroup_version: String,
    pub(crate) cgroup_driver: String,
    pub(crate) system_time: String,
    pub(crate) security_options: Option<Vec<String>>,
    pub(crate) warnings: Option<Vec<String>>,
    pub(crate) plugins: Plugins,
}

#[derive(Debug, Clone, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Plugins {
    pub(crate) log: Option<Vec<String>>,
    pub(crate) network: Option<Vec<String>>,
}

/// A daemon that was reached. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    http: Arc<Http>,
    pub(crate) version: Version,
    pub(crate) kind: Kind,
    pub(crate) about: About,
    /// What Podman's own API says, where POD uses its networks.
    pub(crate) libpod: Option<Libpod>,
}

/// A query being put together.
#[derive(Debug, Default)]
pub(crate) struct Query(String);

impl Query {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a pair.
    pub(crate) fn with(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(key);
        self.0.push('=');
        self.0.extend(percent_encode(value.as_ref(), PLAIN));
        self
    }

    /// Adds filters, as the API takes them: JSON of name → values.
    pub(crate) fn filters(self, filters: &serde_json::Value) -> Self {
        self.with("filters", filters.to_string())
    }
}

/// A part of a path.
pub(crate) fn part(text: &str) -> String {
    percent_encode(text.as_bytes(), PLAIN).to_string()
}

/// A streamed answer's bytes.
pub(crate) type Bytestream = BodyDataStream<Incoming>;

impl Engine {
    /// Reaches the daemon at an endpoint and agrees on a version.
    ///
    /// # Errors
    /// `Unavailable`, `PermissionDenied` or `Unauthenticated` when it can't be reached; `Unsupported` when
    /// it is too old.
    pub(crate) async fn connect(http: Http) -> Result<Self> {
        let at = |f: Failure| errors::of(f, http.flavor).with_context("daemon", http.endpoint.to_string());
        // The short path has no version: that is what is asked for.
        let ping = request(Method::GET, "/_ping".into(), empty()).map_err(&at)?;
        let answer = http.answer(ping, SHORT).await.map_err(&at)?;
        if answer.status != StatusCode::OK {
            return Err(at(Failure::Refused(answer.status, failure::message(&answer.body))));
        }
        let offered = answer.headers.get("api-version").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let Ok(offered) = offered.parse::<Version>() else {
            return Err(Error::new(ErrorKind::ConfigInvalid, "what answers there is neither Docker nor Podman")
                .with_context("daemon", http.endpoint.to_string())
                .with_hint("check the socket or address"));
        };
        let Some(version) = agree(offered) else {
            return Err(Error::unsupported(format!("the daemon is too old: it knows the API up to {offered}"))
                .with_context("daemon", http.endpoint.to_string())
                .with_hint(format!("{OLDEST} or later is needed: Docker 19.03, Podman 3")));
        };
        if answer.headers.get("ostype").is_some_and(|os| os == "windows") {
            return Err(Error::unsupported("the daemon runs Windows containers")
                .with_context("daemon", http.endpoint.to_string())
                .with_hint("switch it to Linux containers"));
        }
        let mut engine =
            Self { http: Arc::new(http), version, kind: Kind::Docker, about: About::default(), libpod: None };
        (engine.kind, engine.about) = match About::of_headers(&answer.headers) {
            Some(told) => told,
            None => {
                let about: About = engine.get("/version", Query::new()).await.map_err(|f| engine.error(f))?;
                (about.kind(), about)
            }
        };
        if engine.kind == Kind::Podman {
            engine.libpod = Libpod::of(&engine).await.map_err(|f| engine.error(f))?;
        }
        Ok(engine)
    }

    /// The endpoint, as text.
    pub(crate) fn place(&self) -> String {
        self.http.endpoint.to_string()
    }

    /// Whether the daemon is reached by a unix socket: on this machine, or as good as.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.http.endpoint, endpoint::Endpoint::Unix(_))
    }

    /// Whether the daemon is reached without a word of who asks, over the network.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.http.endpoint, endpoint::Endpoint::Tcp { tls: None, .. })
    }

    /// The error of POD for a failure, which names the daemon when it was not reached.
    pub(crate) fn error(&self, failure: Failure) -> Error {
        let refused = matches!(failure, Failure::Refused(..));
        let error = errors::of(failure, self.http.flavor);
        if refused { error } else { error.with_context("daemon", self.place()) }
    }

    /// Podman's own API has versions of its own; every Podman since 4 serves its first.
    fn path(&self, path: &str, query: Query) -> String {
        match path.starts_with("/libpod/") {
            true => format!("/v4.0.0{path}{}", query.0),
            false => format!("/v{}{path}{}", self.version, query.0),
        }
    }

    async fn whole(
        &self,
        method: Method,
        path: &str,
        query: Query,
        body: Body,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        let request = request(method, self.path(path, query), body)?;
        let answer = self.http.answer(request, limit).await?;
        check(answer)
    }

    /// What is at a path.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str, query: Query) -> Result<T, Failure> {
        read(&self.whole(Method::GET, path, query, empty(), SHORT).await?)
    }

    /// What the headers say of what is at a path.
    pub(crate) async fn head(&self, path: &str, query: Query) -> Result<HeaderMap, Failure> {
        self.whole(Method::HEAD, path, query, empty(), SHORT).await.map(|a| a.headers)
    }

    /// Whether the daemon answers.
    pub(crate) async fn ping(&self) -> Result<(), Failure> {
        self.whole(Method::GET, "/_ping", Query::new(), empty(), SHORT).await.map(drop)
    }

    /// Does something, and gives the status (a 304 is no failure) and what is said of it.
    pub(crate) async fn post(&self, path: &str, query: Query) -> Result<StatusCode, Failure> {
        self.whole(Method::POST, path, query, empty(), SHORT).await.map(|a| a.status)
    }

    /// Posts JSON, and reads JSON.
    pub(crate) async fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        query: Query,
        body: &serde_json::Value,
    ) -> Result<T, Failure> {
        read(&self.whole(Method::POST, path, query, full(body.to_string()), SHORT).await?)
    }

    /// Posts JSON to which nothing is answered.
    pub(crate) async fn post_body(&self, path: &str, body: &serde_json::Value) -> Result<(), Failure> {
        self.whole(Method::POST, path, Query::new(), full(body.to_string()), SHORT).await.map(drop)
    }

    /// Removes something.
    pub(crate) async fn delete(&self, path: &str, query: Query) -> Result<(), Failure> {
        self.whole(Method::DELETE, path, query, empty(), SHORT).await.map(drop)
    }

    /// Posts and reads JSON, however long the answer takes.
    pub(crate) async fn post_slow<T: DeserializeOwned>(&self, path: &str, query: Query) -> Result<T, Failure> {
        let request = request(Method::POST, self.path(path, query), empty())?;
        let answer = collect(self.http.send(request).await?).await?;
        read(&check(answer)?)
    }

    /// Sends a body, however long that takes, and reads the answer.
    pub(crate) async fn send_body(
        &self,
        method: Method,
        path: &str,
        query: Query,
        body: Body,
        headers: &[(&'static str, String)],
    ) -> Result<Answer, Failure> {
        let mut request = request(method, self.path(path, query), body)?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value_of(value)?);
        }
        check(collect(self.http.send(request).await?).await?)
    }

    /// Asks for a stream of bytes, which is given with the answer's headers.
    pub(crate) async fn stream(
        &self,
        method: Method,
        path: &str,
        query: Query,
        headers: &[(&'static str, String)],
    ) -> Result<(HeaderMap, Bytestream), Failure> {
        let stream = self.stream_slow(method, path, query, headers);
        tokio::time::timeout(SHORT, stream).await.unwrap_or(Err(Failure::Slow(SHORT)))
    }

    /// As [`Engine::stream`], however long the daemon takes to answer.
    pub(crate) async fn stream_slow(
        &self,
        method: Method,
        path: &str,
        query: Query,
        headers: &[(&'static str, String)],
    ) -> Result<(HeaderMap, Bytestream), Failure> {
        let mut request = request(method, self.path(path, query), empty())?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value_of(value)?);
        }
        let response = self.http.send(request).await?;
        if !response.status().is_success() {
            let answer = collect(response).await?;
            return Err(Failure::Refused(answer.status, failure::message(&answer.body)));
        }
        let (head, body) = response.into_parts();
        Ok((head.headers, BodyDataStream::new(body)))
    }

    /// Posts JSON or nothing, and takes the connection over: what follows is the program's own streams.
    pub(crate) async fn hijack(
        &self,
        path: &str,
        query: Query,
        body: Option<&serde_json::Value>,
    ) -> Result<BoxDuplex, Failure> {
        let body = body.map_or_else(empty, |body| full(body.to_string()));
        let mut request = request(Method::POST, self.path(path, query), body)?;
        request.headers_mut().insert(header::CONNECTION, ::http::HeaderValue::from_static("Upgrade"));
        request.headers_mut().insert(header::UPGRADE, ::http::HeaderValue::from_static("tcp"));
        let response =
            tokio::time::timeout(SHORT, self.http.send(request)).await.unwrap_or(Err(Failure::Slow(SHORT)))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let answer = collect(response).await?;
            return Err(Failure::Refused(answer.status, failure::message(&answer.body)));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(Failure::Http)?;
        Ok(Box::pin(hyper_util::rt::TokioIo::new(upgraded)))
    }
}

fn value_of(text: &str) -> Result<::http::HeaderValue, Failure> {
    ::http::HeaderValue::from_str(text)
        .map_err(|e| Failure::Connect(std::io::Error::new(std::io::ErrorKind::InvalidInput, e)))
}

fn request(method: Method, path: String, body: Body) -> Result<Request<Body>, Failure> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::USER_AGENT, concat!("pod/", env!("CARGO_PKG_VERSION")))
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(|e| Failure::Connect(std::io::Error::new(std::io::ErrorKind::InvalidInput, e)))
}

/// An answer that is no refusal. 304 says that nothing was to be done.
fn check(answer: Answer) -> Result<Answer, Failure> {
    if answer.status.is_success() || answer.status == StatusCode::NOT_MODIFIED {
        return Ok(answer);
    }
    Err(Failure::Refused(answer.status, failure::message(&answer.body)))
}

fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    serde_json::from_slice(&answer.body).map_err(|e| Failure::Odd("answer", e))
}

/// Splits a stream of bytes into its lines of JSON.
pub(crate) fn json_lines<T, S>(stream: S) -> impl Stream<Item = Result<T, Failure>> + Send
where
    T: DeserializeOwned + Send,
    S: Stream<Item = Result<Bytes, hyper::Error>> + Send + Unpin,
{
    futures_util::stream::unfold((stream, Vec::new(), false), |(mut stream, mut held, over)| async move {
        use futures_util::StreamExt;
        if over {
            return None;
        }
        loop {
            if let Some(at) = held.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = held.drain(..=at).collect();
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                let read = serde_json::from_slice(&line).map_err(|e| Failure::Odd("line of the stream", e));
                return Some((read, (stream, held, false)));
            }
            match stream.next().await {
                Some(Ok(data)) => held.extend_from_slice(&data),
                Some(Err(e)) => return Some((Err(Failure::Http(e)), (stream, held, true))),
                None if held.iter().all(u8::is_ascii_whitespace) => return None,
                None => {
                    let read = serde_json::from_slice(&held).map_err(|e| Failure::Odd("line of the stream", e));
                    return Some((read, (stream, Vec::new(), true)));
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_agreed_on() {
        let offers = |text: &str| agree(text.parse().expect(text));
        assert_eq!(offers("1.41"), Some(Version(1, 41)));
        assert_eq!(offers("1.56"), Some(NEWEST));
        assert_eq!(offers("1.40"), Some(OLDEST));
        assert_eq!(offers("1.24"), None);
        assert_eq!(offers("1.41.0"), Some(Version(1, 41)));
        assert!("".parse::<Version>().is_err() && "x.1".parse::<Version>().is_err());
    }

    #[test]
    fn a_daemon_says_what_it_is() {
        let head = |server: &str| {
            let value = ::http::HeaderValue::from_str(server).expect(server);
            About::of_headers(&HeaderMap::from_iter([(header::SERVER, value)])).map(|(kind, a)| (kind, a.version))
        };
        assert_eq!(head("Docker/20.10.24+dfsg1 (linux)"), Some((Kind::Docker, "20.10.24+dfsg1".to_owned())));
        assert_eq!(head("Libpod/4.3.1 (linux)"), Some((Kind::Podman, "4.3.1".to_owned())));
        assert_eq!((head("nginx/1.22"), head("Docker")), (None, None));
        let about = |text: &str| serde_json::from_str::<About>(text).expect(text);
        let docker = about(r#"{"Version":"20.10.24","Components":[{"Name":"Engine","Version":"20.10.24"}]}"#);
        assert_eq!((docker.kind(), docker.version.as_str()), (Kind::Docker, "20.10.24"));
        assert_eq!(about(r#"{"Version":"4.3.1","Components":[{"Name":"Podman Engine"}]}"#).kind(), Kind::Podman);
    }

    #[test]
    fn queries_hold_any_byte() {
        let query = Query::new().with("path", b"/a b\xff&c").with("x", "1");
        assert_eq!(query.0, "?path=%2Fa%20b%FF%26c&x=1");
    }

    #[tokio::test]
    async fn lines_of_json_come_however_they_are_cut() {
        use futures_util::StreamExt;
        let pieces = [&b"{\"a\":"[..], b"1}\r\n{\"a\":2}\n\n{\"a", b"\":3}"];
        let stream = futures_util::stream::iter(pieces.map(|p| Ok(Bytes::from_static(p))));
        let all: Vec<_> =
            json_lines::<serde_json::Value, _>(stream).map(|v| v.expect("json")["a"].clone()).collect().await;
        assert_eq!(all, [1, 2, 3]);
    }
}
