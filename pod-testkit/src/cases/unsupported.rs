//! What a backend says it lacks, it refuses when asked.

use super::copy_files::with_content;
use super::network::{SUBNET, vlan};
use crate::case::{address, ensure, expect_error};
use crate::{Case, Failure, Lab, Outcome};
use pod_core::copy::{CopyInRequest, CopyOutRequest, CopySource, Verify};
use pod_core::{
    AttachMode, AttachNetworkRequest, AttachRequest, AttachmentSpec, Capability, Error, ErrorKind, EventsRequest,
    ExecRequest, ForwardRequest, IsolateRequest, Limits, LogsRequest, Mount, MountSource, NetworkIntent, NetworkSpec,
    PolicySpec, ProbeRequest, PublishedPort, RestartPolicy, Result, Route, Signal, StartRequest, TtySize,
    VerifyRequest, WorkloadSpec,
};
use std::fmt::Debug;

/// Lists capabilities with what they need besides and how they are asked for.
macro_rules! asks {
    ($($capability:ident $path:literal [$($need:ident),*] $ask:ident $(($argument:expr))?;)*) => {
        /// A case for each capability that can be asked for.
        #[must_use]
        pub fn cases() -> Vec<(Capability, Case)> {
            vec![$((
                Capability::$capability,
                Case::new(concat!("unsupported::", $path), &[$(Capability::$need),*], |lab| {
                    Box::pin(async move {
                        let answer = $ask(lab $(, $argument)?).await?;
                        refused(lab, Capability::$capability, answer)
                    })
                }),
            ),)*]
        }
    };
}

asks! {
    Create "lifecycle.create" [] create(|s| s);
    StartStop "lifecycle.start_stop" [] start;
    Logs "lifecycle.logs" [] logs(|r| r);
    LogsFollow "lifecycle.logs_follow" [Logs] logs(|r| r.with_follow(true));
    LogTimestamps "lifecycle.log_timestamps" [Logs] logs(|r| r.with_since(Some(jiff::Timestamp::now())));
    Events "lifecycle.events" [] events;
    AttachStdio "lifecycle.attach" [] attach;
    Tty "lifecycle.tty" [Create] create(|s| s.with_tty(true));
    Env "lifecycle.env" [Create] create(|s| s.with_env("A", "b"));
    Cwd "lifecycle.cwd" [Create] create(|s| s.with_cwd("/"));
    User "lifecycle.user" [Create] create(|s| s.with_user("0"));
    Labels "lifecycle.labels" [Create] create(|s| s.with_label("a", "b"));
    KeepAlive "lifecycle.keep_alive" [Create] create(|s| s.with_keep_alive(true));
    LimitCpu "lifecycle.limit_cpu" [Create] create(|s| s.with_limits(Limits::default().with_cpus(1.0)));
    LimitMemory "lifecycle.limit_memory" [Create] create(|s| s.with_limits(Limits::default().with_memory(1 << 30)));
    LimitPids "lifecycle.limit_pids" [Create] create(|s| s.with_limits(Limits::default().with_pids(100)));
    Mounts "lifecycle.mounts" [Create] create(|s| s.with_mount(Mount::new(MountSource::Tmpfs(1 << 20), "/pod-testkit")));
    Ports "lifecycle.ports" [Create] create(|s| s.with_port(PublishedPort::new(7401)));
    PortsOnNetworks "lifecycle.ports_on_networks" [Create, Networks, Ports] attached_with_a_port;
    Restart "lifecycle.restart" [Create] create(|s| s.with_restart(RestartPolicy::Always));
    Exec "exec.run" [Create] exec(|r| r);
    ExecStdin "exec.stdin" [Create, Exec] exec(ExecRequest::with_stdin);
    ExecTty "exec.tty" [Create, Exec] exec(|r| r.with_tty(TtySize::default()));
    ExecUser "exec.user" [Create, Exec] exec(|r| r.with_user("0"));
    ExecCwd "exec.cwd" [Create, Exec] exec(|r| r.with_cwd("/"));
    ExecEnv "exec.env" [Create, Exec] exec(|r| r.with_env("A", "b"));
    ExecBytes "exec.bytes" [Create, Exec] exec(|_| ExecRequest::new([b"echo".to_vec(), vec![0xff]]));
    ExecResize "exec.resize" [Create, Exec, ExecTty] resize;
    ExecSignal "exec.signal" [Create, Exec] signal;
    ExecKill "exec.kill" [Create, Exec] kill;
    ExecForward "exec.forward" [Create] forward;
    CopyIn "copy.in" [Create] copy_in(|r| r);
    CopyOut "copy.out" [Create] copy_out;
    CopyOwners "copy.owners" [Create, CopyIn] copy_in(|r| r.with_archive(true));
    CopyHash "copy.hash" [Create, CopyIn] copy_in(|r| r.with_verify(Verify::Hash));
    CopyResume "copy.resume" [Create, CopyIn] copy_in(|r| r.with_resume(true));
    Networks "network.networks" [] networks;
    VlanAccess "network.vlan_access" [Networks] network(|n| Ok(n.with_vlan(vlan(101)?)));
    Uplink "network.uplink" [Networks, VlanAccess] network(|n| Ok(n.with_vlan(vlan(101)?).with_uplink("uplink0".parse()?)));
    Ipv6 "network.ipv6" [Networks] network(|n| Ok(n.with_subnet("fd42::/64".parse().map_err(|_| Failure::new("net"))?)));
    Mtu "network.mtu" [Networks] network(|n| Ok(n.with_mtu(1400)));
    Unaddressed "network.unaddressed" [Networks] network(|n| { let mut n = n; n.subnets.clear(); Ok(n) });
    HotAttach "network.hot_attach" [Create, Networks] attachment(Ok);
    VlanTrunk "network.vlan_trunk" [Create, Networks, HotAttach] attachment(|a| Ok(a.with_mode(AttachMode::Trunk(vec![vlan(101)?]))));
    FixedIp "network.fixed_ip" [Create, Networks, HotAttach] attachment(|a| Ok(a.with_ip(address("10.231.0.9")?)));
    FixedMac "network.fixed_mac" [Create, Networks, HotAttach] attachment(|a| Ok(a.with_mac("02:00:00:00:00:09".parse()?)));
    AttachmentMtu "network.attachment_mtu" [Create, Networks, HotAttach] attachment(|a| Ok(a.with_mtu(1400)));
    InterfaceName "network.interface_name" [Create, Networks, HotAttach] attachment(|a| Ok(a.with_interface("lan0".parse()?)));
    Routes "network.routes" [Create, Networks, HotAttach] attachment(|a| Ok(a.with_route(Route { to: "10.9.0.0/16".parse().map_err(|_| Failure::new("net"))?, via: None })));
    Dns "network.dns" [Create, Networks, HotAttach] attachment(|a| Ok(a.with_dns(address("10.231.0.53")?)));
    Plan "network.plan" [Networks] plan;
    Isolate "network.isolate" [Networks] isolate;
    Policy "network.policy" [Networks] policy;
    Probe "network.probe" [Networks] probe;
    Verify "network.verify" [Networks] verify;
}

