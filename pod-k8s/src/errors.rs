//! From what Kubernetes' API and its client say to the errors of POD.

use kube::core::Status;
use pod_core::{Error, ErrorKind, Retry};

/// What a refusal was about: `verb`, `resource` and `namespace` of the server's own sentence.
#[derive(Debug, PartialEq, Eq)]
struct Refusal<'a> {
    verb: &'a str,
    resource: &'a str,
    namespace: Option<&'a str>,
}

/// Reads `cannot VERB resource "RESOURCE" in API group "G" in the namespace "NS"`.
fn refusal(message: &str) -> Option<Refusal<'_>> {
    let rest = message.split_once(" cannot ")?.1;
    let (verb, rest) = rest.split_once(" resource \"")?;
    let (resource, rest) = rest.split_once('"')?;
    let namespace = rest.split_once("in the namespace \"").and_then(|(_, r)| r.split_once('"')).map(|(name, _)| name);
    Some(Refusal { verb, resource, namespace })
}

/// The kind for a status, by its reason and where that is missing by its code
/// (apimachinery's `metav1.StatusReason`).
fn kind_of(status: &Status) -> (ErrorKind, Retry) {
    use ErrorKind as K;
    let m = status.message.as_str();
    let kind = match status.reason.as_str() {
        "Unauthorized" => K::Unauthenticated,
        "Forbidden" if m.contains("exceeded quota") => K::Exhausted,
        "Forbidden" if m.contains("being terminated") => K::WrongState,
        "Forbidden" if m.contains("usage per") => K::InvalidInput, // a LimitRange
        "Forbidden" => K::PermissionDenied,
        "NotFound" => K::NotFound,
        "AlreadyExists" => K::AlreadyExists,
        "Conflict" => K::Conflict,
        "Invalid" | "BadRequest" | "RequestEntityTooLarge" => K::InvalidInput,
        "MethodNotAllowed" | "NotAcceptable" | "UnsupportedMediaType" => K::Unsupported,
        "Gone" | "Expired" | "ServiceUnavailable" | "TooManyRequests" | "ServerTimeout" | "StoreReadError" => {
            K::Unavailable
        }
        "Timeout" => K::Timeout,
        "InternalError" => K::Unexpected,
        _ => match status.code {
            400 | 413 | 422 => K::InvalidInput,
            401 => K::Unauthenticated,
            403 => K::PermissionDenied,
            404 => K::NotFound,
            405 | 406 | 415 => K::Unsupported,
            409 => K::Conflict,
            410 | 429 | 502 | 503 => K::Unavailable,
            504 => K::Timeout,
            _ => K::Unexpected,
        },
    };
    let retry = if matches!(kind, K::Unavailable | K::Timeout | K::Conflict) { Retry::Later } else { Retry::Never };
    (kind, retry)
}

/// The error for what the API server answered.
pub(crate) fn from_status(status: &Status) -> Error {
    let (kind, retry) = kind_of(status);
    let message = status.message.trim();
    let words = match kind {
        ErrorKind::Unauthenticated => "the cluster does not know who is asking".to_owned(),
        ErrorKind::PermissionDenied => match refusal(message) {
            Some(r) => format!("the cluster does not let you {} {}", r.verb, r.resource),
            None => format!("the cluster refuses: {message}"),
        },
        ErrorKind::NotFound => "the cluster has no such thing".to_owned(),
        ErrorKind::Unavailable => "the cluster can't serve now".to_owned(),
        _ if message.is_empty() => format!("the cluster answered {}", status.code),
        _ => format!("the cluster answered: {message}"),
    };
    let mut error = Error::new(kind, words).with_retry(retry);
    if let (ErrorKind::PermissionDenied, Some(r)) = (kind, refusal(message)) {
        error = error.with_context("verb", r.verb).with_context("resource", r.resource);
        if let Some(namespace) = r.namespace {
            error = error.with_context("namespace", namespace);
        }
    }
    if matches!(kind, ErrorKind::NotFound | ErrorKind::Unavailable) && !message.is_empty() {
        error = error.with_context("answer", message);
    }
    match kind {
        ErrorKind::Unauthenticated => error.with_hint(
            "the credentials of the context are missing or over: log in again as your cluster's provider says, \
             or ask for a new kubeconfig",
        ),
        ErrorKind::PermissionDenied if message.contains("violates PodSecurity") => error.with_hint(
            "give a numeric user other than 0 (`--user 1000`), or use a namespace with another Pod Security level",
        ),
        ErrorKind::PermissionDenied => error.with_hint("`pod k8s rbac` prints the role that is needed"),
        ErrorKind::NotFound if message.starts_with("namespaces ") => {
            error.with_hint("`pod k8s namespace create` makes a namespace")
        }
        _ => error,
    }
}

/// All that an error and its causes say.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

/// The error for a request that got no answer.
fn unreachable(error: kube::Error) -> Error {
    let text = chain(&error);
    let lower = text.to_ascii_lowercase();
    let (message, hint) = if lower.contains("certificate") || lower.contains("invalidcertificate") {
        (
            "the API server's certificate is not trusted",
            "set `certificate-authority` of the cluster in the kubeconfig to the authority that signed it",
        )
    } else {
        (
            "the API server can't be reached",
            "check that the cluster runs, that the network leads to it, and the server's address in the kubeconfig",
        )
    };
    Error::new(ErrorKind::Unavailable, message)
        .with_context("cause", text)
        .with_retry(Retry::Later)
        .with_hint(hint)
        .with_source(error)
}

