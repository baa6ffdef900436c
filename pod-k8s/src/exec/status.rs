//! How a program ended, by the `Status` on the channel for it, and what runtimes say of programs that
//! never began.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use pod_core::{Error, ErrorKind, ExitStatus, Retry};

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The program ended so.
    Exited(ExitStatus),
    /// The server or the runtime refused, in its own words.
    Refused(String),
    /// The connection was lost before a status came.
    Lost(String),
}

/// Reads the status channel: success, a code among the causes (`NonZeroExitCode` of
/// `k8s.io/apimachinery/pkg/util/remotecommand`), or words.
pub(crate) fn read(json: &[u8]) -> End {
    let status: Status = match serde_json::from_slice(json) {
        Ok(status) => status,
        Err(e) => return End::Lost(format!("the server's word on how the program ended is not understood: {e}")),
    };
    if status.status.as_deref() == Some("Success") {
        return End::Exited(ExitStatus::Exited(0));
    }
    if status.reason.as_deref() == Some("NonZeroExitCode") {
        let causes = status.details.and_then(|d| d.causes).unwrap_or_default();
        let code = causes.iter().find(|c| c.reason.as_deref() == Some("ExitCode")).and_then(|c| c.message.as_deref());
        return End::Exited(code.and_then(|c| c.parse().ok()).map_or(ExitStatus::Unknown, ExitStatus::Exited));
    }
    End::Refused(status.message.unwrap_or_else(|| "the server refused without a word".into()))
}

/// What kept a program from being run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// There is no such program: 127.
    NoProgram,
    /// It can't be executed: 126.
    NotExecutable,
    /// Its arguments and environment are too long.
    TooLong,
    /// The container does not run.
    NotRunning,
    /// The pod or container is not there.
    Gone,
    /// The node can't be reached.
    NodeAway,
    /// The API server may not ask the node.
    NodeRefuses,
    /// The node has no memory or disk left.
    Exhausted,
    /// None of these.
    Other,
}

/// Sentences of runtimes, kubelets and API servers, each in lower case, the first that is found counts.
/// The words differ between runc, crun, youki, gVisor, Kata and Windows, and between CRI-O and
/// containerd, which wrap them.
const WORDS: &[(&str, Cause)] = &[
    // The API server and the kubelet, before any runtime is asked.
    ("in a completed pod", Cause::NotRunning),
    ("does not have a host assigned", Cause::NotRunning),
    ("container not found (", Cause::NotRunning),
    ("not found in pod", Cause::NotRunning),
    ("pod does not exist", Cause::Gone),
    ("is not valid for pod", Cause::Gone),
    ("error dialing backend: remote error: tls", Cause::NodeRefuses),
    ("error dialing backend", Cause::NodeAway),
    // The rest of this sentence holds the whole request, and so anything.
    ("error sending request: post", Cause::NodeAway),
    ("proxy error from", Cause::NodeAway),
    ("no agent available", Cause::NodeAway),
    ("unable to upgrade connection: forbidden", Cause::NodeRefuses),
    ("unable to upgrade connection: unauthorized", Cause::NodeRefuses),
    // Runtimes, about the container.
    ("container is not running", Cause::NotRunning),
    ("container is in container_exited state", Cause::NotRunning),
    ("container is in container_created state", Cause::NotRunning),
    ("container is not created or running", Cause::NotRunning),
    ("cannot exec in a stopped", Cause::NotRunning),
    ("cannot exec a container that has stopped", Cause::NotRunning),
    ("cannot exec in a deleted", Cause::Gone),
    ("container does not exist", Cause::Gone),
    ("no running task found", Cause::NotRunning),
    ("process already finished", Cause::NotRunning),
    // containerd of a task, and runc of the namespaces, that went while the program was begun.
    ("not found: not found", Cause::NotRunning),
    ("error executing setns process", Cause::NotRunning),
    ("container_id not found", Cause::Gone),
    // Runtimes, about what the machine has.
    ("argument list too long", Cause::TooLong),
    ("no space left on device", Cause::Exhausted),
    ("cannot allocate memory", Cause::Exhausted),
    ("resource temporarily unavailable", Cause::Exhausted),
    // Runtimes, about the program. Missing ones first: a search through a directory that may not be
    // read says both.
    ("executable file not found", Cause::NoProgram),
    ("executable file `", Cause::NoProgram),
    ("not found in $path", Cause::NoProgram),
    ("for container not found in path", Cause::NoProgram),
    ("error finding executable", Cause::NoProgram),
    ("open executable: no such file", Cause::NoProgram),
    ("cannot find the file specified", Cause::NoProgram),
    ("cannot find the path specified", Cause::NoProgram),
    ("no such file or directory", Cause::NoProgram),
    ("enoent", Cause::NoProgram),
    ("permission denied", Cause::NotExecutable),
    ("is a directory", Cause::NotExecutable),
    ("exec format error", Cause::NotExecutable),
    ("not a directory", Cause::NotExecutable),
    ("access is denied", Cause::NotExecutable),
    ("is not a valid win32 application", Cause::NotExecutable),
    ("eacces", Cause::NotExecutable),
];

