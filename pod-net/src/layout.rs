//! Where networks live: which bridge, which VLAN of it, by which uplink.
//!
//! Where the kernel has VLAN-aware bridges, the networks with a VLAN id that share an uplink share a
//! bridge, and so do those of one topology that have none: a trunk reaches all VLANs of its bridge.
//! Otherwise each network has a bridge of its own, which needs no tags.

use crate::host::Inner;
use crate::store::NetworkRecord;
use pod_core::{Error, ErrorKind, IfName, LABEL_TOPOLOGY, NetworkSpec, Result};

/// The VLAN of an untagged network's ports on its own VLAN-aware bridge.
const UNTAGGED: u16 = 1;

impl Inner {
    /// Where a new network is to live beside the `others`.
    ///
    /// # Errors
    /// `Conflict` when the VLAN of the uplink is another network's.
    pub(crate) fn lay_out(&self, spec: &NetworkSpec, others: &[NetworkRecord]) -> Result<NetworkRecord> {
        let own = || self.name("pb", &["network", spec.name.as_str()]);
        let same_uplink = |o: &&NetworkRecord| spec.uplink.is_some() && o.spec.uplink == spec.uplink;
        if let Some(other) = others.iter().filter(same_uplink).find(|o| o.spec.vlan == spec.vlan) {
            return Err(Error::new(ErrorKind::Conflict, "this VLAN of the uplink is another network's")
                .with_context("network", spec.name.as_str())
                .with_context("held by", other.spec.name.as_str())
                .with_hint("attach to that network, or choose another VLAN id or uplink"));
        }
        let (bridge, pvid) = match spec.vlan.map(pod_core::VlanId::get) {
            _ if !self.kernel.vlan_filtering => (own()?, None),
            None => (own()?, Some(UNTAGGED)),
            Some(id) => {
                let shared = self.shared_bridge(spec)?;
                // two networks of one VLAN id that no uplink makes one are two networks
                let taken = others.iter().any(|o| o.bridge == shared && o.pvid == Some(id));
                (if taken { own()? } else { shared }, Some(id))
            }
        };
        let uplink_port = match (&spec.uplink, spec.vlan) {
            (Some(uplink), Some(vlan)) => Some(self.name("pu", &[uplink.as_str(), &vlan.to_string()])?),
            _ => None,
        };
        Ok(NetworkRecord { spec: spec.clone(), bridge, pvid, uplink_port })
    }

    fn shared_bridge(&self, spec: &NetworkSpec) -> Result<IfName> {
        match &spec.uplink {
            Some(uplink) => self.name("pb", &["uplink", uplink.as_str()]),
            None => self.name("pb", &["topology", spec.labels.get(LABEL_TOPOLOGY).map_or("", String::as_str)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::KernelFeatures;
    use crate::store::Store;
    use pod_core::{NetworkName, VlanId};

    fn host(vlan_filtering: bool) -> Inner {
        let kernel = KernelFeatures {
            veth: true,
            bridge: true,
            vlan_filtering,
            vlan_8021q: true,
            port_isolation: true,
            ipv6: true,
        };
        Inner {
            instance: "t".into(),
            netns: "/nonexistent/ns".into(),
            store: Store::new("/nonexistent".into()),
            kernel,
        }
    }

    fn spec(name: &str, vlan: Option<u16>, uplink: Option<&str>) -> NetworkSpec {
        let mut spec = NetworkSpec::new(NetworkName::new(name).expect("name"));
        spec.vlan = vlan.map(|v| VlanId::try_from(v).expect("vlan"));
        spec.uplink = uplink.map(|u| IfName::new(u).expect("name"));
        spec
    }

    fn lay_out_all(host: &Inner, specs: &[NetworkSpec]) -> Vec<NetworkRecord> {
        let mut records = Vec::new();
        for spec in specs {
            records.push(host.lay_out(spec, &records).expect("layout"));
        }
        records
    }

    #[test]
    fn vlans_of_one_uplink_share_a_vlan_aware_bridge() {
        let specs = [
            spec("a", Some(100), Some("eth9")),
            spec("b", Some(200), Some("eth9")),
            spec("c", Some(100), Some("eth8")),
            spec("d", Some(100), None),
            spec("e", None, None),
            spec("f", Some(100), None),
            spec("g", Some(200), None).with_label(LABEL_TOPOLOGY, "t"),
        ];
        let r = lay_out_all(&host(true), &specs);
        assert_eq!(r[0].bridge, r[1].bridge);
        let distinct: std::collections::BTreeSet<_> = [0, 2, 3, 4, 5, 6].map(|i| r[i].bridge.clone()).into();
        assert_eq!(distinct.len(), 6, "{r:?}");
        assert_eq!(r.iter().map(|r| r.pvid).collect::<Vec<_>>(), [100, 200, 100, 100, 1, 100, 200].map(Some));
        let ports: Vec<_> = r.iter().filter_map(|r| r.uplink_port.clone()).collect();
        assert_eq!(ports.len(), 3);
        let again = host(true).lay_out(&spec("h", Some(200), Some("eth9")), &r).expect_err("taken");
        assert_eq!(again.kind(), ErrorKind::Conflict);
        assert!(again.to_string().contains("held by: b"), "{again}");
    }

    #[test]
    fn without_vlan_aware_bridges_each_network_has_its_own() {
        let specs = [spec("a", Some(100), Some("eth9")), spec("b", Some(200), Some("eth9")), spec("c", Some(3), None)];
        let r = lay_out_all(&host(false), &specs);
        let distinct: std::collections::BTreeSet<_> = r.iter().map(|r| r.bridge.clone()).collect();
        assert_eq!(distinct.len(), 3);
        assert!(r.iter().all(|r| r.pvid.is_none() && r.bridge.as_str().len() <= 15));
    }
}
