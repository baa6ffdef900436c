//! Logins to registries, as Docker's own client and Podman keep them: in `config.json` and `auth.json`, or in a
//! helper program that these name (`docker-credential-NAME`, docker/docker-credential-helpers).

use crate::config::{DockerConfig, Flavor};
use crate::engine::context::{Auth, ClientConfig, Folder};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use pod_core::{Error, ErrorKind, Result};
use serde_json::json;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// The key of Docker's own registry.
const HUB: &str = "https://index.docker.io/v1/";
/// Its host, and what else it is called.
const HUB_HOST: &str = "index.docker.io";
const HUB_NAMES: &[&str] = &["docker.io", "registry-1.docker.io"];
/// How long a helper may take: it may ask a key ring.
const HELPER: Duration = Duration::from_secs(30);

/// The registry that an image's reference names: what stands before the first `/`, if it can be a host.
pub(crate) fn registry(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, _)) if HUB_NAMES.contains(&host) || host == HUB_HOST => HUB,
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => HUB,
    }
}

/// The host of a key in `config.json`, which may be an address.
fn host_of(key: &str) -> &str {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    let host = key.split('/').next().unwrap_or(key);
    if HUB_NAMES.contains(&host) { HUB_HOST } else { host }
}

/// The keys by which Podman keeps logins for parts of a registry, the longest first
/// (containers-auth.json(5)): `HOST/a/b`, `HOST/a`.
fn parts(reference: &str) -> Vec<&str> {
    let name = reference.split('@').next().unwrap_or(reference);
    let colon = name.rfind(':').filter(|at| !name[*at..].contains('/'));
    let mut name = &name[..colon.unwrap_or(name.len())];
    let mut found = Vec::new();
    while registry(reference) != HUB && name.contains('/') {
        found.push(name);
        name = name.rsplit_once('/').map_or("", |(above, _)| above);
    }
    found
}

/// What to type to log in.
pub(crate) fn how(flavor: Flavor, reference: &str) -> String {
    let program = match flavor {
        Flavor::Docker => "docker",
        Flavor::Podman => "podman",
    };
    match registry(reference) {
        HUB => format!("`{program} login`"),
        other => format!("`{program} login {other}`"),
    }
}

/// The header's value (API, "Authentication"): base64url of JSON.
fn header(login: &serde_json::Value) -> String {
    URL_SAFE.encode(login.to_string())
}