/// What a request was answered with: `None` when it was done.
type Answer = Option<Error>;

fn answer<T: Debug>(result: Result<T>) -> Answer {
    result.err()
}

fn refused(lab: &Lab, capability: Capability, answer: Answer) -> Outcome {
    let result = answer.map_or(Ok("what was asked for"), Err);
    let e = expect_error(result, ErrorKind::Unsupported, capability.path())?;
    ensure!(!lab.has(capability), "the backend says that it has {capability}, and answers: {e}");
    Ok(())
}

async fn create(lab: &Lab, change: fn(WorkloadSpec) -> WorkloadSpec) -> Result<Answer, Failure> {
    Ok(answer(lab.made(change(lab.spec()?)).await))
}

async fn attached_with_a_port(lab: &Lab) -> Result<Answer, Failure> {
    let network = lab.network(None, SUBNET).await?.spec.name;
    let spec = lab.spec()?.with_attachment(AttachmentSpec::new(network)).with_port(PublishedPort::new(7401));
    Ok(answer(lab.made(spec).await))
}

async fn start(lab: &Lab) -> Result<Answer, Failure> {
    Ok(answer(lab.backend().start(StartRequest::new(lab.name()?)).await))
}

async fn logs(lab: &Lab, change: fn(LogsRequest) -> LogsRequest) -> Result<Answer, Failure> {
    let name = existing(lab).await?;
    Ok(answer(lab.backend().logs(change(LogsRequest::new(name))).await.map(|_| "a stream")))
}

