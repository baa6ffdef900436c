//! Credentials from a plugin of the kubeconfig (client-go's exec credential plugins,
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins>).
//!
//! The plugin is run once for a client, and again when what it gave is over or was refused. What it
//! says on stderr is kept for the error message, unless a person sits at the terminal to answer it.

use kube::config::{ExecConfig, ExecInteractiveMode};
use pod_core::{Error, ErrorKind, Result, Retry};
use std::io::IsTerminal;
use std::process::Stdio;
use std::time::Duration;

/// How long a plugin may take that asks nobody.
const QUIET: Duration = Duration::from_secs(60);
/// How long one may take that talks to a person.
const TALKING: Duration = Duration::from_secs(600);
/// How much of a plugin's stderr an error shows.
const SHOWN: usize = 600;

/// What a plugin gave.
pub(crate) struct Credential {
    /// A bearer token.
    pub(crate) token: Option<String>,
    /// A client certificate and its key, PEM.
    pub(crate) identity: Option<(String, String)>,
    /// When it is over; `None` when the plugin does not say: then when it is refused.
    pub(crate) expires: Option<jiff::Timestamp>,
}

#[derive(serde::Deserialize)]
struct Answer {
    kind: Option<String>,
    status: Option<Status>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    expiration_timestamp: Option<String>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

fn failed(command: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unauthenticated, message).with_context("plugin", command)
}

/// The last words of what a plugin said.
fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let text = text.trim();
    let from = text.char_indices().rev().take(SHOWN).last().map_or(0, |(at, _)| at);
    text[from..].to_owned()
}

/// Runs the plugin.
pub(crate) async fn run(exec: &ExecConfig) -> Result<Credential> {
    let command = exec
        .command
        .as_deref()
        .ok_or_else(|| Error::new(ErrorKind::ConfigInvalid, "the kubeconfig's credential plugin names no command"))?;
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let interactive = match exec.interactive_mode {
        Some(ExecInteractiveMode::Never) => false,
        Some(ExecInteractiveMode::Always) if !terminal => {
            return Err(failed(command, "the credential plugin asks a person, and there is no terminal"));
        }
        Some(ExecInteractiveMode::Always) => true,
        Some(ExecInteractiveMode::IfAvailable) | None => terminal,
    };
    let info = request(exec, interactive)?;
    let mut plugin = tokio::process::Command::new(command);
    plugin.args(exec.args.iter().flatten()).env("KUBERNETES_EXEC_INFO", info).kill_on_drop(true);
    for pair in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (pair.get("name"), pair.get("value")) {
            plugin.env(name, value);
        }
    }
    let (stdin, stderr) =
        if interactive { (Stdio::inherit(), Stdio::inherit()) } else { (Stdio::null(), Stdio::piped()) };
    plugin.stdin(stdin).stdout(Stdio::piped()).stderr(stderr);
    let running = plugin.spawn().map_err(|e| {
        let hint = match exec.install_hint.as_deref().map(str::trim) {
            Some(hint) if !hint.is_empty() => hint.to_owned(),
            _ => format!("install {command}, or correct `users[].user.exec.command` in the kubeconfig"),
        };
        failed(command, "the credential plugin can't be run").with_source(e).with_hint(hint)
    })?;
    let limit = if interactive { TALKING } else { QUIET };
    let output = tokio::time::timeout(limit, running.wait_with_output())
        .await
        .map_err(|_| {
            failed(command, format!("the credential plugin did not end within {} s", limit.as_secs()))
                .with_retry(Retry::Later)
        })?
        .map_err(|e| failed(command, "the credential plugin's answer can't be read").with_source(e))?;
    if !output.status.success() {
        return Err(failed(command, format!("the credential plugin failed ({})", output.status))
            .with_context("stderr", last_words(&output.stderr))
            .with_hint("log in again as your cluster's provider says"));
    }
    read(command, &output.stdout)
}

/// What the plugin is told, in its environment.
fn request(exec: &ExecConfig, interactive: bool) -> Result<String> {
    let mut spec = serde_json::json!({ "interactive": interactive });
    if exec.provide_cluster_info {
        let cluster = exec.cluster.as_ref().map(serde_json::to_value).transpose();
        spec["cluster"] = cluster
            .map_err(|e| Error::unexpected("the cluster can't be told to the credential plugin").with_source(e))?
            .unwrap_or_default();
    }
    let version = exec.api_version.as_deref().unwrap_or("client.authentication.k8s.io/v1");
    Ok(serde_json::json!({ "apiVersion": version, "kind": "ExecCredential", "spec": spec }).to_string())
}

