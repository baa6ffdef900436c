//! Images: pulled, or loaded from an archive.

use crate::auth;
use crate::config::{DockerConfig, Pull};
use crate::engine::failure::Failure;
use crate::engine::http::Body;
use crate::engine::{Engine, Query, json_lines, part};
use crate::errors;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use pod_core::{Error, ErrorKind, Image, Result};
use serde::Deserialize;
use std::fmt;
use std::path::Path;
use tokio_util::io::ReaderStream;

/// How far a pull has come: one layer's step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PullProgress {
    /// The layer, as the daemon calls it; empty for what is about the whole image.
    pub layer: String,
    /// What is being done, in the daemon's words: `Downloading`, `Pull complete`.
    pub status: String,
    /// Bytes done and bytes in all of this step, where it counts them.
    pub bytes: Option<(u64, u64)>,
}

/// Is told how a pull comes on.
pub(crate) type Told<'a> = &'a (dyn Fn(PullProgress) + Send + Sync);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    id: String,
    status: String,
    stream: String,
    error: Option<String>,
    #[serde(rename = "progressDetail")]
    detail: Option<Detail>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    current: Option<u64>,
    total: Option<u64>,
}

/// A registry's reference with a tag or digest: without one, a pull would fetch every tag.
fn tagged(reference: &str) -> String {
    let name = reference.rsplit('/').next().unwrap_or(reference);
    if name.contains([':', '@']) { reference.to_owned() } else { format!("{reference}:latest") }
}

fn about(reference: &impl fmt::Display, error: Error) -> Error {
    error.with_context("image", reference.to_string())
}

/// What to do about a registry that did not give an image.
fn explained(config: &DockerConfig, reference: &str, logged_in: bool, error: Error) -> Error {
    let how = auth::how(config.flavor, reference);
    let hint = match error.kind() {
        ErrorKind::Unauthenticated if logged_in => format!("the registry refuses the login that is kept: {how}"),
        ErrorKind::Unauthenticated => format!("log in to the registry: {how}"),
        ErrorKind::NotFound if logged_in => "check the name and the tag, and what this login may see".to_owned(),
        ErrorKind::NotFound => format!("check the name and the tag; for a private image: {how}"),
        ErrorKind::Unavailable => "check the registry's name, and that the daemon's machine reaches it".to_owned(),
        _ => return about(&reference, error),
    };
    about(&reference, error.with_hint(hint))
}

/// Pulls an image from its registry, with the login that Docker's client or Podman keeps.
///
/// # Errors
/// `NotFound`, `Unauthenticated`, `Unavailable` as the registry says.
pub(crate) async fn pull(engine: &Engine, config: &DockerConfig, reference: &str, told: Told<'_>) -> Result<()> {
    let mut headers = Vec::new();
    if let Some(login) = auth::login(config, reference).await? {
        headers.push(("x-registry-auth", login));
    }
    let logged_in = !headers.is_empty();
    let query = Query::new().with("fromImage", tagged(reference));
    let failed = |f: Failure| match f {
        // What the daemon says of the registry; all else is about the daemon itself.
        Failure::Refused(..) => explained(config, reference, logged_in, engine.error(f)),
        other => about(&reference, engine.error(other)),
    };
    let (_, stream) = engine.stream(Method::POST, "/images/create", query, &headers).await.map_err(failed)?;
    let mut lines = Box::pin(json_lines::<Line, _>(stream));
    while let Some(line) = lines.next().await {
        let line = line.map_err(failed)?;
        if let Some(words) = line.error {
            // What fails after the head was sent comes in the stream.
            let error = errors::refused(StatusCode::INTERNAL_SERVER_ERROR, &words);
            return Err(explained(config, reference, logged_in, error));
        }
        let bytes = line.detail.and_then(|d| d.current.zip(d.total)).filter(|(_, total)| *total > 0);
        told(PullProgress { layer: line.id, status: line.status, bytes });
    }
    Ok(())
}

/// The name of the image in what a daemon says of a load: `Loaded image: NAME` or `Loaded image ID: ID`.
fn loaded(said: &str) -> Option<String> {
    said.lines().rev().find_map(|line| {
        let name = line.split_once("Loaded image:").or_else(|| line.split_once("Loaded image ID:"))?.1.trim();
        // Podman lists several after one another.
        let name = name.split(',').next().unwrap_or(name).trim();
        (!name.is_empty()).then(|| name.to_owned())
    })
}