/// Finds what the words mean.
pub(crate) fn cause(words: &str) -> Cause {
    let words = words.to_ascii_lowercase();
    WORDS.iter().find(|(part, _)| words.contains(part)).map_or(Cause::Other, |(_, cause)| *cause)
}

/// The runtime's words without the layers' own, which say nothing new.
fn inner(words: &str) -> &str {
    let mut words = words.trim();
    for layer in ["OCI runtime exec failed: ", "exec failed: ", "unable to start container process: "] {
        if let Some(at) = words.find(layer) {
            words = &words[at + layer.len()..];
        }
    }
    // The request's address holds the whole command; what went wrong with it stands behind.
    if words.contains("error sending request: Post \"")
        && let Some((_, cause)) = words.rsplit_once("\": ")
    {
        words = cause;
    }
    words.trim_end_matches(": unknown").trim()
}

/// The error for a refusal. `program` is what should have been run.
pub(crate) fn refused(words: &str, program: Option<&[u8]>) -> Error {
    let cause = cause(words);
    let named = |e: Error| match program {
        Some(p) => e.with_context("program", String::from_utf8_lossy(p)),
        None => e,
    };
    let said = |e: Error| e.with_context("answer", inner(words));
    match cause {
        Cause::NoProgram => said(named(no_program())),
        Cause::NotExecutable => said(named(not_executable())),
        Cause::TooLong => said(
            named(Error::invalid("the arguments and environment are too long"))
                .with_hint("pass what is long by stdin or a file"),
        ),
        Cause::NotRunning => said(Error::new(ErrorKind::WrongState, "the container does not run")),
        Cause::Gone => said(Error::new(ErrorKind::NotFound, "the pod or its container is gone")),
        Cause::NodeAway => said(Error::new(ErrorKind::Unavailable, "the pod's node can't be reached"))
            .with_retry(Retry::Later)
            .with_hint("`kubectl get nodes` shows whether it is ready"),
        Cause::NodeRefuses => said(Error::new(ErrorKind::Unavailable, "the pod's node refuses the API server"))
            .with_hint("the cluster's own certificates are at fault: `kubectl get csr` shows those that wait"),
        Cause::Exhausted => said(Error::new(ErrorKind::Exhausted, "the pod's node has no room for another program")),
        Cause::Other => said(named(Error::new(ErrorKind::Unexpected, "the program could not be run"))),
    }
}

/// There is no such program.
pub(crate) fn no_program() -> Error {
    Error::new(ErrorKind::CommandFailed, "no such program").with_exit_code(127)
}

