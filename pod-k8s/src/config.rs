//! How a `k8s:` backend is chosen: context, namespace, and what its options say.

use crate::nad::Plugin;
use pod_core::{Address, BackendUri, Error, ErrorKind, Image, Result, WorkloadName};
use std::path::PathBuf;
use std::time::Duration;

/// The scheme of this backend.
pub const SCHEMES: &[&str] = &["k8s"];

/// The options that an address may carry.
const OPTIONS: &[&str] = &[
    "context",
    "kubeconfig",
    "container",
    "helper",
    "image",
    "node",
    "owner",
    "plugin",
    "pull",
    "service_account",
    "wait",
];

/// How long a start may take unless the address says otherwise.
const WAIT: Duration = Duration::from_secs(300);

/// When the kubelet fetches an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pull {
    /// Each time.
    Always,
    /// When the node has none.
    Missing,
    /// Never: the node must have it.
    Never,
}

impl Pull {
    /// The word as Kubernetes has it (`imagePullPolicy`).
    #[must_use]
    pub fn as_policy(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::Missing => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// The configuration of a `k8s:` backend.
///
/// An address is `k8s:REST` for the current context and `k8s://CONTEXT/REST` for a named one, where
/// `REST` is `[NAMESPACE/][POD[/CONTAINER]]`. A namespace is always followed by a `/`, so that
/// `k8s:web` is a pod and `k8s:web/` a namespace. A context that holds a `/` is percent-encoded, or
/// given as the option `context`.
///
/// ```
/// let uri: pod_core::BackendUri = "k8s://lab/shop/?wait=30".parse()?;
/// let config = pod_k8s::K8sConfig::from_uri(&uri)?;
/// assert_eq!(config.context.as_deref(), Some("lab"));
/// assert_eq!(config.namespace.as_deref(), Some("shop"));
/// # Ok::<(), pod_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct K8sConfig {
    /// The kubeconfig's context; `None` is its current one. The authority, or option `context`.
    pub context: Option<String>,
    /// The namespace; `None` is the context's, else `default`.
    pub namespace: Option<String>,
    /// The kubeconfig to read; `None` is what `KUBECONFIG` lists, else `~/.kube/config`, else the
    /// service account of the pod this program runs in. Option `kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// The container that is meant in pods of several; `None` is the pod's own default (annotation
    /// `kubectl.kubernetes.io/default-container`), else its first. Option `container`, or the last
    /// part of an address.
    pub container: Option<String>,
    /// The image of a container that is put beside one without a shell, to copy by: an ephemeral container,
    /// which stays as long as its pod. It needs a POSIX shell and `tar`, or `cat`, `find` and `stat`. `None`
    /// copies by the container's own tools. Option `helper`.
    pub helper: Option<Image>,
    /// The image of workloads that name none. Option `image`.
    pub image: Option<Image>,
    /// The node on which workloads are made; `None` lets the scheduler choose. Option `node`.
    pub node: Option<String>,
    /// Whose things are made here, a label's value: 1 to 63 letters, digits, `-`, `_` and `.`. `None` is
    /// this machine's id and the user's number. `gc` touches only what this owner made. Option `owner`.
    pub owner: Option<String>,
    /// Which CNI plugin makes the attachments of networks with an uplink; macvlan unless told. Option
    /// `plugin`: `macvlan`, `ipvlan`, `vlan`, `bridge`, `sriov:RESOURCE`.
    pub plugin: Plugin,
    /// When images are fetched; `None` is Kubernetes' own rule: always for `:latest`, else when
    /// missing. Option `pull`: `always`, `missing`, `never`.
    pub pull: Option<Pull>,
    /// The service account of workloads, whose image pull secrets count too; its token is not
    /// mounted. `None` is the namespace's default. Option `service_account`.
    pub service_account: Option<String>,
    /// How long a workload may take to start, images fetched, 1 s to a day; 5 minutes unless told.
    /// Option `wait`, in seconds.
    pub wait: Duration,
}

impl Default for K8sConfig {
    fn default() -> Self {
        Self {
            context: None,
            namespace: None,
            kubeconfig: None,
            container: None,
            helper: None,
            image: None,
            node: None,
            owner: None,
            plugin: Plugin::default(),
            pull: None,
            service_account: None,
            wait: WAIT,
        }
    }
}

fn bad(uri: &BackendUri, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::ConfigInvalid, message).with_context("address", uri.to_string())
}

