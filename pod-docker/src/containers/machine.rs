//! What a container has of the machine that its daemon runs on, mounts and published ports, and whether the
//! daemon starts it again: in the daemon's words, and read back from them.

use crate::engine::{Engine, Kind, Version};
use pod_core::{
    Error, ErrorKind, LABEL_OWNER, Mount, MountSource, Protocol, PublishedPort, RestartPolicy, Result, VolumeName,
    WorkloadSpec,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;

/// The first version of the API whose read-only mounts are so with all that is mounted beneath: Docker 25.
const READ_ONLY_BENEATH: Version = Version(1, 44);
/// How often a path given to Podman goes upwards, from a folder at most so deep. Podman makes an absolute path that
/// is not there; a relative one it looks for, from the folder it runs in, and refuses.
const UPWARDS: usize = 64;
/// Who may write to a tmpfs: everybody, each their own, as `/tmp`.
const STICKY: u32 = 0o1777;

/// The ports of `HostConfig` and `NetworkSettings`: `80/tcp` and where it is published.
pub(crate) type Bindings = BTreeMap<String, Option<Vec<Binding>>>;

/// Where a port is published.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Binding {
    host_ip: String,
    host_port: String,
}

/// `RestartPolicy` of `HostConfig`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RawPolicy {
    name: String,
    maximum_retry_count: u32,
}

/// Something mounted, or asked to be (`Mounts`, and those of `HostConfig`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Mounted {
    #[serde(rename = "Type")]
    pub(super) of: String,
    name: String,
    source: String,
    destination: String,
    target: String,
    #[serde(rename = "RW")]
    writable: bool,
    tmpfs_options: Option<TmpfsOptions>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct TmpfsOptions {
    size_bytes: u64,
}

/// Puts what a specification asks for into the body of a creation and its `HostConfig`.
///
/// # Errors
/// `Unsupported` for a path that Podman takes apart, and a port that it publishes in vain.
pub(super) fn ask(
    engine: (Kind, Version),
    spec: &WorkloadSpec,
    owner: &str,
    body: &mut Map<String, Value>,
    host: &mut Map<String, Value>,
) -> Result<()> {
    if !spec.mounts.is_empty() {
        let mounts = spec.mounts.iter().map(|m| mount(engine, m, owner)).collect::<Result<Vec<_>>>()?;
        host.insert("Mounts".into(), mounts.into());
    }
    if !spec.ports.is_empty() {
        let mut bindings: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for port in &spec.ports {
            if engine.0 == Kind::Podman && port.address.is_ipv6() {
                // It would listen there, and lead nowhere.
                return Err(Error::unsupported("Podman publishes ports at IPv4 addresses only")
                    .with_context("port", port.to_string())
                    .with_hint("give an IPv4 address, such as 127.0.0.1 or 0.0.0.0"));
            }
            // None is any.
            let host_port = if port.host_port == 0 { String::new() } else { port.host_port.to_string() };
            let binding = json!({"HostIp": port.address.to_string(), "HostPort": host_port});
            bindings.entry(format!("{}/{}", port.port, port.protocol)).or_default().push(binding);
        }
        let exposed: Map<String, Value> = bindings.keys().map(|port| (port.clone(), json!({}))).collect();
        body.insert("ExposedPorts".into(), exposed.into());
        host.insert("PortBindings".into(), json!(bindings));
    }
    if !spec.restart.is_no() {
        let most = match spec.restart {
            RestartPolicy::OnFailure(Some(most)) => most.get(),
            _ => 0,
        };
        host.insert("RestartPolicy".into(), json!({"Name": spec.restart.word(), "MaximumRetryCount": most}));
    }
    Ok(())
}

