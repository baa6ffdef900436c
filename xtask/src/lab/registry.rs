//! A registry of images, Debian's, that gives and takes nothing without a login. It proves itself by a
//! certificate of the lab's own authority, which each engine is told to trust for it.

use super::certificates::{self, Subject};
use super::network;
use super::parts::Part;
use super::process::{Place, Program, get};
use super::site::{Lab, REGISTRY, make, write};
use std::net::Ipv4Addr;
use std::path::Path;

/// The name of the part.
pub(super) const NAME: &str = "registry";

const PORT: u16 = 5000;

/// Where it says of itself that it runs.
const HEALTH: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 5001);

/// Its one user.
pub(super) const LOGIN: &str = "lab:no-secret";

/// htpasswd(1) of that login: `perl -e 'print crypt("no-secret", "\$2b\$05\$pod.test.registry.lab..")'`.
const USERS: &str = "lab:$2b$05$pod.test.registry.lab.sjx0oLZhrUiayhYkxNno5S8PY/jq5Ie\n";

/// The name of its certificate's files.
const CERTIFICATE: &str = "registry";

/// The host and port by which images of it are called.
pub(super) fn address() -> String {
    format!("{REGISTRY}:{PORT}")
}

/// Tells an engine whose certificates to believe the registry: below `/etc/docker`, where Podman looks, too
/// (containers-certs.d(5)).
pub(super) fn trust(lab: &Lab, settings: &Path) -> Result<(), String> {
    let folder = settings.join("certs.d").join(address());
    make(&folder)?;
    let (from, to) = (certificates::file(lab, "ca.crt"), folder.join("ca.crt"));
    std::fs::copy(&from, &to).map(drop).map_err(|e| format!("{}: {e}", to.display()))
}

/// The registry.
#[derive(Debug)]
pub(super) struct Registry;

impl Part for Registry {
    fn name(&self) -> String {
        NAME.into()
    }

    fn needs(&self) -> Vec<String> {
        vec![network::NAME.into(), certificates::NAME.into()]
    }

    fn prepare(&self, lab: &Lab) -> Result<(), String> {
        let certificate = certificates::file(lab, &format!("{CERTIFICATE}.crt"));
        if !Path::new(&certificate).exists() {
            let mut subject = Subject::user(CERTIFICATE, NAME, &[]);
            subject.hosts = vec![format!("IP:{REGISTRY}")];
            certificates::give(lab, &subject)?;
        }
        make(&lab.path("registry/data"))?;
        write(&lab.path("registry/users"), USERS)?;
        let configuration = serde_json::json!({
            "version": 0.1,
            "log": { "level": "warn" },
            "storage": { "filesystem": { "rootdirectory": lab.path("registry/data") } },
            "auth": { "htpasswd": { "realm": "lab", "path": lab.path("registry/users") } },
            "http": {
                "addr": address(),
                "secret": "one process",
                "tls": {
                    "certificate": certificate,
                    "key": certificates::file(lab, &format!("{CERTIFICATE}.key")),
                },
                "debug": { "addr": format!("{}:{}", HEALTH.0, HEALTH.1) },
            },
        });
        // JSON is YAML.
        write(&lab.path("registry/config.yml"), &format!("{configuration:#}\n"))
    }

    fn program(&self, lab: &Lab) -> Result<Option<Program>, String> {
        let place = Place { netns: lab.netns(), mounts_of: None };
        let configuration = lab.path("registry/config.yml").display().to_string();
        let words = ["docker-registry", "serve", &configuration].map(str::to_owned);
        Ok(Some(Program { place, words: words.to_vec() }))
    }

    fn ready(&self, lab: &Lab) -> Result<(), String> {
        let place = Place { netns: lab.netns(), mounts_of: None };
        get(&place, &format!("http://{}:{}/debug/health", HEALTH.0, HEALTH.1)).map(drop)
    }
}