/// A workload, where one can be made; else a name.
async fn existing(lab: &Lab) -> Result<pod_core::WorkloadName, Failure> {
    if lab.has(Capability::Create) {
        return Ok(lab.made(lab.spec()?).await?.spec.name);
    }
    Ok(lab.name()?)
}

async fn events(lab: &Lab) -> Result<Answer, Failure> {
    Ok(answer(lab.backend().events(EventsRequest::default()).await.map(|_| "a stream")))
}

async fn attach(lab: &Lab) -> Result<Answer, Failure> {
    Ok(answer(lab.backend().attach(AttachRequest::new(existing(lab).await?)).await))
}

async fn exec(lab: &Lab, change: fn(ExecRequest) -> ExecRequest) -> Result<Answer, Failure> {
    let (_, connection) = lab.running().await?;
    Ok(answer(connection.exec(change(ExecRequest::new(["true"]))).await))
}

async fn resize(lab: &Lab) -> Result<Answer, Failure> {
    let (_, connection) = lab.running().await?;
    let process = connection.exec(ExecRequest::new(["sleep", "5"]).with_tty(TtySize::default())).await?;
    Ok(answer(process.resize(TtySize { rows: 10, cols: 10 }).await))
}

async fn signal(lab: &Lab) -> Result<Answer, Failure> {
    let (_, connection) = lab.running().await?;
    let process = connection.exec(ExecRequest::new(["sleep", "5"])).await?;
    Ok(answer(process.signal(Signal::TERM).await))
}

async fn kill(lab: &Lab) -> Result<Answer, Failure> {
    let (_, connection) = lab.running().await?;
    let process = connection.exec(ExecRequest::new(["sleep", "5"])).await?;
    Ok(answer(process.kill().await))
}

async fn forward(lab: &Lab) -> Result<Answer, Failure> {
    let (_, connection) = lab.running().await?;
    Ok(answer(connection.forward(ForwardRequest::new(7400)).await.map(|_| "a stream")))
}

async fn copy_in(lab: &Lab, change: fn(CopyInRequest) -> CopyInRequest) -> Result<Answer, Failure> {
    let (_, connection) = lab.running().await?;
    let source = CopySource::Memory(vec![with_content("", "x")]);
    Ok(answer(connection.copy_in(change(CopyInRequest::new("/tmp/file", source))).await))
}

async fn copy_out(lab: &Lab) -> Result<Answer, Failure> {
    let (_, connection) = lab.running().await?;
    Ok(answer(connection.copy_out(CopyOutRequest::new("/etc/passwd")).await))
}

async fn networks(lab: &Lab) -> Result<Answer, Failure> {
    Ok(match lab.networking() {
        Ok(networking) => answer(networking.list().await),
        Err(e) => Some(e),
    })
}

async fn network(lab: &Lab, change: fn(NetworkSpec) -> Result<NetworkSpec, Failure>) -> Result<Answer, Failure> {
    let spec = change(lab.network_spec(None, &[SUBNET])?)?;
    Ok(answer(lab.networking()?.create(spec).await))
}

async fn attachment(
    lab: &Lab,
    change: fn(AttachmentSpec) -> Result<AttachmentSpec, Failure>,
) -> Result<Answer, Failure> {
    let network = lab.network(None, SUBNET).await?.spec.name;
    let (workload, _) = lab.running().await?;
    let spec = change(AttachmentSpec::new(network))?;
    Ok(answer(lab.networking()?.attach(AttachNetworkRequest::new(workload, spec)).await))
}

async fn plan(lab: &Lab) -> Result<Answer, Failure> {
    Ok(answer(lab.networking()?.plan(NetworkIntent::default()).await))
}

async fn isolate(lab: &Lab) -> Result<Answer, Failure> {
    let network = lab.network(None, SUBNET).await?.spec.name;
    Ok(answer(lab.networking()?.isolate(IsolateRequest::new(network, true)).await))
}

async fn policy(lab: &Lab) -> Result<Answer, Failure> {
    let network = lab.network(None, SUBNET).await?.spec.name;
    Ok(answer(lab.networking()?.apply_policy(PolicySpec::new(network, vec![], true)).await))
}

async fn probe(lab: &Lab) -> Result<Answer, Failure> {
    let name = existing(lab).await?;
    Ok(answer(lab.networking()?.probe(ProbeRequest::new(name, vec![])).await))
}

async fn verify(lab: &Lab) -> Result<Answer, Failure> {
    Ok(answer(lab.networking()?.verify(VerifyRequest::default()).await))
}
