//! From a workload's specification to a container.

use super::{Inspected, by_id, kept, machine, remove};
use crate::engine::failure::Failure;
use crate::engine::{Engine, Kind, Query, Version, part};
use crate::errors;
use crate::images::{self, Program};
use crate::libpod::{self, Libpod};
use crate::networking::{Joining, MAC_EACH, Place};
use crate::operation::Operation;
use crate::owner::{KEPT, SPEC};
use pod_core::{CreateRequest, Error, ErrorKind, LABEL_OWNER, Limits, Result, WorkloadName, WorkloadSpec};
use serde::Deserialize;
use serde_json::{Map, Value, json};

fn limits(limits: &Limits, host: &mut Map<String, Value>) {
    if let Some(cpus) = limits.cpus {
        // In billionths, never more than was asked for; the range was checked.
        #[expect(clippy::cast_possible_truncation, reason = "at most 4096e9")]
        let nano = (cpus * 1e9).floor() as i64;
        host.insert("NanoCpus".into(), nano.into());
    }
    if let Some(memory) = limits.memory {
        host.insert("Memory".into(), memory.into());
        // No swap beyond it: what is limited is what is used.
        host.insert("MemorySwap".into(), memory.into());
    }
    if let Some(pids) = limits.pids {
        host.insert("PidsLimit".into(), pids.into());
    }
}

/// What of a daemon decides how a container is asked for.
type Daemon<'a> = (Kind, Version, Option<&'a Libpod>);

/// On how many of its networks a container is made: before version 1.44 the API takes one.
fn made_on(version: Version, places: &[Place]) -> usize {
    places.len().min(if version < MAC_EACH { 1 } else { usize::MAX })
}

