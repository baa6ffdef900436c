//! Plans: networks are made and removed; the attachments of a pod are as they are.

use super::{K8sNetworking, no_hot_attach};
use crate::nad::Plugin;
use crate::nad::network::object_of;
use pod_core::{
    Applied, Attachment, AttachmentSpec, Error, ErrorKind, NetworkIntent, NetworkName, NetworkPlan, NetworkSpec,
    NetworkStep, Networking, Result,
};
use std::collections::{BTreeMap, BTreeSet};

/// What there is.
pub(super) struct Found {
    pub(super) networks: BTreeMap<NetworkName, NetworkSpec>,
    pub(super) attachments: Vec<Attachment>,
}

/// Whether an attachment is what is asked for; what is left open may be any.
pub(super) fn is_as_asked(is: &Attachment, asked: &AttachmentSpec) -> bool {
    let set = |ips: Vec<std::net::IpAddr>| ips.into_iter().collect::<BTreeSet<_>>();
    is.mode == asked.mode
        && asked.interface.as_ref().is_none_or(|i| *i == is.interface)
        && asked.mac.is_none_or(|m| m == is.mac)
        && asked.mtu.is_none_or(|m| m == is.mtu)
        && (asked.ips.is_empty() || set(asked.ips.clone()) == set(is.ips.iter().map(ipnet::IpNet::addr).collect()))
        && is.routes == asked.routes
        && is.dns == asked.dns
}

/// What would make the intent true.
pub(super) fn plan(intent: &NetworkIntent, found: &Found, namespace: &str, plugin: &Plugin) -> Result<NetworkPlan> {
    let twice = |what: &str| Error::invalid(format!("{what} is named twice"));
    let mut names = BTreeSet::new();
    for spec in &intent.networks {
        let about = |e: Error| e.with_context("network", spec.name.as_str());
        object_of(spec, namespace, plugin)?;
        if !names.insert(&spec.name) {
            return Err(about(twice("a network")));
        }
        if intent.absent_networks.contains(&spec.name) {
            return Err(about(Error::invalid("a network is both wanted and unwanted")));
        }
    }
    let mut steps = Vec::new();
    let mut attachments = found.attachments.clone();
    for absent in &intent.absent_attachments {
        let of = |a: &Attachment| a.workload == absent.workload && a.network == absent.network;
        steps.extend(attachments.iter().filter(|a| of(a)).cloned().map(NetworkStep::Detach));
        attachments.retain(|a| !of(a));
    }
    let mut wanted = BTreeSet::new();
    for request in &intent.attachments {
        let spec = &request.attachment;
        let about = |e: Error| {
            e.with_context("workload", request.workload.as_str()).with_context("network", spec.network.as_str())
        };
        if !wanted.insert((&request.workload, &spec.network)) {
            return Err(about(twice("an attachment")));
        }
        let network = intent.networks.iter().find(|n| n.name == spec.network);
        let network = network.or_else(|| found.networks.get(&spec.network));
        let network = network.ok_or_else(|| about(Error::not_found("network", spec.network.as_str())))?;
        for ip in &spec.ips {
            network.assignable(*ip).map_err(about)?;
        }
        let there = attachments.iter().find(|a| a.workload == request.workload && a.network == spec.network);
        if !there.is_some_and(|a| is_as_asked(a, spec)) {
            return Err(about(no_hot_attach()));
        }
    }
    let changed = intent.networks.iter().filter(|n| found.networks.get(&n.name).is_some_and(|f| f != *n));
    let going: BTreeSet<&NetworkName> = intent.absent_networks.iter().chain(changed.map(|n| &n.name)).collect();
    for name in &going {
        let left: BTreeSet<_> =
            attachments.iter().filter(|a| a.network == **name).map(|a| a.workload.to_string()).collect();
        if !left.is_empty() {
            return Err(Error::new(ErrorKind::Busy, "workloads are attached to a network that should go")
                .with_context("network", name.as_str())
                .with_context("workloads", left.into_iter().collect::<Vec<_>>().join(", "))
                .with_hint("remove them first"));
        }
        if let Some(spec) = found.networks.get(*name) {
            steps.push(NetworkStep::RemoveNetwork(spec.clone()));
        }
    }
    for spec in &intent.networks {
        if going.contains(&spec.name) || !found.networks.contains_key(&spec.name) {
            steps.push(NetworkStep::CreateNetwork(spec.clone()));
        }
    }
    Ok(NetworkPlan::new(steps))
}

