//! Isolation: the workloads of a network cut off from each other by the bridge itself.

use crate::attach::done;
use crate::compare::on;
use crate::host::{HostNet, Inner};
use crate::link::{self, Link};
use pod_core::{Enforcement, Error, ErrorKind, IsolateRequest, NetworkName, PolicyReport, Result, ResultExt};
use std::collections::BTreeMap;

impl HostNet {
    /// Cuts the workloads of a network off from each other, or joins them again, and reads it back.
    /// Acts on those attached now and on those to come; its uplink is still reached.
    ///
    /// # Errors
    /// `NotFound` for the network; `Unsupported` on a kernel without isolated bridge ports; what could
    /// not be set on every port is `Partial`, and the network stays marked as asked, so that another
    /// call finishes.
    pub async fn isolate(&self, request: &IsolateRequest) -> Result<PolicyReport> {
        let request = request.clone();
        self.blocking(move |host| host.isolate(&request.network, request.isolated).operation("isolate")).await
    }
}

impl Inner {
    fn isolate(&self, name: &NetworkName, isolated: bool) -> Result<PolicyReport> {
        let network = {
            let _lock = self.store.lock()?;
            let mut network = self.network(name)?;
            network.spec.isolated = isolated;
            self.check_kernel(&network.spec)?;
            self.store.put_network(&network)?;
            network
        };
        let mut failed = Vec::new();
        for workload in self.store.attached(name)? {
            // an attachment that is being made may not know yet: it is waited for
            let Some(_lock) = self.store.lock_attached(&workload)? else { continue };
            let (Some(record), Some(netns)) = (self.store.attachment(name, &workload)?, self.existing_netns()?) else {
                continue;
            };
            let outside = netns.netlink()?;
            let Some(port) = outside.link(record.port.as_str())? else { continue };
            let set = done(Some(outside.request(link::isolate(port.index, isolated))?), "set the port's isolation");
            if let Err(e) = set {
                failed.push(format!("{workload}: {e}"));
            }
        }
        if !failed.is_empty() {
            return Err(Error::new(ErrorKind::Partial, "the isolation of some ports could not be set")
                .with_context("network", name.as_str())
                .with_context("ports", failed.join("; ")));
        }

        let links: BTreeMap<String, Link> = match self.existing_netns()? {
            Some(netns) => netns.netlink()?.links()?.into_iter().map(|l| (l.name.clone(), l)).collect(),
            None => BTreeMap::new(),
        };
        let mut enforcement = Enforcement::Enforced;
        let mut evidence = Vec::new();
        for record in self.store.attachments_to(name)? {
            let workload = &record.attachment.workload;
            evidence.push(match links.get(record.port.as_str()).map(|l| l.isolated.unwrap_or(false)) {
                Some(is) => {
                    if is != isolated {
                        enforcement = Enforcement::NotEnforced;
                    }
                    format!("{workload}: bridge port {} of {} is {}", record.port, network.bridge, on(is))
                }
                None => format!("{workload}: not attached now; its port is made {}", on(isolated)),
            });
        }
        if evidence.is_empty() {
            evidence.push(format!(
                "no workload is attached; ports to come on {} are made {}",
                network.bridge,
                on(isolated)
            ));
        }
        if let (true, Some(uplink)) = (isolated, &network.spec.uplink) {
            evidence.push(format!("what lies behind the uplink {uplink} is still reached, and may pass frames back"));
        }
        Ok(PolicyReport::new(enforcement, evidence))
    }
}
