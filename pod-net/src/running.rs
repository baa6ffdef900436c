//! A workload that does not run does not answer: its bridge ports are down.

use crate::attach::wait_for;
use crate::host::{HostNet, Inner};
use crate::link;
use crate::netlink::Request;
use pod_core::{Result, ResultExt, WorkloadName};
use rtnetlink::packet_route::RouteNetlinkMessage;

impl HostNet {
    /// Brings the bridge ports of a workload up, because it runs, or down, because it does not. Its
    /// interfaces keep their addresses and routes. Twice in a row is the same; a workload that is
    /// attached to nothing is no error.
    ///
    /// # Errors
    /// When a record can't be read, or as the kernel says.
    pub async fn set_running(&self, workload: &WorkloadName, running: bool) -> Result<()> {
        let workload = workload.clone();
        self.blocking(move |host| host.set_running(&workload, running).operation("change the ports' state")).await
    }
}

impl Inner {
    fn set_running(&self, workload: &WorkloadName, running: bool) -> Result<()> {
        let Some(_lock) = self.store.lock_attached(workload)? else { return Ok(()) };
        let Some(netns) = self.existing_netns()? else { return Ok(()) };
        let netlink = netns.netlink()?;
        let records = self.store.attachments_of(workload)?;
        for record in &records {
            let Some(port) = netlink.link(record.port.as_str())? else { continue };
            let change = if running { link::up(port.index) } else { link::down(port.index) };
            netlink.request(Request::plain(RouteNetlinkMessage::SetLink(change)))?.map(drop).map_err(|refusal| {
                refusal
                    .into_error("change the state of a bridge port")
                    .with_context("port", record.port.as_str())
                    .with_context("workload", workload.as_str())
            })?;
        }
        if running {
            for record in &records {
                wait_for(|| Ok(netlink.link(record.port.as_str())?.is_none_or(|port| port.state.is_up())))?;
            }
        }
        Ok(())
    }
}
