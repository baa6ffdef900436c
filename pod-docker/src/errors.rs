//! From what a daemon says to the errors of POD.

use crate::config::Flavor;
use crate::engine::failure::Failure;
use http::StatusCode;
use pod_core::{Error, ErrorKind, Retry};
use std::io;

/// Words of a daemon, in lower case, and what they mean; the first that is found counts. Docker answers
/// most of what runc, containerd or a registry says with a 500, so that only the words tell.
const WORDS: &[(&str, ErrorKind)] = &[
    ("no space left on device", ErrorKind::Exhausted),
    ("disk quota exceeded", ErrorKind::Exhausted),
    ("cannot allocate memory", ErrorKind::Exhausted),
    ("invalid reference format", ErrorKind::InvalidInput),
    ("unable to find user", ErrorKind::InvalidInput),
    ("unable to find group", ErrorKind::InvalidInput),
    ("no matching entries in passwd file", ErrorKind::InvalidInput),
    ("is already in use by", ErrorKind::AlreadyExists),
    ("name is already in use", ErrorKind::AlreadyExists),
    ("name already in use", ErrorKind::AlreadyExists),
    ("address already in use", ErrorKind::Conflict),
    ("port is already allocated", ErrorKind::Conflict),
    // A port at an address that the machine has not.
    ("bind: cannot assign requested address", ErrorKind::InvalidInput),
    ("pool overlaps", ErrorKind::Conflict),
    ("removal of container", ErrorKind::Busy),
    ("is not running", ErrorKind::WrongState),
    ("container is running", ErrorKind::WrongState),
    ("running container", ErrorKind::WrongState),
    ("is paused", ErrorKind::WrongState),
    ("is restarting", ErrorKind::WrongState),
    ("can only create exec sessions on running", ErrorKind::WrongState),
    ("container state improper", ErrorKind::WrongState),
    ("unauthorized", ErrorKind::Unauthenticated),
    ("no basic auth credentials", ErrorKind::Unauthenticated),
    ("pull access denied", ErrorKind::NotFound),
    ("manifest unknown", ErrorKind::NotFound),
    ("manifest for", ErrorKind::NotFound),
    ("name unknown", ErrorKind::NotFound),
    ("no such host", ErrorKind::Unavailable),
    ("connection refused", ErrorKind::Unavailable),
    ("network is unreachable", ErrorKind::Unavailable),
    ("server misbehaving", ErrorKind::Unavailable),
    ("i/o timeout", ErrorKind::Unavailable),
    ("context deadline exceeded", ErrorKind::Unavailable),
    ("read-only file system", ErrorKind::PermissionDenied),
    ("rootfs is marked read-only", ErrorKind::PermissionDenied),
    ("volume is marked read-only", ErrorKind::PermissionDenied),
];

/// The kind of a refusal, by its words and else by its status.
pub(crate) fn kind_of(status: StatusCode, words: &str) -> ErrorKind {
    let lower = words.to_ascii_lowercase();
    let server = status.is_server_error() || status == StatusCode::CONFLICT || status == StatusCode::BAD_REQUEST;
    if let Some((_, kind)) = WORDS.iter().find(|(w, _)| server && lower.contains(w)) {
        return *kind;
    }
    match status.as_u16() {
        400 | 406 | 413 | 416 | 422 => ErrorKind::InvalidInput,
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::PermissionDenied,
        404 => ErrorKind::NotFound,
        405 | 501 => ErrorKind::Unsupported,
        409 => ErrorKind::Conflict,
        429 | 502 | 503 => ErrorKind::Unavailable,
        504 => ErrorKind::Timeout,
        _ if lower.contains("permission denied") => ErrorKind::PermissionDenied,
        _ => ErrorKind::Unexpected,
    }
}

/// The error for words that a daemon said with this status.
pub(crate) fn refused(status: StatusCode, words: &str) -> Error {
    let kind = kind_of(status, words);
    let retry = match kind {
        ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Busy => Retry::Later,
        _ => Retry::Never,
    };
    let message = match words.is_empty() {
        true => format!("the daemon answered {status}"),
        false => format!("the daemon answered: {}", words.trim_end_matches('.')),
    };
    let error = Error::new(kind, message).with_retry(retry);
    match kind {
        ErrorKind::Unauthenticated => error.with_hint("log in to the registry: `docker login`"),
        ErrorKind::Exhausted => error.with_hint("free some space where the daemon keeps its data"),
        _ => error,
    }
}