/// A mount in the daemon's words (API, `Mount`).
fn mount((kind, version): (Kind, Version), mount: &Mount, owner: &str) -> Result<Value> {
    let mut value = json!({"Target": mount.at, "ReadOnly": mount.read_only});
    match &mount.source {
        MountSource::Host(path) => {
            value["Type"] = "bind".into();
            value["Source"] = match kind {
                Kind::Docker => path.clone(),
                Kind::Podman => format!("{}{}", "../".repeat(UPWARDS), path.trim_start_matches('/')),
            }
            .into();
            if mount.read_only && (kind == Kind::Podman || version < READ_ONLY_BENEATH) {
                // What is mounted beneath could be written to: it is left out.
                value["BindOptions"] = json!({"NonRecursive": true});
            }
        }
        MountSource::Volume(name) => {
            value["Type"] = "volume".into();
            value["Source"] = name.as_str().into();
            if kind == Kind::Docker {
                // Only of one that is made now; Podman's has no labels.
                value["VolumeOptions"] = json!({"Labels": {LABEL_OWNER: owner}});
            }
        }
        MountSource::Tmpfs(bytes) => {
            value["Type"] = "tmpfs".into();
            value["TmpfsOptions"] = json!({"SizeBytes": bytes, "Mode": STICKY});
        }
        other => return Err(Error::unsupported("Docker mounts no such thing").with_context("mount", other.to_string())),
    }
    // Podman makes a line of options of it, with commas between and quotes around.
    let apart = |text: Option<&str>| text.is_some_and(|t| t.contains([',', '"', '\n']));
    if kind == Kind::Podman && (apart(Some(&mount.at)) || apart(value["Source"].as_str())) {
        return Err(Error::unsupported("Podman takes no path with a comma, a quote or a line end")
            .with_context("mount", mount.to_string()));
    }
    Ok(value)
}

/// The error of a creation or start that failed, told as what it is when a path of the machine is missing or a
/// port of it is taken.
pub(crate) fn explained(engine: &Engine, spec: &WorkloadSpec, error: Error) -> Error {
    if error.kind() == ErrorKind::CommandFailed {
        return error;
    }
    let text = error.to_string();
    if error.kind() == ErrorKind::Conflict
        && let Some(port) = spec.ports.iter().find(|p| p.host_port != 0 && text.contains(&p.host().to_string()))
    {
        return Error::new(ErrorKind::Conflict, "a port of the daemon's machine is taken")
            .with_context("port", port.to_string())
            .with_context("daemon", engine.place())
            .with_context("workload", spec.name.as_str())
            .with_hint("publish at another, or at 0 for a free one")
            .with_source(error);
    }
    let host = spec.mounts.iter().find_map(|m| match &m.source {
        MountSource::Host(path) if is_missing(&text, path) => Some(path.clone()),
        _ => None,
    });
    match host {
        None => error,
        Some(path) => Error::new(ErrorKind::NotFound, "there is no such path on the machine of the daemon")
            .with_context("path", path)
            .with_context("daemon", engine.place())
            .with_context("workload", spec.name.as_str())
            .with_hint("make it first; paths are those of the machine that the daemon runs on")
            .with_source(error),
    }
}

/// Whether words say that there is no such path: Docker's, Podman's, or those of the program that starts
/// containers, each with its own quotes.
fn is_missing(words: &str, path: &str) -> bool {
    const QUOTES: [char; 3] = ['"', '\'', '`'];
    words.match_indices(path).any(|(at, _)| {
        let (before, behind) = (&words[..at], &words[at + path.len()..]);
        if before.ends_with("source path does not exist: ") {
            // What POD adds to an error's words begins so.
            return behind.is_empty() || behind.starts_with(" (");
        }
        let behind = behind.trim_start_matches(QUOTES).to_ascii_lowercase();
        let whole = before.trim_end_matches(QUOTES).ends_with(' ');
        whole && [": no such file or directory", ": not a directory"].iter().any(|why| behind.starts_with(why))
    })
}

/// The ports that are published, in order.
pub(super) fn published(bindings: &Bindings) -> Vec<PublishedPort> {
    let mut all = Vec::new();
    for (inside, places) in bindings {
        let (port, protocol) = inside.split_once('/').unwrap_or((inside, "tcp"));
        let (Ok(port), Ok(protocol)) = (port.parse(), protocol.parse::<Protocol>()) else { continue };
        for place in places.iter().flatten() {
            // None is all of IPv4, as Podman tells it.
            let any = || place.host_ip.is_empty().then_some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            let Some(address) = place.host_ip.parse().ok().or_else(any) else { continue };
            let host = SocketAddr::new(address, place.host_port.parse().unwrap_or(0));
            all.push(PublishedPort::new(port).with_host(host).with_protocol(protocol));
        }
    }
    all.sort_by_key(|p| (p.port, p.protocol, p.host()));
    all
}