const FORMS: &str = "k8s:[NAMESPACE/][POD[/CONTAINER]] or k8s://CONTEXT/[NAMESPACE/][POD[/CONTAINER]]";

/// Checks a name as Kubernetes has it: RFC 1123 labels, joined by dots where `dots` says so.
fn check_name(what: &'static str, name: &str, dots: bool) -> Result<()> {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let good = name.len() <= 253 && if dots { name.split('.').all(label) } else { label(name) };
    if good {
        return Ok(());
    }
    Err(Error::invalid(format!("bad {what} name"))
        .with_context(what, format!("{name:?}"))
        .with_hint("1 to 63 of a-z, 0-9 and '-', the first and last a letter or digit (RFC 1123)"))
}

/// Checks a namespace's name (an RFC 1123 label).
pub(crate) fn check_namespace(name: &str) -> Result<()> {
    check_name("namespace", name, false)
}

/// Splits an address into the backend's and the pod's part.
pub(crate) fn split(address: BackendUri) -> Result<Address> {
    let parts: Vec<&str> = address.path().split('/').collect();
    let (namespace, pod, container) = match parts[..] {
        [pod] => (None, pod, None),
        [namespace, pod] => (Some(namespace), pod, None),
        [namespace, pod, container] => (Some(namespace), pod, Some(container)),
        _ => return Err(bad(&address, "the address has too many parts").with_hint(FORMS)),
    };
    if let Some(namespace) = namespace {
        if namespace.is_empty() {
            return Err(bad(&address, "the address names no namespace before '/'").with_hint(FORMS));
        }
        check_namespace(namespace)?;
    }
    if let Some(container) = container {
        if pod.is_empty() || container.is_empty() {
            return Err(bad(&address, "the address names no pod or no container").with_hint(FORMS));
        }
        check_name("container", container, false)?;
        if address.option("container").is_some_and(|c| c != container) {
            return Err(bad(&address, "the address names two containers"));
        }
    }
    let workload = if pod.is_empty() { None } else { Some(WorkloadName::new(pod)?) };
    let path = namespace.map(|n| format!("{n}/")).unwrap_or_default();
    let container = container.map(str::to_owned);
    let mut backend = address.with_path(path);
    if let Some(container) = container {
        backend = backend.with_option("container", container);
    }
    Ok(Address { backend, workload })
}