/// All that an error and its causes say.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
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

fn not_reached(error: io::Error, flavor: Flavor) -> Error {
    let (kind, message, hint) = match (error.kind(), flavor) {
        (io::ErrorKind::NotFound, Flavor::Docker) => (
            ErrorKind::Unavailable,
            "there is no such socket: the daemon does not run",
            "start it, or name another: DOCKER_HOST, docker:?socket=PATH, docker:?context=NAME",
        ),
        (io::ErrorKind::NotFound, Flavor::Podman) => (
            ErrorKind::Unavailable,
            "there is no such socket: Podman's service does not run",
            "start it, `systemctl --user start podman.socket`, as root without --user; or name another: CONTAINER_HOST, podman:?socket=PATH",
        ),
        (io::ErrorKind::PermissionDenied, Flavor::Docker) => (
            ErrorKind::PermissionDenied,
            "the daemon's socket may not be opened by this user",
            "become a member of the socket's group, mostly `docker`, or use a rootless daemon",
        ),
        (io::ErrorKind::PermissionDenied, Flavor::Podman) => (
            ErrorKind::PermissionDenied,
            "the socket of Podman's service may not be opened by this user",
            "root's is for root; use your own: `systemctl --user start podman.socket`",
        ),
        (io::ErrorKind::TimedOut, _) => (
            ErrorKind::Unavailable,
            "the daemon does not take the connection",
            "check its address, and that the network leads to it",
        ),
        (io::ErrorKind::InvalidInput, _) => {
            return Error::unexpected("the request can't be put into words").with_source(error);
        }
        _ => (ErrorKind::Unavailable, "the daemon can't be reached", "check that it runs, and its socket or address"),
    };
    let cause = error.to_string();
    Error::new(kind, message).with_context("cause", cause).with_retry(Retry::Later).with_hint(hint).with_source(error)
}

fn no_tls(error: io::Error) -> Error {
    let text = chain(&error);
    let lower = text.to_ascii_lowercase();
    let (kind, message, hint) = if lower.contains("certificaterequired") || lower.contains("badcertificate") {
        (
            ErrorKind::Unauthenticated,
            "the daemon wants a certificate that it knows",
            "put cert.pem and key.pem into the certificates' folder: DOCKER_CERT_PATH, or ?cert_path=DIR",
        )
    } else if lower.contains("certificate") || lower.contains("unknownissuer") {
        (
            ErrorKind::Unavailable,
            "the daemon's certificate is not trusted",
            "put the authority that signed it into ca.pem of the certificates' folder",
        )
    } else {
        (
            ErrorKind::Unavailable,
            "the daemon does not speak TLS at this port",
            "port 2376 is the usual one; a plain one is asked for by ?tls=false",
        )
    };
    Error::new(kind, message).with_context("cause", text).with_hint(hint).with_source(error)
}

/// The error for a request that came to nothing. What is meant to listen there tells how it is started.
pub(crate) fn of(failure: Failure, flavor: Flavor) -> Error {
    match failure {
        Failure::Refused(status, words) => refused(status, &words),
        Failure::Connect(e) => not_reached(e, flavor),
        Failure::Tls(e) => no_tls(e),
        Failure::Http(e) => {
            let text = chain(&e);
            let lower = text.to_ascii_lowercase();
            // TLS 1.3: a server refuses a client's certificate only after the handshake.
            if lower.contains("certificaterequired") || lower.contains("badcertificate") {
                return no_tls(io::Error::other(e));
            }
            let (message, hint) = if e.is_parse() {
                ("what answers there does not speak HTTP", "a daemon with TLS is asked by port 2376 or ?tls=true")
            } else {
                ("the connection to the daemon broke", "check that the daemon still runs")
            };
            Error::new(ErrorKind::Unavailable, message)
                .with_context("cause", text)
                .with_retry(Retry::Later)
                .with_hint(hint)
                .with_source(e)
        }
        Failure::Body(e) => {
            let text = chain(&*e);
            Error::new(ErrorKind::Unavailable, "the daemon's answer broke off")
                .with_context("cause", text)
                .with_retry(Retry::Later)
        }
        Failure::Slow(limit) => {
            Error::new(ErrorKind::Timeout, format!("the daemon did not answer within {} s", limit.as_secs()))
                .with_retry(Retry::Later)
        }
        Failure::Odd(what, e) => Error::unexpected(format!("the daemon's {what} is not understood")).with_source(e),
    }
}

