//! Whole deployments on the backend in memory.

mod backends;
mod edits;
mod interrupted;
mod lifecycle;
mod properties;
mod reach;

use super::{Deployment, Topology, Verification};
use crate::layers::{Around, Call, CallKind, Wrapped};
use crate::mem::MemBackend;
use crate::{Backend, ConnectionExt, Error, ExecRequest, Filter, NetworkName, Result, WorkloadName};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

/// What happens to the call that is told to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It fails before it does anything.
    Fails,
    /// It never begins, as if the caller was killed there.
    HangsBefore,
    /// It is done and never returns.
    HangsAfter,
}

/// Writes down the calls that change something, and lets one of them go wrong.
#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<Log>>);

#[derive(Debug, Default)]
struct Log {
    changes: Vec<&'static str>,
    fault: Option<(usize, Fault)>,
    /// The network that the backend finds a mistake in.
    mistaken: Option<&'static str>,
}

impl Recorder {
    /// The changes since the last time.
    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().expect("log").changes)
    }

    /// Lets the change of this number, from now on, go wrong.
    fn arm(&self, number: usize, fault: Fault) {
        let mut log = self.0.lock().expect("log");
        log.changes.clear();
        log.fault = Some((number, fault));
    }

    fn disarm(&self) {
        let mut log = self.0.lock().expect("log");
        log.changes.clear();
        log.fault = None;
    }
}

impl Around for Recorder {
    async fn around<T, F, Fut>(&self, call: Call, mut attempt: F) -> Result<T>
    where
        T: Send,
        F: FnMut() -> Fut + Send,
        Fut: Future<Output = Result<T>> + Send,
    {
        let changes = call.kind == CallKind::Change || matches!(call.operation, "create" | "copy" | "stop" | "apply");
        if call.operation == "plan"
            && let Some(network) = self.0.lock().expect("log").mistaken
        {
            return Err(Error::not_found("uplink", "eth7").with_context("network", network));
        }
        if !changes || call.kind == CallKind::Read {
            return attempt().await;
        }
        let fault = {
            let mut log = self.0.lock().expect("log");
            log.changes.push(call.operation);
            let number = log.changes.len() - 1;
            log.fault.filter(|(at, _)| *at == number).map(|(_, fault)| fault)
        };
        match fault {
            None => attempt().await,
            Some(Fault::Fails) => Err(Error::unexpected("told to fail").with_hint("a way out of its own")),
            Some(Fault::HangsBefore) => std::future::pending().await,
            Some(Fault::HangsAfter) => {
                let done = attempt().await;
                std::future::pending::<()>().await;
                done
            }
        }
    }
}

/// A backend in memory under a recorder.
struct Lab {
    mem: MemBackend,
    recorder: Recorder,
    backend: Arc<dyn Backend>,
}

impl Lab {
    fn new() -> Self {
        Self::of(MemBackend::new())
    }

    fn of(mem: MemBackend) -> Self {
        let recorder = Recorder::default();
        let backend: Arc<dyn Backend> = Arc::new(Wrapped::new(recorder.clone(), mem.clone().layered()));
        Self { mem, recorder, backend }
    }

    fn deploy(&self, text: &str) -> Deployment {
        let topology = Topology::parse(text, "lab").expect("topology");
        Deployment::on(self.backend.clone(), topology).expect("deployment")
    }

    /// Brings a topology up, proves it, and proves that nothing is left to do.
    async fn up(&self, text: &str) -> Verification {
        let deployment = self.deploy(text);
        deployment.up(&(), 16).await.expect("up");
        self.recorder.take();
        let plan = deployment.plan().await.expect("plan");
        assert!(plan.is_empty(), "{plan}");
        let again = deployment.up(&(), 16).await.expect("up again");
        assert!(again.plan.is_empty());
        assert!(self.recorder.take().is_empty(), "a second up changes nothing");
        let verification = deployment.verify(&()).await.expect("verify");
        assert!(self.recorder.take().is_empty(), "a verification changes nothing");
        verification
    }

    /// The platform's ids of the workloads: a workload that was made anew has another.
    async fn ids(&self) -> BTreeMap<String, String> {
        let all = self.mem.list(Filter::all()).await.expect("list");
        all.into_iter().map(|w| (w.name().to_string(), w.id)).collect()
    }

    /// `workload network address…` of every attachment.
    async fn attachments(&self) -> Vec<String> {
        let networking = self.mem.networking().expect("networking");
        let all = networking.attachments(Default::default()).await.expect("attachments");
        all.iter()
            .map(|a| {
                let ips: String = a.ips.iter().map(|ip| format!(" {}", ip.addr())).collect();
                format!("{} {}{ips}", a.workload, a.network)
            })
            .collect()
    }

    async fn networks(&self) -> Vec<String> {
        let networking = self.mem.networking().expect("networking");
        networking.list().await.expect("networks").iter().map(|n| n.spec.name.to_string()).collect()
    }

    /// The names a workload knows, as a program in it sees them, without those of its own machine.
    async fn names(&self, workload: &str) -> Vec<String> {
        let connection = self.mem.connect(&name(workload)).await.expect("connect");
        let output = connection.run(ExecRequest::new(["cat", "/etc/hosts"])).await.expect("cat");
        let text = output.stdout_text();
        let lines = text.lines().filter(|l| !l.starts_with(['#', ':']) && !l.starts_with("127.") && !l.is_empty());
        let mut names: Vec<_> = lines.map(|l| l.split_whitespace().rev().collect::<Vec<_>>().join(" ")).collect();
        names.sort();
        names
    }

    async fn is_empty(&self) -> bool {
        self.ids().await.is_empty() && self.networks().await.is_empty() && self.attachments().await.is_empty()
    }
}

fn name(n: &str) -> WorkloadName {
    WorkloadName::new(n).expect("name")
}

fn network(n: &str) -> NetworkName {
    NetworkName::new(n).expect("name")
}

/// The lines of a plan, sorted.
async fn planned(deployment: &Deployment) -> Vec<String> {
    let mut lines: Vec<String> =
        deployment.plan().await.expect("plan").to_string().lines().map(ToOwned::to_owned).collect();
    lines.sort();
    lines
}

/// As `examples/two-vlans.yaml`.
const TWO: &str = "\
networks:
  blue: { vlan: 100, subnet: 10.100.0.0/24 }
  red: { vlan: 200, subnet: 10.100.0.0/24 }
defaults: { image: host }
workloads:
  a1: { networks: { blue: { ip: 10.100.0.11 } } }
  a2: { networks: { blue: { ip: 10.100.0.12 } } }
  b1: { networks: { red: { ip: 10.100.0.21 } } }
  b2: { networks: { red: { ip: 10.100.0.22 } } }
";
