//! The addresses of a network: who holds which, recorded on its definition.
//!
//! The record is an annotation, changed only against the version of the object that was read, so that
//! two creators never hand out the same address. An entry is a claim; it counts as long as a pod carries
//! it, and for a while before, since it is made before the pod is.

use ipnet::IpNet;
use pod_core::{AttachmentSpec, Error, ErrorKind, NetworkSpec, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// How many seconds a claim counts that no pod carries (yet).
pub(crate) const PENDING: i64 = 60;

/// Who holds an address.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Holder {
    /// The pod's name.
    pub(crate) pod: String,
    /// The claim, which the pod carries too: a later pod of the name has another.
    pub(crate) claim: String,
    /// When it was made, seconds since 1970.
    pub(crate) since: i64,
}

/// The addresses of a network that are held.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Addresses(BTreeMap<IpAddr, Holder>);

impl Addresses {
    /// Reads the annotation.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self> {
        let Some(text) = text else { return Ok(Self::default()) };
        serde_json::from_str(text).map_err(|e| {
            Error::new(ErrorKind::Integrity, "the record of a network's addresses can't be read").with_source(e)
        })
    }

    /// What to write.
    pub(crate) fn text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| Error::unexpected("a record's JSON").with_source(e))
    }

    /// Frees what this claim holds; whether it held anything.
    pub(crate) fn release(&mut self, claim: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|_, h| h.claim != claim);
        self.0.len() != before
    }

    /// Frees what no pod carries and is too old to be on its way.
    pub(crate) fn sweep(&mut self, carried: &BTreeSet<String>, now: i64) -> bool {
        let before = self.0.len();
        self.0.retain(|_, h| carried.contains(&h.claim) || now - h.since < PENDING);
        self.0.len() != before
    }

    /// How many are held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes the addresses that an attachment asks for, or the next free of each subnet.
    ///
    /// # Errors
    /// `InvalidInput` for an address that no pod can have or that is given twice, `Conflict` for one
    /// that is held, `Exhausted` when none is free.
    pub(crate) fn take(
        &mut self,
        network: &NetworkSpec,
        asked: &AttachmentSpec,
        holder: &Holder,
    ) -> Result<Vec<IpNet>> {
        let mut taken = Vec::new();
        if asked.ips.is_empty() {
            for subnet in &network.subnets {
                taken.push(network.next_free(*subnet, |ip| self.0.contains_key(&ip))?);
            }
        }
        for ip in &asked.ips {
            let net = network.assignable(*ip)?;
            if taken.contains(&net) {
                return Err(Error::invalid(format!("the address {ip} is given twice"))
                    .with_context("network", network.name.as_str()));
            }
            if let Some(other) = self.0.get(ip) {
                return Err(Error::new(ErrorKind::Conflict, format!("the address {ip} is taken"))
                    .with_context("network", network.name.as_str())
                    .with_context("held by", other.pod.clone())
                    .with_hint("choose another, or remove the holder"));
            }
            taken.push(net);
        }
        for net in &taken {
            self.0.insert(net.addr(), holder.clone());
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pod_core::NetworkName;

    fn network(subnet: &str) -> NetworkSpec {
        NetworkSpec::new(NetworkName::new("red").expect("name")).with_subnet(subnet.parse().expect("net"))
    }

    fn holder(n: usize) -> Holder {
        Holder { pod: format!("p{n}"), claim: format!("c{n}"), since: 1000 }
    }

    fn asked(ips: &[&str]) -> AttachmentSpec {
        let spec = AttachmentSpec::new(NetworkName::new("red").expect("name"));
        ips.iter().fold(spec, |s, ip| s.with_ip(ip.parse().expect("ip")))
    }

    #[test]
    fn fifty_pods_have_fifty_addresses() {
        let network = network("10.1.0.0/26").with_reserved("10.1.0.1".parse().expect("ip"));
        let mut record = Addresses::default();
        let mut seen = BTreeSet::new();
        for n in 0..50 {
            // through the text each time, as on the cluster
            record = Addresses::parse(Some(&record.text().expect("text"))).expect("record");
            seen.extend(record.take(&network, &asked(&[]), &holder(n)).expect("address"));
        }
        assert_eq!(seen.len(), 50);
        for never in ["10.1.0.0", "10.1.0.1", "10.1.0.63"] {
            let never: IpAddr = never.parse().expect("ip");
            assert!(seen.iter().all(|n| n.addr() != never), "{never}");
        }
    }

    #[test]
    fn what_is_held_taken_twice_or_gone_is_refused() {
        let network = network("10.1.0.0/30");
        let mut record = Addresses::default();
        record.take(&network, &asked(&["10.1.0.1"]), &holder(1)).expect("address");
        let kind = |record: &mut Addresses, ips: &[&str]| {
            record.take(&network, &asked(ips), &holder(2)).expect_err("refused").kind()
        };
        assert_eq!(kind(&mut record, &["10.1.0.1"]), ErrorKind::Conflict);
        assert_eq!(kind(&mut record, &["10.1.0.0"]), ErrorKind::InvalidInput);
        assert_eq!(kind(&mut record, &["10.1.0.2", "10.1.0.2"]), ErrorKind::InvalidInput);
        assert_eq!(record.len(), 1, "a refused request holds nothing");
        record.take(&network, &asked(&[]), &holder(2)).expect("the other");
        assert_eq!(kind(&mut record, &[]), ErrorKind::Exhausted);
    }

    #[test]
    fn claims_end_with_their_pods() {
        let network = network("10.1.0.0/29");
        let mut record = Addresses::default();
        for n in 1..=3 {
            record.take(&network, &asked(&[]), &holder(n)).expect("address");
        }
        assert!(record.release("c1") && !record.release("c1"));
        let carried = BTreeSet::from(["c2".to_owned()]);
        assert!(!record.sweep(&carried, 1000 + PENDING - 1), "a young claim stays");
        assert!(record.sweep(&carried, 1000 + PENDING));
        assert_eq!(record.len(), 1);
        assert!(Addresses::parse(Some("[]")).is_err());
        assert_eq!(Addresses::parse(None).expect("none").len(), 0);
    }
}