impl K8sConfig {
    /// Reads a backend's address; the environment is read when the cluster is reached.
    ///
    /// # Errors
    /// `ConfigInvalid` for an unknown option, one whose value is none, two contexts, or a path that
    /// names a pod.
    pub fn from_uri(uri: &BackendUri) -> Result<Self> {
        uri.check_options(OPTIONS)?;
        let address = split(uri.clone())?;
        if let Some(workload) = address.workload {
            return Err(bad(uri, "a backend's address names no pod")
                .with_context("pod", workload.as_str())
                .with_hint(format!("a namespace ends with a '/': k8s:{workload}/")));
        }
        let uri = &address.backend;
        let named = |key: &str| -> Result<Option<String>> {
            match uri.option(key) {
                Some("") => Err(bad(uri, format!("the option {key:?} is empty"))),
                other => Ok(other.map(str::to_owned)),
            }
        };
        let context = match (uri.authority(), named("context")?) {
            (Some(a), Some(o)) if a != o => {
                return Err(bad(uri, "the address names two contexts")
                    .with_hint("give the context before the path, or as the option `context`"));
            }
            (Some(a), _) => Some(a.to_owned()),
            (None, o) => o,
        };
        let checked = |key: &'static str, dots: bool| -> Result<Option<String>> {
            let value = named(key)?;
            if let Some(value) = &value {
                check_name(key, value, dots)
                    .map_err(|e| bad(uri, e.message().to_owned()).with_context("option", key))?;
            }
            Ok(value)
        };
        let owner = named("owner")?;
        if owner.as_deref().is_some_and(|o| !crate::owner::is_label_value(o)) {
            return Err(bad(uri, "the option \"owner\" is no label's value")
                .with_hint("1 to 63 letters, digits, '-', '_' and '.', the first and last a letter or digit"));
        }
        let plugin = match uri.option("plugin") {
            None => Plugin::default(),
            Some(text) => text.parse().map_err(|e: Error| e.with_context("address", uri.to_string()))?,
        };
        let pull = match uri.option("pull") {
            None => None,
            Some("always") => Some(Pull::Always),
            Some("missing") => Some(Pull::Missing),
            Some("never") => Some(Pull::Never),
            Some(_) => return Err(bad(uri, "the option \"pull\" is always, missing or never")),
        };
        let wait = match uri.option("wait") {
            None => WAIT,
            Some(text) => match text.parse::<u64>() {
                Ok(seconds @ 1..=86_400) => Duration::from_secs(seconds),
                _ => return Err(bad(uri, "the option \"wait\" is a number of seconds, 1 to 86400")),
            },
        };
        let helper = match named("helper")?.map(|text| text.parse::<Image>()) {
            None => None,
            Some(Ok(image @ Image::Reference(_))) => Some(image),
            Some(Ok(_)) => return Err(bad(uri, "the option \"helper\" is an image's reference")),
            Some(Err(e)) => return Err(bad(uri, e.message().to_owned())),
        };
        Ok(Self {
            context,
            namespace: uri.path().strip_suffix('/').map(str::to_owned),
            kubeconfig: named("kubeconfig")?.map(PathBuf::from),
            container: checked("container", false)?,
            helper,
            image: match named("image")? {
                Some(text) => Some(text.parse::<Image>().map_err(|e| bad(uri, e.message().to_owned()))?),
                None => None,
            },
            node: checked("node", true)?,
            owner,
            plugin,
            pull,
            service_account: checked("service_account", true)?,
            wait,
        })
    }

    /// Uses this context of the kubeconfig.
    #[must_use]
    pub fn with_context(mut self, context: impl Into<String>) -> Self {
        self.context = Some(context.into());
        self
    }

    /// Uses this namespace.
    #[must_use]
    pub fn with_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Reads this kubeconfig.
    #[must_use]
    pub fn with_kubeconfig(mut self, path: impl Into<PathBuf>) -> Self {
        self.kubeconfig = Some(path.into());
        self
    }

    /// Makes workloads on this node.
    #[must_use]
    pub fn with_node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }

    /// Marks what is made as this owner's.
    #[must_use]
    pub fn with_owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Makes the attachments of networks with an uplink by this plugin.
    #[must_use]
    pub fn with_plugin(mut self, plugin: Plugin) -> Self {
        self.plugin = plugin;
        self
    }

    /// Copies by a container of this image beside the one that is meant.
    #[must_use]
    pub fn with_helper(mut self, image: Image) -> Self {
        self.helper = Some(image);
        self
    }

    /// Takes this image for workloads that name none.
    #[must_use]
    pub fn with_image(mut self, image: Image) -> Self {
        self.image = Some(image);
        self
    }

    /// Lets a start take this long.
    #[must_use]
    pub fn with_wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// The address that leads here.
    pub(crate) fn uri(&self) -> Result<BackendUri> {
        let mut uri = BackendUri::new("k8s")?;
        if let Some(namespace) = &self.namespace {
            uri = uri.with_path(format!("{namespace}/"));
        }
        let kubeconfig = self.kubeconfig.as_ref().map(|k| k.display().to_string());
        let wait = (self.wait != WAIT).then(|| self.wait.as_secs().to_string());
        let pull = self.pull.map(|p| match p {
            Pull::Always => "always".to_owned(),
            Pull::Missing => "missing".to_owned(),
            Pull::Never => "never".to_owned(),
        });
        for (key, value) in [
            ("context", self.context.clone()),
            ("kubeconfig", kubeconfig),
            ("container", self.container.clone()),
            ("helper", self.helper.as_ref().map(ToString::to_string)),
            ("image", self.image.as_ref().map(ToString::to_string)),
            ("node", self.node.clone()),
            ("owner", self.owner.clone()),
            ("plugin", (self.plugin != Plugin::default()).then(|| self.plugin.to_string())),
            ("pull", pull),
            ("service_account", self.service_account.clone()),
            ("wait", wait),
        ] {
            if let Some(value) = value {
                uri = uri.with_option(key, value);
            }
        }
        Ok(uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address> {
        split(text.parse()?)
    }

    #[test]
    fn addresses_split_into_backend_and_pod() {
        for (text, backend, pod) in [
            ("k8s:", "k8s:", None),
            ("k8s:web", "k8s:", Some("web")),
            ("k8s:shop/", "k8s:shop/", None),
            ("k8s:shop/web", "k8s:shop/", Some("web")),
            ("k8s:shop/web/log", "k8s:shop/?container=log", Some("web")),
            ("k8s://lab", "k8s://lab", None),
            ("k8s://lab/web", "k8s://lab", Some("web")),
            ("k8s://lab/shop/", "k8s://lab/shop/", None),
            ("k8s://lab/shop/web/log", "k8s://lab/shop/?container=log", Some("web")),
            ("k8s:web?wait=5", "k8s:?wait=5", Some("web")),
        ] {
            let address = parse(text).expect(text);
            assert_eq!(address.backend.to_string(), backend, "{text}");
            assert_eq!(address.workload.as_ref().map(WorkloadName::as_str), pod, "{text}");
            let again = split(address.backend.clone()).expect(text);
            assert_eq!(again.backend, address.backend, "{text}");
        }
    }

    #[test]
    fn bad_addresses_are_refused() {
        for text in [
            "k8s:/web",
            "k8s:a/b/c/d",
            "k8s:a//c",
            "k8s:a/b/",
            "k8s:Shop/web",
            "k8s:a_b/web",
            "k8s:shop/we b",
            "k8s:shop/web/log?container=other",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn contexts_of_eks_and_openshift_name_them() {
        for (text, context) in [
            ("k8s://arn:aws:eks:eu-west-1:1234:cluster%2Fx/shop/", "arn:aws:eks:eu-west-1:1234:cluster/x"),
            ("k8s:shop/?context=arn:aws:eks:eu-west-1:1234:cluster/x", "arn:aws:eks:eu-west-1:1234:cluster/x"),
            ("k8s://default%2Fapi-host:6443%2Fuser/shop/", "default/api-host:6443/user"),
            ("k8s:shop/?context=default/api-host:6443/user", "default/api-host:6443/user"),
            ("k8s://kubernetes-admin@kubernetes/shop/", "kubernetes-admin@kubernetes"),
            ("k8s://a%3Ab%40c/shop/", "a:b@c"),
        ] {
            let uri: BackendUri = text.parse().expect(text);
            let config = K8sConfig::from_uri(&uri).expect(text);
            assert_eq!(config.context.as_deref(), Some(context), "{text}");
            assert_eq!(config.namespace.as_deref(), Some("shop"), "{text}");
            let again: BackendUri = uri.to_string().parse().expect(text);
            assert_eq!(K8sConfig::from_uri(&again).expect(text), config, "{text} prints as {uri}");
            let own = config.uri().expect(text);
            let own: BackendUri = own.to_string().parse().expect(text);
            assert_eq!(K8sConfig::from_uri(&own).expect(text), config, "{text} is {own}");
        }
    }

    #[test]
    fn options_are_read_and_checked() {
        let uri: BackendUri =
            "k8s:?node=node1&image=pod.test/busybox:1&pull=never&wait=7&kubeconfig=/k".parse().expect("uri");
        let config = K8sConfig::from_uri(&uri).expect("config");
        assert_eq!(config.node.as_deref(), Some("node1"));
        assert_eq!(config.pull, Some(Pull::Never));
        assert_eq!(config.wait, Duration::from_secs(7));
        assert_eq!(config.image.as_ref().map(ToString::to_string).as_deref(), Some("pod.test/busybox:1"));
        assert_eq!(config.kubeconfig.as_deref(), Some(std::path::Path::new("/k")));
        for bad in [
            "k8s:?nod=x",
            "k8s:?wait=0",
            "k8s:?wait=soon",
            "k8s:?plugin=fabric",
            "k8s:?pull=sometimes",
            "k8s:?node=",
            "k8s:?node=A",
            "k8s:?owner=a%20b",
            "k8s:?image=a%20b",
            "k8s://a/?context=b",
            "k8s:pod",
        ] {
            let uri: BackendUri = bad.parse().expect(bad);
            assert_eq!(K8sConfig::from_uri(&uri).map_err(|e| e.kind()), Err(ErrorKind::ConfigInvalid), "{bad}");
        }
    }
}