/// Reads the plugin's answer: JSON, or YAML as client-go takes it too.
fn read(command: &str, stdout: &[u8]) -> Result<Credential> {
    // The answer holds a secret, so no error may repeat it.
    let answer: Answer = serde_json::from_slice(stdout)
        .ok()
        .or_else(|| std::str::from_utf8(stdout).ok().and_then(|text| serde_saphyr::from_str(text).ok()))
        .ok_or_else(|| failed(command, "the credential plugin's answer is not understood"))?;
    if answer.kind.as_deref() != Some("ExecCredential") {
        return Err(failed(command, "the credential plugin's answer is no ExecCredential"));
    }
    let status = answer.status.ok_or_else(|| failed(command, "the credential plugin gave no credential"))?;
    let expires = status
        .expiration_timestamp
        .map(|t| t.parse::<jiff::Timestamp>())
        .transpose()
        .map_err(|e| failed(command, "the credential plugin's expiration is no time").with_source(e))?;
    let identity = match (status.client_certificate_data, status.client_key_data) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err(failed(command, "the credential plugin gave a certificate or a key alone")),
    };
    if status.token.is_none() && identity.is_none() {
        return Err(failed(command, "the credential plugin gave neither a token nor a certificate"));
    }
    Ok(Credential { token: status.token, identity, expires })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(script: &str) -> ExecConfig {
        ExecConfig {
            command: Some("/bin/sh".into()),
            args: Some(vec!["-c".into(), script.into()]),
            interactive_mode: Some(ExecInteractiveMode::Never),
            ..ExecConfig::default()
        }
    }

    #[tokio::test]
    async fn a_token_and_its_end_are_read() {
        let script = r#"printf '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1",
            "status":{"token":"abc","expirationTimestamp":"2030-01-02T03:04:05Z"}}'"#;
        let found = run(&plugin(script)).await.expect("a credential");
        assert_eq!(found.token.as_deref(), Some("abc"));
        assert_eq!(found.expires.map(|t| t.to_string()).as_deref(), Some("2030-01-02T03:04:05Z"));
    }

    #[tokio::test]
    async fn yaml_without_an_end_is_taken() {
        let script = "printf 'kind: ExecCredential\\nstatus:\\n  token: abc\\n'";
        let found = run(&plugin(script)).await.expect("a credential");
        assert_eq!((found.token.as_deref(), found.expires), (Some("abc"), None));
    }

    #[tokio::test]
    async fn the_plugin_is_told_what_is_asked() {
        let script = r#"case $KUBERNETES_EXEC_INFO in *'"interactive":false'*) ;; *) exit 9;; esac
            [ "$EXTRA" = yes ] || exit 8
            printf '{"kind":"ExecCredential","status":{"token":"t"}}'"#;
        let mut exec = plugin(script);
        exec.env = Some(vec![[("name".into(), "EXTRA".into()), ("value".into(), "yes".into())].into()]);
        assert!(run(&exec).await.is_ok());
    }

    #[tokio::test]
    async fn failures_say_what_the_plugin_said_and_no_secret() {
        let error = run(&plugin("echo session is over >&2; exit 3")).await.map(drop).expect_err("an error");
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(error.to_string().contains("session is over"), "{error}");
        let error = run(&plugin("echo '{\"token\": \"hunter2\"'")).await.map(drop).expect_err("an error");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        for bad in [
            r#"{"kind":"ExecCredential"}"#,
            r#"{"kind":"ExecCredential","status":{}}"#,
            r#"{"kind":"Secret","status":{"token":"a"}}"#,
            r#"{"kind":"ExecCredential","status":{"clientCertificateData":"a"}}"#,
            r#"{"kind":"ExecCredential","status":{"token":"a","expirationTimestamp":"soon"}}"#,
        ] {
            assert!(read("p", bad.as_bytes()).is_err(), "{bad}");
        }
        let mut missing = plugin("");
        missing.command = Some("/nonexistent/plugin".into());
        missing.install_hint = Some("get it from the shop".into());
        let error = run(&missing).await.map(drop).expect_err("an error");
        assert_eq!(error.hint(), Some("get it from the shop"));
    }
}