/// Carries a plan out, or leaves everything as it was.
pub(super) async fn apply(networking: &K8sNetworking, plan: NetworkPlan) -> Result<Applied> {
    for step in &plan.steps {
        match step {
            NetworkStep::Attach(r) => return Err(no_hot_attach().with_context("workload", r.workload.as_str())),
            NetworkStep::Detach(a) => return Err(no_hot_attach().with_context("workload", a.workload.as_str())),
            NetworkStep::CreateNetwork(spec) => {
                object_of(spec, &networking.cluster.namespace, &networking.cluster.config.plugin)?;
            }
            _ => {}
        }
    }
    let mut done: Vec<&NetworkStep> = Vec::new();
    for step in &plan.steps {
        let result = match step {
            NetworkStep::CreateNetwork(spec) => match networking.create(spec.clone()).await {
                Ok(pod_core::CreateNetworkOutcome::Created(_)) => {
                    done.push(step);
                    Ok(())
                }
                other => other.map(drop),
            },
            NetworkStep::RemoveNetwork(spec) => match networking.remove(&spec.name).await {
                Ok(pod_core::RemoveOutcome::Removed) => {
                    done.push(step);
                    Ok(())
                }
                other => other.map(drop),
            },
            _ => Ok(()),
        };
        if let Err(mut error) = result {
            for step in done.into_iter().rev() {
                let undone = match step {
                    NetworkStep::CreateNetwork(spec) => networking.remove(&spec.name).await.map(drop),
                    NetworkStep::RemoveNetwork(spec) => networking.create(spec.clone()).await.map(drop),
                    _ => Ok(()),
                };
                if let Err(left) = undone {
                    error = error.with_context("left_behind", left.to_string());
                }
            }
            return Err(error);
        }
    }
    Ok(Applied::new(plan.steps.len(), Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pod_core::{AttachNetworkRequest, DetachRequest, IfName, MacAddr, WorkloadName};

    fn network(name: &str) -> NetworkSpec {
        NetworkSpec::new(NetworkName::new(name).expect("name")).with_subnet("10.1.0.0/24".parse().expect("net"))
    }

    fn found() -> Found {
        let red = network("red");
        let mut attachment = Attachment::new(
            WorkloadName::new("web").expect("name"),
            red.name.clone(),
            IfName::new("net1").expect("name"),
            MacAddr::derived(b"x"),
            1500,
        );
        attachment.ips = vec!["10.1.0.5/24".parse().expect("net")];
        Found { networks: [(red.name.clone(), red)].into(), attachments: vec![attachment] }
    }

    fn of(intent: &NetworkIntent) -> Result<String> {
        plan(intent, &found(), "shop", &Plugin::Macvlan).map(|p| p.to_string())
    }

    #[test]
    fn the_difference_is_planned() {
        let start = NetworkIntent::default;
        assert_eq!(of(&start().with_network(network("red"))).expect("plan"), "nothing to do");
        assert!(of(&start().with_network(network("blue"))).expect("plan").starts_with("+ network blue"));
        let web = WorkloadName::new("web").expect("name");
        let red = NetworkName::new("red").expect("name");
        let same = AttachmentSpec::new(red.clone()).with_ip("10.1.0.5".parse().expect("ip"));
        let request = AttachNetworkRequest::new(web.clone(), same);
        assert_eq!(of(&start().with_attachment(request.clone())).expect("plan"), "nothing to do");
        let mut other = request;
        other.attachment.ips = vec!["10.1.0.6".parse().expect("ip")];
        assert_eq!(of(&start().with_attachment(other)).expect_err("hot").kind(), ErrorKind::Unsupported);
        let gone = start().without_network(red.clone());
        assert_eq!(of(&gone).expect_err("busy").kind(), ErrorKind::Busy);
        let gone = gone.without_attachment(DetachRequest::new(web, red));
        assert_eq!(of(&gone).expect("plan").lines().count(), 2);
        let changed = network("red").with_mtu(1400);
        assert_eq!(of(&start().with_network(changed)).expect_err("busy").kind(), ErrorKind::Busy);
    }
}
