//! Finding the cluster: kubeconfig files and their contexts, or the service account of the pod that
//! this program runs in.

use crate::config::K8sConfig;
use crate::credentials;
use base64::Engine;
use kube::config::{KubeConfigOptions, Kubeconfig};
use pod_core::{Error, ErrorKind, IoResultExt, Result};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

/// How long a connection may take to be made, TLS included.
const CONNECT: Duration = Duration::from_secs(10);

/// A cluster as the configuration tells it, with credentials.
pub(crate) struct Found {
    /// What the client is made of.
    pub(crate) config: kube::Config,
    /// The context's name; `in-cluster` for a service account.
    pub(crate) context: String,
    /// When the credentials are over.
    pub(crate) expires: Option<jiff::Timestamp>,
    /// Whether reading it all again can give other credentials.
    pub(crate) renewable: bool,
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::ConfigInvalid, message)
}

/// The kubeconfig files to read, in their order; the first that says a thing counts.
fn files(config: &K8sConfig) -> Result<Option<Vec<PathBuf>>> {
    if let Some(path) = &config.kubeconfig {
        if !path.exists() {
            return Err(invalid("the kubeconfig does not exist")
                .with_context("path", path.display().to_string())
                .with_hint("give the path of a kubeconfig, or leave the option `kubeconfig` out"));
        }
        return Ok(Some(vec![path.clone()]));
    }
    if let Some(list) = std::env::var_os("KUBECONFIG").filter(|l| !l.is_empty()) {
        return of_list(&list).map(Some);
    }
    Ok(std::env::home_dir().map(|h| h.join(".kube/config")).filter(|p| p.exists()).map(|p| vec![p]))
}

/// The files of the list in KUBECONFIG. As kubectl does, one that is not there is passed over; not one at
/// all is an error.
fn of_list(list: &OsStr) -> Result<Vec<PathBuf>> {
    let there: Vec<_> = std::env::split_paths(list).filter(|p| !p.as_os_str().is_empty() && p.exists()).collect();
    if there.is_empty() {
        return Err(invalid("no kubeconfig of the list in KUBECONFIG exists")
            .with_context("KUBECONFIG", list.to_string_lossy())
            .with_hint("set KUBECONFIG to the path of a kubeconfig, or unset it"));
    }
    Ok(there)
}

fn read(paths: &[PathBuf]) -> Result<Kubeconfig> {
    let mut whole = Kubeconfig::default();
    for path in paths {
        let shown = path.display().to_string();
        // Read here first, so that a file that may not be read is told from one that is not understood.
        std::fs::metadata(path)
            .and_then(|_| std::fs::File::open(path))
            .doing(|| "read the kubeconfig")
            .map_err(|e| e.with_context("path", shown.clone()))?;
        let one = Kubeconfig::read_from(path).map_err(|e| {
            invalid("the kubeconfig is not understood").with_context("path", shown.clone()).with_source(e)
        })?;
        whole = whole
            .merge(one)
            .map_err(|e| invalid("the kubeconfigs don't go together").with_context("path", shown).with_source(e))?;
    }
    Ok(whole)
}

/// The contexts there are, for an error.
fn contexts(kubeconfig: &Kubeconfig) -> String {
    let names: Vec<_> = kubeconfig.contexts.iter().map(|c| c.name.as_str()).collect();
    if names.is_empty() { "there is none".to_owned() } else { format!("there are: {}", names.join(", ")) }
}