/// Loads an archive, and gives the name of the image in it.
async fn load(engine: &Engine, file: &str) -> Result<String> {
    let opened = tokio::fs::File::open(Path::new(file)).await;
    let opened = opened.map_err(|e| Error::io("the image's archive can't be opened", e).with_context("file", file))?;
    let frames = ReaderStream::with_capacity(opened, 256 << 10).map(|data| data.map(Frame::data));
    let body: Body = BodyExt::boxed_unsync(StreamBody::new(frames));
    let headers = [("content-type", "application/x-tar".to_owned())];
    let query = Query::new().with("quiet", "1");
    let answer = engine
        .send_body(Method::POST, "/images/load", query, body, &headers)
        .await
        .map_err(|f| engine.error(f).with_context("file", file))?;
    let body: Bytes = answer.body;
    let mut said = String::new();
    for line in body.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        let line: Line =
            serde_json::from_slice(line).map_err(|e| engine.error(Failure::Odd("answer to the load", e)))?;
        if let Some(words) = line.error {
            return Err(Error::invalid("the archive holds no image that the daemon takes")
                .with_context("file", file)
                .with_context("answer", words));
        }
        said.push_str(&line.stream);
        said.push('\n');
    }
    loaded(&said).ok_or_else(|| {
        Error::invalid("the archive holds no image that the daemon takes")
            .with_context("file", file)
            .with_context("answer", said.trim().to_owned())
            .with_hint("a docker-archive or an OCI layout, as `docker save` writes it")
    })
}

/// Whether the daemon has an image.
pub(crate) async fn has(engine: &Engine, reference: &str) -> Result<bool> {
    let path = format!("/images/{}/json", part(reference));
    match engine.get::<serde_json::Value>(&path, Query::new()).await {
        Ok(_) => Ok(true),
        Err(f) if f.is_not_found() => Ok(false),
        Err(f) => Err(about(&reference, engine.error(f))),
    }
}

/// Sees to it that the daemon has a workload's image, and gives the name that it knows it by.
///
/// # Errors
/// As [`pull`]; `InvalidInput` for `host` and `rootfs:`, which a daemon has no way to take.
pub(crate) async fn ensure(engine: &Engine, config: &DockerConfig, image: &Image, told: Told<'_>) -> Result<String> {
    let reference = match image {
        Image::Reference(reference) => reference,
        Image::Archive(file) => return load(engine, file).await,
        other => {
            return Err(Error::invalid("a daemon takes images by reference or from an archive only")
                .with_context("image", other.to_string())
                .with_hint("give a name that the daemon has or can pull, such as debian:12, or archive:FILE"));
        }
    };
    match config.pull {
        Pull::Always => pull(engine, config, reference, told).await?,
        Pull::Missing if !has(engine, reference).await? => pull(engine, config, reference, told).await?,
        Pull::Never if !has(engine, reference).await? => {
            return Err(Error::not_found("image", reference.as_str()).with_hint("the daemon must have it: pull=never"));
        }
        _ => {}
    }
    Ok(reference.clone())
}

/// What an image runs.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Program {
    #[serde(deserialize_with = "or_default")]
    pub(crate) entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) cmd: Vec<String>,
}

/// What is `null` is empty.
fn or_default<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Vec<String>, D::Error> {
    Option::deserialize(value).map(Option::unwrap_or_default)
}

/// What an image that the daemon has runs.
///
/// # Errors
/// `NotFound`; as the daemon says.
pub(crate) async fn program(engine: &Engine, reference: &str) -> Result<Program> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Found {
        #[serde(default)]
        config: Option<Program>,
    }
    let found = engine.get::<Found>(&format!("/images/{}/json", part(reference)), Query::new()).await;
    Ok(found.map_err(|f| about(&reference, engine.error(f)))?.config.unwrap_or_default())
}

/// The error of a missing image, which names it.
pub(crate) fn is_missing(failure: &Failure) -> bool {
    failure.is_not_found() && failure.words().is_some_and(|w| w.to_ascii_lowercase().contains("image"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_without_a_tag_gets_one() {
        for (reference, expected) in [
            ("debian", "debian:latest"),
            ("debian:12", "debian:12"),
            ("r.lab:5000/a", "r.lab:5000/a:latest"),
            ("r.lab:5000/a:1", "r.lab:5000/a:1"),
            ("a@sha256:00", "a@sha256:00"),
        ] {
            assert_eq!(tagged(reference), expected);
        }
    }

    #[test]
    fn what_was_loaded_is_read() {
        assert_eq!(loaded("Loaded image: pod.test/busybox:1\n").as_deref(), Some("pod.test/busybox:1"));
        assert_eq!(loaded("\nLoaded image ID: sha256:0a\n\n").as_deref(), Some("sha256:0a"));
        assert_eq!(loaded("nothing\n"), None);
    }
}