/// There is one, and it can't be executed.
pub(crate) fn not_executable() -> Error {
    Error::new(ErrorKind::CommandFailed, "the program can't be executed").with_exit_code(126)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_code_or_words_and_never_0_by_chance() {
        let table: &[(&str, End)] = &[
            (r#"{"status":"Success"}"#, End::Exited(ExitStatus::Exited(0))),
            (
                r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"137"}]}}"#,
                End::Exited(ExitStatus::Exited(137)),
            ),
            (
                r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[]}}"#,
                End::Exited(ExitStatus::Unknown),
            ),
            (
                r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"-1"}]}}"#,
                End::Exited(ExitStatus::Unknown),
            ),
            (r#"{"status":"Failure","message":"oops","reason":"InternalError"}"#, End::Refused("oops".into())),
        ];
        for (json, end) in table {
            assert_eq!(&read(json.as_bytes()), end, "{json}");
        }
        assert!(matches!(read(b""), End::Lost(_)));
        assert!(matches!(read(b"{\"status\":7}"), End::Lost(_)));
        assert!(matches!(read(b"{}"), End::Refused(_)), "no status at all is no success");
    }

    #[test]
    fn runtimes_words_are_understood() {
        use Cause as C;
        let table = [
            // runc below containerd, as seen on 1.33 with containerd 1.6.
            (
                "Internal error occurred: error executing command in container: failed to exec in container: failed to \
                 start exec \"168c\": OCI runtime exec failed: exec failed: unable to start container process: exec: \
                 \"nosuch\": executable file not found in $PATH: unknown",
                C::NoProgram,
            ),
            (
                "OCI runtime exec failed: exec failed: unable to start container process: exec: \"/no/such\": stat \
                 /no/such: no such file or directory: unknown",
                C::NoProgram,
            ),
            (
                "OCI runtime exec failed: exec failed: unable to start container process: exec: \"/etc\": permission \
                 denied: unknown",
                C::NotExecutable,
            ),
            (
                "exec failed: unable to start container process: exec: \"/etc\": is a directory: unknown",
                C::NotExecutable,
            ),
            ("exec /bin/x: exec format error", C::NotExecutable),
            // crun
            (
                "executable file `nosuch` not found in $PATH: No such file or directory: OCI runtime attempted to invoke a command that was not found",
                C::NoProgram,
            ),
            ("open executable: Permission denied: OCI permission denied", C::NotExecutable),
            ("open executable: No such file or directory", C::NoProgram),
            // youki
            ("executable 'nosuch' for container not found in PATH", C::NoProgram),
            // gVisor
            ("error finding executable \"nosuch\" in PATH [/bin]: no such file or directory", C::NoProgram),
            // Kata
            ("rpc error: code = Internal desc = ENOENT: No such file or directory", C::NoProgram),
            // CRI-O
            (
                "command error: time=\"x\" level=error msg=\"exec failed: unable to start container process: exec: \\\"nosuch\\\": executable file not found in $PATH\", stdout: , stderr: , exit code -1",
                C::NoProgram,
            ),
            // Windows
            ("hcs::System::CreateProcess main: The system cannot find the file specified.: unknown", C::NoProgram),
            ("hcs::System::CreateProcess main: Access is denied.: unknown", C::NotExecutable),
            // States
            ("cannot exec into a container in a completed pod; current phase is Succeeded", C::NotRunning),
            ("pod web does not have a host assigned", C::NotRunning),
            ("container not found (\"main\")", C::NotRunning),
            (
                "Internal error occurred: unable to upgrade connection: container main not found in pod web_default",
                C::NotRunning,
            ),
            (
                "failed to exec in container: failed to load task: no running task found: task 5 not found: not found",
                C::NotRunning,
            ),
            (
                "error executing command in container: failed to exec in container: failed to create exec \"5\": task 6 not \
                 found: not found",
                C::NotRunning,
            ),
            (
                "OCI runtime exec failed: exec failed: unable to start container process: error executing setns process: \
                 exit status 1: unknown",
                C::NotRunning,
            ),
            ("cannot exec in a stopped state: unknown", C::NotRunning),
            ("failed to exec in container: container is in CONTAINER_EXITED state", C::NotRunning),
            ("unable to upgrade connection: pod does not exist", C::Gone),
            ("container nope is not valid for pod web", C::Gone),
            // Nodes
            ("error dialing backend: dial tcp 10.0.0.1:10250: connect: connection refused", C::NodeAway),
            ("error dialing backend: remote error: tls: internal error", C::NodeRefuses),
            (
                "Internal error occurred: error sending request: Post \"https://10.0.0.1:10250/exec/a/b/c?command=sh&\
                 command=permission+denied\": dial tcp 10.0.0.1:10250: connect: connection refused",
                C::NodeAway,
            ),
            (
                "unable to upgrade connection: Forbidden (user=apiserver, verb=create, resource=nodes, subresource=proxy)",
                C::NodeRefuses,
            ),
            // Limits
            ("unable to start container process: exec: \"sh\": argument list too long", C::TooLong),
            ("fork/exec /proc/self/exe: resource temporarily unavailable", C::Exhausted),
            ("write /run/x: no space left on device", C::Exhausted),
            ("something new", C::Other),
        ];
        for (words, expected) in table {
            assert_eq!(cause(words), expected, "{words}");
        }
    }

    #[test]
    fn errors_have_codes_kinds_and_the_runtimes_own_words() {
        let words = "failed to exec: OCI runtime exec failed: exec failed: unable to start container process: exec: \
                     \"x\": executable file not found in $PATH: unknown";
        let e = refused(words, Some(b"x"));
        assert_eq!((e.kind(), e.exit_code()), (ErrorKind::CommandFailed, Some(127)));
        assert_eq!(
            e.to_string(),
            "no such program (program: x, answer: exec: \"x\": executable file not found in $PATH)"
        );
        assert_eq!(refused("exec: \"/etc\": permission denied", Some(b"/etc")).exit_code(), Some(126));
        let words = "error sending request: Post \"https://10.0.0.1:10250/exec/a?command=sh\": dial tcp: refused";
        let told = refused(words, None).to_string();
        assert!(told.contains("dial tcp: refused") && !told.contains("command=sh"), "{told}");
        assert_eq!(refused("container not found (\"a\")", None).kind(), ErrorKind::WrongState);
        assert_eq!(refused("hm", None).kind(), ErrorKind::Unexpected);
    }
}