/// Chooses the context, and checks what it names.
fn choose(kubeconfig: &Kubeconfig, asked: Option<&str>) -> Result<String> {
    let name = match asked {
        Some(name) => name.to_owned(),
        None => kubeconfig.current_context.clone().filter(|n| !n.is_empty()).ok_or_else(|| {
            invalid("the kubeconfig has no current context")
                .with_hint(format!("name one, as in k8s://CONTEXT/; {}", contexts(kubeconfig)))
        })?,
    };
    let context = kubeconfig.contexts.iter().find(|c| c.name == name).and_then(|c| c.context.as_ref());
    let Some(context) = context else {
        return Err(invalid("the kubeconfig has no such context")
            .with_context("context", name)
            .with_hint(contexts(kubeconfig)));
    };
    if !kubeconfig.clusters.iter().any(|c| c.name == context.cluster && c.cluster.is_some()) {
        return Err(invalid("the context names a cluster that the kubeconfig does not have")
            .with_context("context", name)
            .with_context("cluster", context.cluster.clone()));
    }
    Ok(name)
}

/// Finds the cluster, and gets credentials for it.
pub(crate) async fn find(config: &K8sConfig) -> Result<Found> {
    let wanted = config.clone();
    let kubeconfig = tokio::task::spawn_blocking(move || files(&wanted)?.map(|paths| read(&paths)).transpose())
        .await
        .map_err(|e| Error::unexpected("a blocking task failed").with_source(e))??;
    let mut found = match kubeconfig {
        Some(kubeconfig) => from_kubeconfig(kubeconfig, config.context.as_deref()).await?,
        None => in_cluster(config)?,
    };
    found.config.connect_timeout = Some(CONNECT);
    found
        .config
        .headers
        .push((http::header::USER_AGENT, http::HeaderValue::from_static(concat!("pod/", env!("CARGO_PKG_VERSION")))));
    Ok(found)
}

async fn from_kubeconfig(kubeconfig: Kubeconfig, asked: Option<&str>) -> Result<Found> {
    let context = choose(&kubeconfig, asked)?;
    let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|e| invalid("the context can't be used").with_context("context", context.clone()).with_source(e))?;
    let auth = &mut config.auth_info;
    let mut expires = None;
    let mut renewable = auth.token_file.is_some();
    // A token or a password that is written there comes before a plugin, as with kubectl.
    if auth.token.is_none() && auth.token_file.is_none() && auth.username.is_none() {
        if let Some(exec) = auth.exec.take() {
            let credential = credentials::run(&exec).await.map_err(|e| e.with_context("context", context.clone()))?;
            auth.token = credential.token.map(Into::into);
            if let Some((cert, key)) = credential.identity {
                let engine = base64::engine::general_purpose::STANDARD;
                auth.client_certificate_data = Some(engine.encode(cert));
                auth.client_key_data = Some(engine.encode(key).into());
            }
            expires = credential.expires;
            renewable = true;
        }
    } else {
        auth.exec = None;
    }
    Ok(Found { config, context, expires, renewable })
}

