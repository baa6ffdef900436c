//! Logins to registries, as Docker's own client keeps them: in `config.json` itself, or in a helper
//! program that it names (`docker-credential-NAME`, docker/docker-credential-helpers).

use crate::engine::context::{Auth, ClientConfig, Folder};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use pod_core::{Error, ErrorKind, Result};
use serde_json::json;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// The key of Docker's own registry.
const HUB: &str = "https://index.docker.io/v1/";
/// How long a helper may take: it may ask a key ring.
const HELPER: Duration = Duration::from_secs(30);

/// The registry that an image's reference names: what stands before the first `/`, if it can be a host.
pub(crate) fn registry(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => HUB,
    }
}

/// The host of a key in `config.json`, which may be an address.
fn host_of(key: &str) -> &str {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    key.split('/').next().unwrap_or(key)
}

/// The header's value (API, "Authentication"): base64url of JSON.
fn header(login: &serde_json::Value) -> String {
    URL_SAFE.encode(login.to_string())
}

fn from_file(registry: &str, auth: &Auth) -> Result<serde_json::Value> {
    if let Some(token) = auth.registrytoken.as_deref().filter(|t| !t.is_empty()) {
        return Ok(json!({"serveraddress": registry, "registrytoken": token}));
    }
    let bad = || {
        Error::new(ErrorKind::ConfigInvalid, "a login in Docker's configuration is not understood")
            .with_context("registry", registry)
            .with_hint("log in again: `docker login`")
    };
    let both = match auth.auth.as_deref().filter(|a| !a.is_empty()) {
        None => String::new(),
        Some(text) => String::from_utf8(STANDARD.decode(text.trim()).map_err(|_| bad())?).map_err(|_| bad())?,
    };
    if let Some(token) = auth.identitytoken.as_deref().filter(|t| !t.is_empty()) {
        return Ok(json!({"serveraddress": registry, "identitytoken": token}));
    }
    let (user, password) = both.split_once(':').ok_or_else(bad)?;
    Ok(json!({"serveraddress": registry, "username": user, "password": password.trim_end_matches('\0')}))
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    username: String,
    secret: String,
}

/// Asks a helper. There is no other way to it than to run it.
async fn from_helper(name: &str, registry: &str) -> Result<Option<serde_json::Value>> {
    let program = format!("docker-credential-{name}");
    let failed = |what: &str| {
        Error::new(ErrorKind::Unauthenticated, format!("the login can't be had: {what}"))
            .with_context("helper", program.clone())
            .with_context("registry", registry)
    };
    if name.contains(['/', '\\']) {
        return Err(failed("the helper's name is no name"));
    }
    let mut child = tokio::process::Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed("the helper can't be run").with_source(e))?;
    let mut stdin = child.stdin.take();
    let asked = async {
        if let Some(stdin) = &mut stdin {
            // One that does not read says so by its status.
            let _ = stdin.write_all(registry.as_bytes()).await;
        }
        drop(stdin);
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(HELPER, asked).await {
        Ok(output) => output.map_err(|e| failed("the helper broke off").with_source(e))?,
        Err(_) => return Err(failed("the helper does not answer")),
    };
    if !output.status.success() {
        // What it has no login for, it says on stdout; nothing of that is repeated.
        let none = String::from_utf8_lossy(&output.stdout).contains("credentials not found");
        return if none { Ok(None) } else { Err(failed("the helper refuses")) };
    }
    let given: Given = serde_json::from_slice(&output.stdout).map_err(|_| failed("its answer is not understood"))?;
    Ok(Some(if given.username == "<token>" {
        json!({"serveraddress": registry, "identitytoken": given.secret})
    } else {
        json!({"serveraddress": registry, "username": given.username, "password": given.secret})
    }))
}

/// The login for an image's registry, as the header `X-Registry-Auth` takes it; `None` when there is none.
///
/// # Errors
/// `ConfigInvalid` for a configuration that is not understood; `Unauthenticated` when a helper fails.
pub(crate) async fn login(reference: &str) -> Result<Option<String>> {
    let Some(folder) = Folder::of_user() else { return Ok(None) };
    let config = match tokio::task::spawn_blocking(move || folder.config()).await {
        Ok(config) => config?,
        Err(e) => return Err(Error::unexpected("reading Docker's configuration failed").with_source(e)),
    };
    login_by(&config, registry(reference)).await
}

async fn login_by(config: &ClientConfig, registry: &str) -> Result<Option<String>> {
    let helper = config.cred_helpers.get(host_of(registry)).or_else(|| config.cred_helpers.get(registry));
    if let Some(helper) = helper.or(config.creds_store.as_ref()) {
        return Ok(from_helper(helper, registry).await?.map(|l| header(&l)));
    }
    let exact = config.auths.get(registry);
    let found = exact.or_else(|| config.auths.iter().find(|(k, _)| host_of(k) == host_of(registry)).map(|(_, v)| v));
    found.map(|auth| from_file(registry, auth).map(|l| header(&l))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> serde_json::Value {
        serde_json::from_slice(&URL_SAFE.decode(header).expect("base64")).expect("json")
    }

    #[test]
    fn references_name_their_registries() {
        for (reference, expected) in [
            ("debian:12", HUB),
            ("library/debian", HUB),
            ("localhost/x", "localhost"),
            ("registry.lab:5000/a/b@sha256:0", "registry.lab:5000"),
            ("ghcr.io/a/b", "ghcr.io"),
        ] {
            assert_eq!(registry(reference), expected, "{reference}");
        }
    }

    #[tokio::test]
    async fn logins_of_the_file_are_found_however_they_are_written() {
        let text = r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"bWU6c2U6Y3JldA=="},
            "https://registry.lab:5000/v2/":{"auth":"eW91OnB3"},
            "token.lab":{"auth":"","identitytoken":"abc"}}}"#;
        let config: ClientConfig = serde_json::from_str(text).expect("a configuration");
        let hub = login_by(&config, HUB).await.expect("a login").expect("there is one");
        assert_eq!(read(&hub), json!({"serveraddress": HUB, "username": "me", "password": "se:cret"}));
        let lab = login_by(&config, "registry.lab:5000").await.expect("a login").expect("there is one");
        assert_eq!(read(&lab)["username"], "you");
        let token = login_by(&config, "token.lab").await.expect("a login").expect("there is one");
        assert_eq!(read(&token)["identitytoken"], "abc");
        assert_eq!(login_by(&config, "other.lab").await.expect("no error"), None);
    }

    #[tokio::test]
    async fn a_login_that_is_none_is_told_without_its_text() {
        let config: ClientConfig = serde_json::from_str(r#"{"auths":{"r.lab":{"auth":"c2VjcmV0"}}}"#).expect("json");
        let e = login_by(&config, "r.lab").await.expect_err("no colon");
        assert_eq!(e.kind(), ErrorKind::ConfigInvalid);
        assert!(!format!("{e:?}").contains("secret") && !format!("{e:?}").contains("c2VjcmV0"), "{e:?}");
    }

    #[tokio::test]
    async fn a_helper_that_is_not_there_is_named() {
        let config: ClientConfig = serde_json::from_str(r#"{"credsStore":"no-such-helper"}"#).expect("json");
        let e = login_by(&config, "r.lab").await.expect_err("no helper");
        assert_eq!(e.kind(), ErrorKind::Unauthenticated);
        assert!(e.to_string().contains("docker-credential-no-such-helper"), "{e}");
    }
}