/// The error of POD for one of the client.
pub(crate) fn from_kube(error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => from_status(&status),
        kube::Error::Service(cause) => match cause.downcast::<Error>() {
            // Credentials that could not be renewed: an error of ours, on its way through the client.
            Ok(own) => *own,
            Err(cause) => unreachable(kube::Error::Service(cause)),
        },
        kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => unreachable(error),
        kube::Error::UpgradeConnection(_) => {
            Error::new(ErrorKind::Unavailable, "the API server does not open a stream")
                .with_context("cause", chain(&error))
                .with_hint("a proxy on the way may not let WebSockets pass")
                .with_source(error)
        }
        kube::Error::Auth(_) => {
            Error::new(ErrorKind::Unauthenticated, "the credentials can't be had").with_context("cause", chain(&error))
        }
        kube::Error::InferConfig(_)
        | kube::Error::InferKubeconfig(_)
        | kube::Error::ProxyProtocolUnsupported { .. }
        | kube::Error::ProxyProtocolDisabled { .. }
        | kube::Error::RustlsTls(_)
        | kube::Error::TlsRequired => Error::new(ErrorKind::ConfigInvalid, "the cluster's configuration can't be used")
            .with_context("cause", chain(&error))
            .with_source(error),
        other => Error::unexpected("the API server's answer is not understood")
            .with_context("cause", chain(&other))
            .with_source(other),
    }
}

/// Whether the thing asked for was not there.
pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, reason: &str, message: &str) -> Status {
        Status { code, reason: reason.into(), message: message.into(), ..Status::default() }
    }

    #[test]
    fn reasons_have_their_kinds() {
        use ErrorKind as K;
        let table = [
            (401, "Unauthorized", "Unauthorized", K::Unauthenticated),
            (403, "Forbidden", "pods is forbidden", K::PermissionDenied),
            (403, "Forbidden", "pods \"a\" is forbidden: exceeded quota: q", K::Exhausted),
            (403, "Forbidden", "maximum cpu usage per Container is 1", K::InvalidInput),
            (
                403,
                "Forbidden",
                "unable to create new content in namespace x because it is being terminated",
                K::WrongState,
            ),
            (404, "NotFound", "pods \"a\" not found", K::NotFound),
            (404, "", "404 page not found", K::NotFound),
            (409, "AlreadyExists", "pods \"a\" already exists", K::AlreadyExists),
            (409, "Conflict", "the UID in the precondition does not match", K::Conflict),
            (410, "Gone", "too old resource version", K::Unavailable),
            (410, "Expired", "the resourceVersion is too old", K::Unavailable),
            (413, "RequestEntityTooLarge", "limit is 3145728", K::InvalidInput),
            (422, "Invalid", "Pod \"a\" is invalid", K::InvalidInput),
            (400, "BadRequest", "container is not valid", K::InvalidInput),
            (405, "MethodNotAllowed", "no", K::Unsupported),
            (429, "TooManyRequests", "slow down", K::Unavailable),
            (500, "InternalError", "oops", K::Unexpected),
            (500, "ServerTimeout", "later", K::Unavailable),
            (503, "ServiceUnavailable", "apiserver is shutting down", K::Unavailable),
            (504, "Timeout", "request did not complete", K::Timeout),
            (502, "", "bad gateway", K::Unavailable),
            (418, "", "", K::Unexpected),
        ];
        for (code, reason, message, kind) in table {
            assert_eq!(from_status(&status(code, reason, message)).kind(), kind, "{code} {reason} {message}");
        }
    }

    #[test]
    fn a_refusal_names_verb_resource_and_namespace_and_the_way_out() {
        let message = "pods is forbidden: User \"bob\" cannot create resource \"pods\" in API group \"\" in the \
                       namespace \"shop\"";
        let error = from_status(&status(403, "Forbidden", message));
        let context: Vec<_> = error.context().iter().map(|(k, v)| (*k, v.as_str())).collect();
        assert_eq!(context, [("verb", "create"), ("resource", "pods"), ("namespace", "shop")]);
        assert!(error.hint().is_some_and(|h| h.contains("pod k8s rbac")), "{error}");
        let message = "namespaces is forbidden: User \"bob\" cannot list resource \"namespaces\" in API group \"\" at \
                       the cluster scope";
        let error = from_status(&status(403, "Forbidden", message));
        assert!(error.to_string().starts_with("the cluster does not let you list namespaces"), "{error}");
    }

    #[test]
    fn a_pod_security_refusal_says_what_is_violated() {
        let message = "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true";
        let error = from_status(&status(403, "Forbidden", message));
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("runAsNonRoot") && error.to_string().contains("--user"), "{error}");
    }

    #[test]
    fn what_is_busy_is_worth_another_try() {
        assert_eq!(from_status(&status(503, "ServiceUnavailable", "x")).retry(), Retry::Later);
        assert_eq!(from_status(&status(422, "Invalid", "x")).retry(), Retry::Never);
    }
}