/// The mounts of a container that POD did not make; `asked` has the sizes. A volume without a name of its own
/// and a tmpfs without a bound are none that POD could ask for.
pub(super) fn mounts(mounted: &[Mounted], asked: &[Mounted]) -> Vec<Mount> {
    let size = |at: &str| {
        let options = asked.iter().find(|a| a.target == at).and_then(|a| a.tmpfs_options.as_ref());
        options.map(|o| o.size_bytes).filter(|s| *s > 0)
    };
    let source = |m: &Mounted| match m.of.as_str() {
        "bind" => Some(MountSource::Host(m.source.clone())),
        "volume" => VolumeName::new(&m.name).ok().map(MountSource::Volume),
        "tmpfs" => size(&m.destination).map(MountSource::Tmpfs),
        _ => None,
    };
    let read = |m: &Mounted| {
        let source = source(m)?;
        let read_only = !m.writable && !matches!(source, MountSource::Tmpfs(_));
        Some(Mount::new(source, &m.destination).with_read_only(read_only))
    };
    let mut all: Vec<Mount> = mounted.iter().filter_map(read).collect();
    all.sort_by(|a, b| a.at.cmp(&b.at));
    all
}

impl RawPolicy {
    /// What POD calls it.
    pub(super) fn policy(&self) -> RestartPolicy {
        match self.name.as_str() {
            "always" => RestartPolicy::Always,
            "unless-stopped" => RestartPolicy::UnlessStopped,
            "on-failure" => RestartPolicy::OnFailure(NonZeroU32::new(self.maximum_retry_count)),
            _ => RestartPolicy::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pod_core::WorkloadName;

    const DOCKER: (Kind, Version) = (Kind::Docker, Version(1, 41));

    fn spec() -> WorkloadSpec {
        WorkloadSpec::new(WorkloadName::new("web").expect("a name"))
    }

    fn asked(engine: (Kind, Version), spec: &WorkloadSpec) -> (Value, Value) {
        let (mut body, mut host) = (Map::new(), Map::new());
        ask(engine, spec, "me.0", &mut body, &mut host).expect("a body");
        (body.into(), host.into())
    }

    fn host(path: &str) -> Mount {
        Mount::new(MountSource::Host(path.into()), "/data")
    }

    #[test]
    fn mounts_are_asked_for() {
        let volume = MountSource::Volume(VolumeName::new("data").expect("a name"));
        let spec = spec()
            .with_mount(host("/srv").with_read_only(true))
            .with_mount(Mount::new(volume, "/var/lib"))
            .with_mount(Mount::new(MountSource::Tmpfs(65536), "/tmp"));
        let (_, made) = asked(DOCKER, &spec);
        assert_eq!(
            made["Mounts"],
            json!([
                {"Type": "bind", "Source": "/srv", "Target": "/data", "ReadOnly": true,
                    "BindOptions": {"NonRecursive": true}},
                {"Type": "volume", "Source": "data", "Target": "/var/lib", "ReadOnly": false,
                    "VolumeOptions": {"Labels": {"pod.owner": "me.0"}}},
                {"Type": "tmpfs", "Target": "/tmp", "ReadOnly": false,
                    "TmpfsOptions": {"SizeBytes": 65536, "Mode": 1023}},
            ])
        );
        let (_, newer) = asked((Kind::Docker, READ_ONLY_BENEATH), &spec);
        assert_eq!(newer["Mounts"][0]["BindOptions"], Value::Null);
        let (_, podman) = asked((Kind::Podman, READ_ONLY_BENEATH), &spec);
        assert_eq!(podman["Mounts"][0]["BindOptions"], json!({"NonRecursive": true}));
        assert_eq!(podman["Mounts"][1]["VolumeOptions"], Value::Null);
        let source = podman["Mounts"][0]["Source"].as_str().expect("a path");
        assert!(source.starts_with("../../") && source.ends_with("../srv"), "{source}");
    }

    #[test]
    fn a_path_that_is_missing_is_read_from_words() {
        for words in [
            "invalid mount config for type \"bind\": bind source path does not exist: /srv/site",
            "invalid mount config for type \"bind\": stat /srv/site: not a directory",
            "statfs /srv/site: no such file or directory",
            "runc create failed: error mounting \"/srv/site\" to rootfs at \"/data\": stat /srv/site: no such file or directory",
            "crun: cannot stat `/srv/site`: No such file or directory",
        ] {
            assert!(is_missing(words, "/srv/site"), "{words}");
            for other in ["/data", "/srv", "/site", "/srv/site/more"] {
                assert!(!is_missing(words, other), "{other}: {words}");
            }
        }
    }

    #[test]
    fn podman_is_given_no_path_that_it_takes_for_options() {
        for path in ["/srv,readonly=false", "/srv\"", "/a\nb"] {
            let spec = spec().with_mount(host(path));
            let mut maps = (Map::new(), Map::new());
            let refused = ask((Kind::Podman, Version(1, 41)), &spec, "me.0", &mut maps.0, &mut maps.1);
            assert_eq!(refused.map_err(|e| e.kind()), Err(ErrorKind::Unsupported), "{path}");
            assert_eq!(asked(DOCKER, &spec).1["Mounts"][0]["Source"], path);
        }
    }

    #[test]
    fn ports_and_policies_are_asked_for_and_read_back() {
        let ports = ["80", "0.0.0.0:8080:80", "[::1]:53:53/udp"].map(|p| p.parse().expect("a port"));
        let policy = RestartPolicy::OnFailure(NonZeroU32::new(3));
        let spec = ports.iter().fold(spec(), |s, p| s.with_port(*p)).with_restart(policy);
        let (body, host) = asked(DOCKER, &spec);
        assert_eq!(body["ExposedPorts"], json!({"80/tcp": {}, "53/udp": {}}));
        assert_eq!(
            host["PortBindings"],
            json!({
                "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}, {"HostIp": "0.0.0.0", "HostPort": "8080"}],
                "53/udp": [{"HostIp": "::1", "HostPort": "53"}],
            })
        );
        assert_eq!(host["RestartPolicy"], json!({"Name": "on-failure", "MaximumRetryCount": 3}));
        let read: Bindings = serde_json::from_value(host["PortBindings"].clone()).expect("bindings");
        let told: Vec<_> = published(&read).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["[::1]:53:53/udp", "0.0.0.0:8080:80/tcp", "127.0.0.1:0:80/tcp"]);
        let read: RawPolicy = serde_json::from_value(host["RestartPolicy"].clone()).expect("a policy");
        assert_eq!(read.policy(), policy);
        assert_eq!(RawPolicy::default().policy(), RestartPolicy::No);
        let odd = json!({"80/tcp": null, "9/sctp": [{}], "81/tcp": [{"HostIp": "", "HostPort": "7"}]});
        let odd: Bindings = serde_json::from_value(odd).expect("bindings");
        assert_eq!(published(&odd), ["0.0.0.0:7:81".parse().expect("a port")]);
    }

    #[test]
    fn podman_is_given_no_port_that_leads_nowhere() {
        for (port, refused) in [("[::1]:53:53", true), ("[::]:53:53", true), ("0.0.0.0:53:53", false)] {
            let spec = spec().with_port(port.parse().expect("a port"));
            let mut maps = (Map::new(), Map::new());
            let done = ask((Kind::Podman, Version(1, 41)), &spec, "me.0", &mut maps.0, &mut maps.1);
            assert_eq!(done.map_err(|e| e.kind()).err(), refused.then_some(ErrorKind::Unsupported), "{port}");
        }
    }

    #[test]
    fn mounts_of_others_are_read() {
        let list = |value: Value| serde_json::from_value::<Vec<Mounted>>(value).expect("mounts");
        let anonymous = "0".repeat(64);
        let mounted = list(json!([
            {"Type": "bind", "Source": "/srv", "Destination": "/data", "RW": false},
            {"Type": "volume", "Name": "data", "Source": "/x", "Destination": "/a", "RW": true},
            {"Type": "volume", "Name": anonymous, "Destination": "/b", "RW": true},
            {"Type": "tmpfs", "Destination": "/m"},
            {"Type": "tmpfs", "Destination": "/n"},
        ]));
        let asked = list(json!([{"Type": "tmpfs", "Target": "/m", "TmpfsOptions": {"SizeBytes": 65536}}]));
        let told: Vec<_> = mounts(&mounted, &asked).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["data at /a", "/srv at /data, read-only", "tmpfs of 64.0 KiB at /m"]);
    }
}
