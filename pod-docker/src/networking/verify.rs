//! Networks and attachments held against what they should be: what the daemon says, and what the workloads
//! see.

use super::{DockerNetworking, Raw, network, of_pod};
use crate::config::Plugin;
use crate::containers;
use crate::engine::Engine;
use pod_core::{Attachment, Finding, NetworkSpec, Result, VerifyReport, VerifyRequest, WorkloadName};
use pod_shell::{Comparison, list};
use std::collections::BTreeMap;

pub(super) async fn verify(networking: &DockerNetworking, request: &VerifyRequest) -> Result<VerifyReport> {
    let mut known = of_pod(&networking.engine).await?;
    if let Some(name) = &request.network {
        let one = known.remove(name).ok_or_else(|| network::missing(name))?;
        known = [(name.clone(), one)].into();
    }
    let mut all = Comparison::default();
    for (raw, spec) in known.values() {
        of_network(&networking.engine, raw, spec, &mut all)?;
    }
    let mut workloads: BTreeMap<WorkloadName, Vec<Attachment>> = BTreeMap::new();
    for a in networking.all_attachments(None).await?.into_iter().filter(|a| known.contains_key(&a.network)) {
        workloads.entry(a.workload.clone()).or_default().push(a);
    }
    let looks = workloads.into_iter().map(|(workload, attachments)| of_workload(networking, workload, attachments));
    all.report(looks).await
}

/// Whether a network is what its specification asks for.
fn of_network(engine: &Engine, raw: &Raw, spec: &NetworkSpec, all: &mut Comparison) -> Result<()> {
    // It stays what it was made as, whatever this address chooses for others.
    let plugin = if raw.driver == Plugin::Ipvlan.word() { Plugin::Ipvlan } else { Plugin::Macvlan };
    let place = |part: &str| {
        Finding::new(format!("{} network, {part}", engine.kind.name()), "", "").with_network(spec.name.clone())
    };
    let wanted = network::wanted(spec, plugin, engine.libpod.as_ref())?;
    all.same(&place("driver"), wanted.driver, &raw.driver);
    all.same(&place("internal"), wanted.internal, raw.internal);
    all.same(&place("subnet"), wanted.subnet, list(&raw.subnets()));
    let kept: Vec<_> = wanted.gateway.into_iter().collect();
    all.same(&place("kept address"), list(&kept), list(&raw.gateways()));
    for (key, value) in &wanted.options {
        let found = raw.options.as_ref().and_then(|o| o.get(*key));
        all.same(&place(key), value, found.map_or("nothing", String::as_str));
    }
    Ok(())
}

/// A workload from inside, while it runs.
async fn of_workload(
    networking: &DockerNetworking,
    workload: WorkloadName,
    attachments: Vec<Attachment>,
) -> Result<Comparison> {
    let mut all = Comparison::default();
    let found = match containers::find(&networking.engine, &workload).await {
        Ok(found) if found.is_running() => found,
        Ok(_) => return Ok(all),
        // It has gone since, and its attachments with it.
        Err(e) if e.kind() == pod_core::ErrorKind::NotFound => return Ok(all),
        Err(e) => return Err(e),
    };
    all.inside(networking.connection(found.id, workload), &attachments, |_| true).await?;
    Ok(all)
}