/// A login of the file; `None` for an entry that holds none, as is written beside a helper.
fn from_file(registry: &str, auth: &Auth) -> Result<Option<serde_json::Value>> {
    let given = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
    if let Some(token) = given(&auth.registrytoken) {
        return Ok(Some(json!({"serveraddress": registry, "registrytoken": token})));
    }
    if let Some(token) = given(&auth.identitytoken) {
        return Ok(Some(json!({"serveraddress": registry, "identitytoken": token})));
    }
    if let (Some(user), Some(password)) = (given(&auth.username), given(&auth.password)) {
        return Ok(Some(json!({"serveraddress": registry, "username": user, "password": password})));
    }
    let Some(both) = given(&auth.auth) else { return Ok(None) };
    let bad = || {
        Error::new(ErrorKind::ConfigInvalid, "a login in Docker's configuration is not understood")
            .with_context("registry", registry)
            .with_hint("log in again: `docker login`")
    };
    let both = String::from_utf8(STANDARD.decode(both.trim()).map_err(|_| bad())?).map_err(|_| bad())?;
    let (user, password) = both.split_once(':').ok_or_else(bad)?;
    let password = password.trim_end_matches('\0');
    Ok(Some(json!({"serveraddress": registry, "username": user, "password": password})))
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

/// The files that may hold a login, the first that has one counts.
fn files(config: &DockerConfig, environment: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    if let Some(folder) = &config.config {
        return vec![Folder(folder.clone()).file()];
    }
    let docker = Folder::of_user().map(|f| f.file());
    if config.flavor == Flavor::Docker {
        return docker.into_iter().collect();
    }
    // containers-auth.json(5)
    if let Some(only) = environment("REGISTRY_AUTH_FILE") {
        return vec![only.into()];
    }
    let session = |dir: String| Some(PathBuf::from(dir).join("containers"));
    let runtime = environment("XDG_RUNTIME_DIR").map_or_else(of_this_boot, session);
    let home = || environment("HOME").map(|home| PathBuf::from(home).join(".config"));
    let kept = environment("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home);
    let own = [runtime, kept.map(|dir| dir.join("containers"))];
    own.into_iter().flatten().map(|dir| dir.join("auth.json")).chain(docker).collect()
}

/// Where Podman's logins are for whom the system gives no folder of this session.
fn of_this_boot() -> Option<PathBuf> {
    #[cfg(unix)]
    return Some(PathBuf::from(format!("/run/containers/{}", rustix::process::getuid().as_raw())));
    #[cfg(not(unix))]
    None
}

/// The login for an image's registry, as the header `X-Registry-Auth` takes it; `None` when there is none.
///
/// # Errors
/// `ConfigInvalid` for a file that is not understood; `Unauthenticated` when a helper fails.
pub(crate) async fn login(config: &DockerConfig, reference: &str) -> Result<Option<String>> {
    let environment = |key: &str| std::env::var(key).ok().filter(|v| !v.is_empty());
    for file in files(config, &environment) {
        let read = tokio::task::spawn_blocking(move || ClientConfig::read(&file)).await;
        let read = read.map_err(|e| Error::unexpected("reading the logins failed").with_source(e))??;
        if let Some(found) = login_by(&read, config.flavor, reference).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

async fn login_by(config: &ClientConfig, flavor: Flavor, reference: &str) -> Result<Option<String>> {
    let registry = registry(reference);
    let helper = config.cred_helpers.get(host_of(registry)).or_else(|| config.cred_helpers.get(registry));
    if let Some(helper) = helper.or(config.creds_store.as_ref()) {
        return Ok(from_helper(helper, registry).await?.map(|l| header(&l)));
    }
    let parts = if flavor == Flavor::Podman { parts(reference) } else { Vec::new() };
    let exact = parts.into_iter().chain([registry]).find_map(|key| config.auths.get(key));
    let of_host = || {
        let mut whole = config.auths.iter().filter(|(k, _)| k.contains("://") || !k.contains('/'));
        whole.find(|(k, _)| host_of(k) == host_of(registry)).map(|(_, v)| v)
    };
    let Some(auth) = exact.or_else(of_host) else { return Ok(None) };
    Ok(from_file(registry, auth)?.map(|l| header(&l)))
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
            ("docker.io/library/debian:12", HUB),
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
        let hub = login_by(&config, Flavor::Docker, "debian:12").await.expect("a login").expect("there is one");
        assert_eq!(read(&hub), json!({"serveraddress": HUB, "username": "me", "password": "se:cret"}));
        let lab =
            login_by(&config, Flavor::Docker, "registry.lab:5000/a:1").await.expect("a login").expect("there is one");
        assert_eq!(read(&lab)["username"], "you");
        let token = login_by(&config, Flavor::Docker, "token.lab/a").await.expect("a login").expect("there is one");
        assert_eq!(read(&token)["identitytoken"], "abc");
        assert_eq!(login_by(&config, Flavor::Docker, "other.lab/a").await.expect("no error"), None);
    }

    #[tokio::test]
    async fn an_entry_without_a_login_is_none_and_one_may_be_in_plain_words() {
        let text = r#"{"auths":{"a.lab":{},"b.lab":{"username":"me","password":"pw"}}}"#;
        let config: ClientConfig = serde_json::from_str(text).expect("a configuration");
        assert_eq!(login_by(&config, Flavor::Docker, "a.lab/x").await.expect("no error"), None);
        let plain = login_by(&config, Flavor::Docker, "b.lab/x").await.expect("a login").expect("there is one");
        assert_eq!(read(&plain)["password"], "pw");
    }

    #[tokio::test]
    async fn podman_has_logins_for_parts_of_a_registry() {
        let text =
            r#"{"auths":{"r.lab:5000":{"auth":"YTp4"},"r.lab:5000/one":{"auth":"Yjp4"},"docker.io":{"auth":"Yzp4"}}}"#;
        let config: ClientConfig = serde_json::from_str(text).expect("a configuration");
        for (flavor, reference, user) in [
            (Flavor::Podman, "r.lab:5000/one/two:1", "b"),
            (Flavor::Podman, "r.lab:5000/two@sha256:00", "a"),
            (Flavor::Docker, "r.lab:5000/one/two:1", "a"),
            (Flavor::Podman, "debian", "c"),
        ] {
            let login = login_by(&config, flavor, reference).await.expect("a login").expect("there is one");
            assert_eq!(read(&login)["username"], user, "{reference}");
        }
    }

    #[test]
    fn podmans_own_files_come_before_dockers() {
        let set = |pairs: &'static [(&str, &str)]| {
            move |key: &str| pairs.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned())
        };
        let podman = DockerConfig { flavor: Flavor::Podman, ..DockerConfig::default() };
        let found = files(&podman, &set(&[("XDG_RUNTIME_DIR", "/run/user/7"), ("HOME", "/h")]));
        assert_eq!(found[0].to_str(), Some("/run/user/7/containers/auth.json"));
        assert_eq!(found[1].to_str(), Some("/h/.config/containers/auth.json"));
        assert_eq!(files(&podman, &set(&[("REGISTRY_AUTH_FILE", "/a.json")])), [PathBuf::from("/a.json")]);
        let own = podman.with_config("/c");
        assert_eq!(files(&own, &set(&[("REGISTRY_AUTH_FILE", "/a.json")])), [PathBuf::from("/c/config.json")]);
    }

    #[tokio::test]
    async fn a_login_that_is_none_is_told_without_its_text() {
        let config: ClientConfig = serde_json::from_str(r#"{"auths":{"r.lab":{"auth":"c2VjcmV0"}}}"#).expect("json");
        let e = login_by(&config, Flavor::Docker, "r.lab/a").await.expect_err("no colon");
        assert_eq!(e.kind(), ErrorKind::ConfigInvalid);
        assert!(!format!("{e:?}").contains("secret") && !format!("{e:?}").contains("c2VjcmV0"), "{e:?}");
    }

    #[tokio::test]
    async fn a_helper_that_is_not_there_is_named() {
        let config: ClientConfig = serde_json::from_str(r#"{"credsStore":"no-such-helper"}"#).expect("json");
        let e = login_by(&config, Flavor::Docker, "r.lab/a").await.expect_err("no helper");
        assert_eq!(e.kind(), ErrorKind::Unauthenticated);
        assert!(e.to_string().contains("docker-credential-no-such-helper"), "{e}");
    }
}