fn in_cluster(config: &K8sConfig) -> Result<Found> {
    let none = || {
        invalid("there is no kubeconfig")
            .with_hint("set KUBECONFIG, write ~/.kube/config, or give its path as in k8s:?kubeconfig=PATH")
    };
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
        return Err(none());
    }
    if let Some(context) = &config.context {
        return Err(none().with_context("context", context.clone()));
    }
    let found =
        kube::Config::incluster().map_err(|e| invalid("this pod's service account can't be used").with_source(e))?;
    Ok(Found { config: found, context: "in-cluster".into(), expires: None, renewable: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(names: &[&str], current: Option<&str>) -> Kubeconfig {
        let mut text = String::from("apiVersion: v1\nkind: Config\n");
        text.push_str("clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n");
        text.push_str("users: [{name: u, user: {token: t}}]\ncontexts:\n");
        for name in names {
            text.push_str(&format!("- {{name: '{name}', context: {{cluster: c, user: u, namespace: shop}}}}\n"));
        }
        text.push_str("- {name: broken, context: {cluster: gone, user: u}}\n");
        if let Some(current) = current {
            text.push_str(&format!("current-context: '{current}'\n"));
        }
        Kubeconfig::from_yaml(&text).expect("a kubeconfig")
    }

    #[test]
    fn a_missing_context_is_told_with_those_there_are() {
        let names = ["lab", "arn:aws:eks:eu-west-1:1234:cluster/x", "default/api-host:6443/user"];
        let config = kubeconfig(&names, Some("lab"));
        assert_eq!(choose(&config, None).expect("the current"), "lab");
        for name in names {
            assert_eq!(choose(&config, Some(name)).expect(name), name);
        }
        let error = choose(&config, Some("other")).expect_err("an error");
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
        assert!(error.hint().is_some_and(|h| h.contains("lab") && h.contains("cluster/x")), "{error}");
        assert!(choose(&config, Some("broken")).is_err());
        assert!(choose(&kubeconfig(&names, None), None).is_err());
        assert!(choose(&kubeconfig(&names, Some("")), None).is_err());
    }

    #[test]
    fn a_list_of_files_may_name_some_that_are_not_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let paths = ["a", "missing", "b"].map(|name| dir.path().join(name));
        for there in [&paths[0], &paths[2]] {
            std::fs::write(there, "").expect("a file");
        }
        let list = std::env::join_paths(&paths).expect("a list");
        assert_eq!(of_list(&list).expect("two"), [paths[0].clone(), paths[2].clone()]);
        let error = of_list(paths[1].as_os_str()).expect_err("none is there");
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
        assert!(error.to_string().contains("missing") && error.hint().is_some(), "{error}");
    }

    #[tokio::test]
    async fn files_are_merged_and_the_first_counts() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |name: &str, server: &str, context: &str, current: bool| {
            let path = dir.path().join(name);
            let current = if current { format!("current-context: {context}\n") } else { String::new() };
            let text = format!(
                "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
                 users: [{{name: u, user: {{token: t}}}}]\n\
                 contexts: [{{name: {context}, context: {{cluster: c, user: u}}}}]\n{current}"
            );
            std::fs::write(&path, text).expect("a file");
            path
        };
        let first = write("a", "https://127.0.0.1:1", "one", false);
        let second = write("b", "https://127.0.0.1:2", "two", true);
        let whole = read(&[first, second]).expect("both");
        let found = from_kubeconfig(whole, None).await.expect("the current");
        assert_eq!(found.context, "two");
        assert_eq!(found.config.cluster_url.port_u16(), Some(1), "the first file's cluster counts");
        assert_eq!(found.config.default_namespace, "default");
        assert!(!found.renewable);
    }

    #[tokio::test]
    async fn a_plugin_is_run_once_and_its_end_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let count = dir.path().join("count");
        let script = format!(
            "echo run >>{}; printf '{{\"kind\":\"ExecCredential\",\"status\":{{\"token\":\"abc\",\
             \"expirationTimestamp\":\"2030-01-02T03:04:05Z\"}}}}'",
            count.display()
        );
        let mut config = kubeconfig(&["lab"], Some("lab"));
        let exec = serde_json::from_value(serde_json::json!({
            "command": "/bin/sh", "args": ["-c", script], "interactiveMode": "Never"
        }));
        let user = config.auth_infos[0].auth_info.as_mut().expect("a user");
        user.token = None;
        user.exec = Some(exec.expect("a plugin"));
        let found = from_kubeconfig(config, None).await.expect("a cluster");
        assert!(found.renewable && found.expires.is_some() && found.config.auth_info.token.is_some());
        assert!(kube::Client::try_from(found.config).is_ok());
        assert_eq!(std::fs::read_to_string(count).expect("the count"), "run\n");
    }

    #[tokio::test]
    async fn a_kubeconfig_that_is_none_is_named() {
        let config = K8sConfig::default().with_kubeconfig("/nonexistent/kubeconfig");
        let error = find(&config).await.map(drop).expect_err("an error");
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
        assert!(error.to_string().contains("/nonexistent/kubeconfig"), "{error}");
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("k");
        std::fs::write(&path, "clusters: 7\n").expect("a file");
        let error = find(&K8sConfig::default().with_kubeconfig(&path)).await.map(drop).expect_err("an error");
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
    }
}