/// The shell's code for a program that could not be run, when that is what the words say (the daemon's own
/// reading of what runc says: 127 for a program that is not there, 126 for one that can't be executed).
pub(crate) fn not_run(words: &str) -> Option<u8> {
    let lower = words.to_ascii_lowercase();
    if !lower.contains("exec: ") && !lower.contains("exec `") && !lower.contains("executable file") {
        return None;
    }
    if lower.contains("executable file not found") || lower.contains("no such file or directory") {
        return Some(127);
    }
    let can_not = ["permission denied", "is a directory", "not a directory", "exec format error"];
    can_not.iter().any(|w| lower.contains(w)).then_some(126)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_their_kinds() {
        use ErrorKind as K;
        let table = [
            (404, "No such container: a", K::NotFound),
            (404, "No such image: debian:12", K::NotFound),
            (
                409,
                r#"Conflict. The container name "/a" is already in use by container "0123". You have to remove"#,
                K::AlreadyExists,
            ),
            (409, "Container 0123 is not running", K::WrongState),
            (409, "Container 0123 is paused, unpause the container before exec", K::WrongState),
            (
                409,
                "You cannot remove a running container 0123. Stop the container before attempting removal",
                K::WrongState,
            ),
            (409, "removal of container 0123 is already in progress", K::Busy),
            (409, "something else", K::Conflict),
            (400, "invalid tag format", K::InvalidInput),
            (400, "unable to find user x: no matching entries in passwd file", K::InvalidInput),
            (500, "write /x: no space left on device", K::Exhausted),
            (500, "Get https://registry/v2/: dial tcp: lookup registry: no such host", K::Unavailable),
            (500, "unauthorized: authentication required", K::Unauthenticated),
            (500, "driver failed programming external connectivity: port is already allocated", K::Conflict),
            (500, "container state improper", K::WrongState),
            (500, "open /x: permission denied", K::PermissionDenied),
            (500, "it broke", K::Unexpected),
            (501, "", K::Unsupported),
            (503, "", K::Unavailable),
            (401, "", K::Unauthenticated),
            (403, "", K::PermissionDenied),
        ];
        for (status, words, kind) in table {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(refused(status, words).kind(), kind, "{status} {words}");
        }
    }

    #[test]
    fn a_socket_that_can_not_be_opened_says_what_to_do() {
        for (flavor, kind, of_kind, hint) in [
            (Flavor::Docker, io::ErrorKind::PermissionDenied, ErrorKind::PermissionDenied, "group"),
            (Flavor::Docker, io::ErrorKind::NotFound, ErrorKind::Unavailable, "DOCKER_HOST"),
            (Flavor::Podman, io::ErrorKind::PermissionDenied, ErrorKind::PermissionDenied, "--user"),
            (Flavor::Podman, io::ErrorKind::NotFound, ErrorKind::Unavailable, "CONTAINER_HOST"),
        ] {
            let e = of(Failure::Connect(kind.into()), flavor);
            assert_eq!((e.kind(), e.retry()), (of_kind, Retry::Later));
            let words = e.hint().unwrap_or_default();
            assert!(words.contains(hint) && (flavor == Flavor::Docker || !words.contains("DOCKER")), "{words}");
        }
    }

    #[test]
    fn programs_that_can_not_be_run_have_the_shells_code() {
        let table = [
            (
                r#"OCI runtime create failed: runc create failed: unable to start container process: exec: "no-such": executable file not found in $PATH: unknown"#,
                Some(127),
            ),
            (
                r#"unable to start container process: exec: "/no/such": stat /no/such: no such file or directory: unknown"#,
                Some(127),
            ),
            (r#"unable to start container process: exec: "/etc/passwd": permission denied: unknown"#, Some(126)),
            (
                r#"crun: executable file `no-such` not found in $PATH: No such file or directory: OCI runtime attempted to invoke a command that was not found"#,
                Some(127),
            ),
            ("error mounting /x: no such file or directory", None),
            ("it broke", None),
        ];
        for (words, code) in table {
            assert_eq!(not_run(words), code, "{words}");
        }
    }
}