/// The body of `POST /containers/create`.
fn body(
    (kind, version, libpod): Daemon<'_>,
    spec: &WorkloadSpec,
    image: &str,
    owner: &str,
    operation: Option<&Operation>,
    places: &[Place],
    program: Option<&Program>,
) -> Result<Value> {
    let mut asked = spec.clone();
    // What the labels hold is not held twice.
    asked.labels.clear();
    let asked = serde_json::to_string(&asked)
        .map_err(|e| Error::unexpected("the specification can't be written down").with_source(e))?;
    let mut labels = spec.labels.clone();
    labels.insert(LABEL_OWNER.into(), owner.to_owned());
    labels.insert(SPEC.into(), asked);
    if let Some(operation) = operation {
        labels.extend(operation.labels()?);
    }
    let (mut more, mut host) = (Map::new(), Map::new());
    limits(&spec.limits, &mut host);
    machine::ask((kind, version), spec, owner, &mut more, &mut host)?;
    if !spec.hosts.is_empty() {
        let hosts: Vec<String> = spec.hosts.iter().map(|(name, ip)| format!("{name}:{ip}")).collect();
        host.insert("ExtraHosts".into(), json!(hosts));
    }
    host.insert("LogConfig".into(), json!({"Type": kind.log_driver()}));
    let ends = match (libpod, places) {
        (Some(libpod), _) => Some(libpod.made_with(spec, &mut host)),
        (None, [first, ..]) => {
            host.insert("NetworkMode".into(), first.network.as_str().into());
            let with_it = places[..made_on(version, places)].iter();
            let ends: Map<String, Value> = with_it.map(|p| (p.network.to_string(), p.settings())).collect();
            Some(json!({"EndpointsConfig": ends}))
        }
        (None, []) => None,
    };
    let env: Vec<String> = spec.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let mut body = json!({
        "Image": image,
        "Hostname": spec.name.as_str(),
        "Env": env,
        "Labels": labels,
        "Tty": spec.tty,
        "OpenStdin": spec.stdin,
        // Without this the end of its input can't be told; a terminal's is typed.
        "StdinOnce": spec.stdin && !spec.tty,
        "HostConfig": host,
    });
    if let Some(ends) = ends {
        body["NetworkingConfig"] = ends;
    }
    for (key, value) in more {
        body[key.as_str()] = value;
    }
    if !spec.command.is_empty() {
        body["Cmd"] = json!(spec.command);
    }
    if let Some(program) = program {
        let (entrypoint, command) = kept::entrypoint(&spec.command, program)?;
        body["Entrypoint"] = json!(entrypoint);
        body["Cmd"] = json!(command);
        body["StopSignal"] = format!("SIG{}", kept::END).into();
        body["Labels"][KEPT] = "true".into();
    }
    if let Some(cwd) = &spec.cwd {
        body["WorkingDir"] = json!(cwd);
    }
    if let Some(user) = &spec.user {
        body["User"] = json!(user);
    }
    Ok(body)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

fn taken(name: &WorkloadName, error: Error) -> Error {
    if error.kind() != ErrorKind::AlreadyExists {
        return error;
    }
    exists(name)
}

/// The error for a name that another workload has.
pub(crate) fn exists(name: &WorkloadName) -> Error {
    Error::new(ErrorKind::AlreadyExists, "a workload of that name exists")
        .with_context("workload", name.as_str())
        .with_hint(format!("choose another name, or remove it: `pod rm {name}`"))
}

/// The error of a start, which says by its code when the program could not be run.
pub(crate) fn start_error(engine: &Engine, name: &WorkloadName, failure: Failure) -> Error {
    if let Some(words) = failure.words()
        && let Some(code) = errors::not_run(words)
    {
        let message = if code == 127 { "there is no such program" } else { "the program can't be executed" };
        return Error::new(ErrorKind::CommandFailed, message)
            .with_context("answer", words.to_owned())
            .with_context("workload", name.as_str())
            .with_exit_code(code);
    }
    libpod::explained(engine, failure).with_context("workload", name.as_str())
}

/// Makes a container of an image that the daemon has, on its networks, and starts it when asked to. A failure
/// leaves nothing.
pub(crate) async fn create(
    engine: &Engine,
    request: &CreateRequest,
    image: &str,
    owner: &str,
    joining: Joining,
) -> Result<Inspected> {
    let spec = &request.spec;
    let daemon = (engine.kind, engine.version, engine.libpod.as_ref());
    let program = match spec.keep_alive {
        true => Some(images::program(engine, image).await?),
        false => None,
    };
    // Until it is whole: what was made to be started and never was is otherwise left behind.
    let operation = request.start.then(|| Operation::begin("create"));
    let body = body(daemon, spec, image, owner, operation.as_ref(), &joining.places, program.as_ref())?;
    let query = Query::new().with("name", spec.name.as_str());
    let created: Created = engine.post_json("/containers/create", query, &body).await.map_err(|f| {
        let missing = images::is_missing(&f);
        let error = machine::explained(engine, spec, taken(&spec.name, engine.error(f)));
        if missing { error.with_context("image", image.to_owned()) } else { error }
    })?;
    for warning in created.warnings.iter().flatten() {
        tracing::info!(workload = %spec.name, warning, "the daemon warns");
    }
    let done = finish(engine, spec, &created.id, request.start, joining).await;
    match done.map_err(|e| machine::explained(engine, spec, e)) {
        Ok(found) => Ok(found),
        Err(error) => Err(match remove(engine, &created.id, true).await {
            Ok(_) => error,
            Err(left) => error.with_context("left_behind", engine.error(left).to_string()),
        }),
    }
}

async fn finish(engine: &Engine, spec: &WorkloadSpec, id: &str, start: bool, joining: Joining) -> Result<Inspected> {
    if spec.keep_alive {
        kept::prepare(engine, id).await?;
    }
    if engine.libpod.is_some() {
        if spec.ports.is_empty() || !joining.places.is_empty() {
            libpod::settle(engine, id, &joining.places, start).await?;
        }
        drop(joining);
        return shown(engine, spec, id, start).await;
    }
    // All are to be there before its command.
    for place in &joining.places[made_on(engine.version, &joining.places)..] {
        let body = json!({"Container": id, "EndpointConfig": place.settings()});
        let path = format!("/networks/{}/connect", part(place.network.as_str()));
        let about = |f| engine.error(f).with_context("network", place.network.as_str());
        engine.post_body(&path, &body).await.map_err(about)?;
    }
    // From here on the daemon knows of their addresses.
    drop(joining);
    shown(engine, spec, id, start).await
}

/// Starts a container that was just made, when asked to, and gives what it is then.
async fn shown(engine: &Engine, spec: &WorkloadSpec, id: &str, start: bool) -> Result<Inspected> {
    let name = &spec.name;
    if start && spec.keep_alive {
        kept::start(engine, id, name).await?;
    } else if start {
        super::start(engine, id).await.map_err(|f| start_error(engine, name, f))?;
    }
    match by_id(engine, id).await {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(super::missing(name).with_context("cause", "it was removed while it was made")),
        Err(f) => Err(engine.error(f)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation;

    const DOCKER: Daemon<'_> = (Kind::Docker, Version(1, 41), None);

    fn spec() -> WorkloadSpec {
        WorkloadSpec::new(WorkloadName::new("web").expect("a name"))
    }

    #[test]
    fn a_specification_becomes_a_container() {
        let mut spec = spec()
            .with_port("8080:80".parse().expect("a port"))
            .with_command(["sleep", "a b"])
            .with_env("A", "b=c")
            .with_cwd("/srv")
            .with_user("7:8")
            .with_label("app", "web")
            .with_limits(Limits::default().with_cpus(0.5).with_memory(32 << 20).with_pids(20));
        spec.hosts.insert("db".into(), "fd00::1".parse().expect("an address"));
        let made =
            body(DOCKER, &spec, "debian:12", "me.0", Some(&Operation::begin("create")), &[], None).expect("a body");
        assert_eq!(made["Cmd"], json!(["sleep", "a b"]));
        assert_eq!(made["Env"], json!(["A=b=c"]));
        assert_eq!((&made["WorkingDir"], &made["User"]), (&json!("/srv"), &json!("7:8")));
        let host = &made["HostConfig"];
        assert_eq!((&host["NanoCpus"], &host["Memory"]), (&json!(500_000_000), &json!(33_554_432)));
        assert_eq!((&host["MemorySwap"], &host["PidsLimit"]), (&json!(33_554_432), &json!(20)));
        assert_eq!(host["ExtraHosts"], json!(["db:fd00::1"]));
        assert_eq!(host["LogConfig"]["Type"], "local");
        assert_eq!((&made["OpenStdin"], &made["StdinOnce"]), (&json!(false), &json!(false)));
        assert_eq!((&made["ExposedPorts"], host["PortBindings"].is_object()), (&json!({"80/tcp": {}}), true));
        let labels = &made["Labels"];
        assert_eq!((&labels["app"], &labels["pod.owner"]), (&json!("web"), &json!("me.0")));
        assert!(operation::LABELS.iter().filter(|l| **l != "pod.maker").all(|l| labels[*l].is_string()));
    }

    #[test]
    fn a_container_is_made_on_as_many_of_its_networks_as_the_api_takes() {
        let place = |n: u8| Place {
            network: format!("net{n}").parse().expect("a name"),
            ip: std::net::Ipv4Addr::new(10, 1, n, 3),
            free: false,
            mac: Some("02:5e:10:00:00:77".parse().expect("a MAC address")),
            interface: None,
            named: false,
        };
        let places = [place(2), place(1)];
        for (version, on) in [(Version(1, 43), &["net2"][..]), (Version(1, 44), &["net1", "net2"])] {
            let made = body((Kind::Docker, version, None), &spec(), "a", "me.0", None, &places, None).expect("a body");
            assert_eq!(made["HostConfig"]["NetworkMode"], "net2");
            let ends = made["NetworkingConfig"]["EndpointsConfig"].as_object().expect("ends");
            assert_eq!(ends.keys().collect::<Vec<_>>(), on);
            assert_eq!(ends["net2"]["MacAddress"], "02:5e:10:00:00:77");
        }
    }

    #[test]
    fn the_end_of_a_stdin_can_be_told_and_a_terminals_is_typed() {
        for (tty, once) in [(false, true), (true, false)] {
            let made = body(DOCKER, &spec().with_stdin(true).with_tty(tty), "a", "me.0", None, &[], None);
            let made = made.expect("a body");
            assert_eq!((&made["OpenStdin"], &made["StdinOnce"]), (&json!(true), &json!(once)));
        }
    }

    #[test]
    fn what_outlives_its_command_is_a_script_that_runs_it_as_the_image_would() {
        let program = Program { entrypoint: vec!["/entry".into()], cmd: vec!["serve".into()] };
        let made = |spec: &WorkloadSpec, program: &Program| body(DOCKER, spec, "a", "me.0", None, &[], Some(program));
        let own = made(&spec().with_keep_alive(true), &program).expect("a body");
        assert_eq!((&own["Entrypoint"][0], &own["Cmd"]), (&json!("/bin/sh"), &json!(["serve"])));
        assert_eq!(own["Entrypoint"].as_array().and_then(|a| a.last()), Some(&json!("/entry")));
        assert_eq!((&own["StopSignal"], &own["Labels"][KEPT]), (&json!("SIGPWR"), &json!("true")));
        let asked = made(&spec().with_keep_alive(true).with_command(["a", "b"]), &program).expect("a body");
        assert_eq!(asked["Cmd"], json!(["a", "b"]));
        let none = made(&spec().with_keep_alive(true), &Program::default());
        assert_eq!(none.map_err(|e| e.kind()), Err(ErrorKind::InvalidInput));
    }

    #[test]
    fn what_is_not_asked_for_is_the_images() {
        let made = body(DOCKER, &spec(), "a", "me.0", None, &[], None).expect("a body");
        for left_out in ["Cmd", "WorkingDir", "User"] {
            assert_eq!(made[left_out], Value::Null, "{left_out}");
        }
        assert_eq!(made["HostConfig"], json!({"LogConfig": {"Type": "local"}}));
        assert!(operation::LABELS.iter().all(|l| made["Labels"][*l].is_null()));
    }
}
