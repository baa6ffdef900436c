//! One cluster, reached: the client, the namespace, what the server said it is.

use crate::config::K8sConfig;
use crate::errors::from_kube;
use crate::kubeconfig::{self, Found};
use http::{Request, Response, StatusCode};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::client::Body;
use pod_core::{Error, ErrorKind, Result};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A cluster and a namespace of it. Cheap to clone; all clones share connections.
#[derive(Clone)]
pub(crate) struct Cluster {
    /// The client. Its credentials renew themselves.
    pub(crate) client: kube::Client,
    /// The namespace that is worked in.
    pub(crate) namespace: String,
    /// The kubeconfig's context, or `in-cluster`.
    pub(crate) context: String,
    /// The API server's address.
    pub(crate) server: String,
    /// The API server's version, such as `v1.33.1`.
    pub(crate) version: String,
    /// How the backend was asked for.
    pub(crate) config: Arc<K8sConfig>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("context", &self.context)
            .field("namespace", &self.namespace)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Reaches the cluster, and asks for its version.
    pub(crate) async fn connect(config: K8sConfig) -> Result<Self> {
        let config = Arc::new(config);
        let found = kubeconfig::find(&config).await?;
        let namespace = config.namespace.clone().unwrap_or_else(|| found.config.default_namespace.clone());
        let server = found.config.cluster_url.to_string();
        let context = found.context.clone();
        let held = hold(found, 0)?;
        let renewing = Renewing { held: Arc::new(tokio::sync::Mutex::new(held)), config: config.clone() };
        let client = kube::Client::new(renewing, namespace.clone());
        let version = client.apiserver_version().await.map_err(|e| {
            from_kube(e).with_context("server", server.clone()).with_context("context", context.clone())
        })?;
        Ok(Self { client, namespace, context, server, version: version.git_version, config })
    }

    /// The pods of the namespace.
    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The events of the namespace.
    pub(crate) fn events(&self) -> Api<Event> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// An error about this cluster: says in which namespace, unless a refusal did already, and of a server
    /// that does not answer, which it is.
    pub(crate) fn error(&self, error: kube::Error) -> Error {
        let mut error = from_kube(error);
        if error.kind() == ErrorKind::Unavailable {
            error = error.with_context("server", self.server.clone());
        }
        if error.context().iter().any(|(key, _)| *key == "namespace") {
            error
        } else {
            error.with_context("namespace", self.namespace.clone())
        }
    }
}

/// A client and how long its credentials last.
struct Held {
    client: kube::Client,
    generation: u64,
    expires: Option<jiff::Timestamp>,
    renewable: bool,
}

fn hold(found: Found, generation: u64) -> Result<Held> {
    let (expires, renewable) = (found.expires, found.renewable);
    let client = kube::Client::try_from(found.config).map_err(from_kube)?;
    Ok(Held { client, generation, expires, renewable })
}

/// How long before their end credentials are renewed.
const AHEAD: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// Sends requests by a client that is made anew when its credentials are over or were refused.
///
/// kube's own renewal knows only tokens with a known end: a plugin that gives none, or a certificate, is
/// asked once and never again. Here the whole client is replaced, so that all kinds are treated alike.
#[derive(Clone)]
struct Renewing {
    held: Arc<tokio::sync::Mutex<Held>>,
    config: Arc<K8sConfig>,
}

impl Renewing {
    /// The client to use now.
    async fn current(&self) -> Result<(kube::Client, u64, bool)> {
        let mut held = self.held.lock().await;
        if held.renewable && held.expires.is_some_and(|end| jiff::Timestamp::now() + AHEAD >= end) {
            *held = hold(kubeconfig::find(&self.config).await?, held.generation + 1)?;
        }
        Ok((held.client.clone(), held.generation, held.renewable))
    }

    /// A client with other credentials than those of `refused`.
    async fn renewed(&self, refused: u64) -> Result<kube::Client> {
        let mut held = self.held.lock().await;
        if held.generation == refused {
            *held = hold(kubeconfig::find(&self.config).await?, held.generation + 1)?;
        }
        Ok(held.client.clone())
    }

    async fn send(self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let (client, generation, renewable) = self.current().await?;
        let again = if renewable { copy(&request) } else { None };
        let response = client.send(request).await?;
        match again {
            Some(again) if response.status() == StatusCode::UNAUTHORIZED => {
                drop(response);
                Ok(self.renewed(generation).await?.send(again).await?)
            }
            _ => Ok(response),
        }
    }
}

/// The same request once more, where its body allows that.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl tower_service::Service<Request<Body>> for Renewing {
    type Response = Response<Body>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}
