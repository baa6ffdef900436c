//! Attachments held against what their workload sees of them.

use futures_util::{StreamExt, stream};
use ipnet::IpNet;
use pod_core::os::{Interface, Os, RouteEntry};
use pod_core::{Attachment, Connection, Finding, Result, Retry, VerifyReport};
use std::net::IpAddr;
use std::sync::Arc;

/// How many workloads are looked at side by side.
const AT_ONCE: usize = 8;

/// What was compared, and what differs.
#[derive(Debug, Default)]
pub struct Comparison {
    /// How many things were compared.
    pub checked: usize,
    /// What differs.
    pub findings: Vec<Finding>,
}

/// What is inside one running workload, as far as it is wanted.
async fn look(os: &Os, routed: bool) -> Result<(Vec<Interface>, Vec<RouteEntry>)> {
    let interfaces = os.interfaces().await?;
    Ok((interfaces, if routed { os.routes().await? } else { Vec::new() }))
}

/// Whether reading it once more may help: a busy machine loses the end of an exec.
fn again<T>(read: &Result<T>) -> bool {
    read.as_ref().is_err_and(|e| e.retry() == Retry::Later)
}

impl Comparison {
    /// Compares one thing, which `about` names.
    pub fn same(&mut self, about: &Finding, expected: impl ToString, found: impl ToString) {
        self.checked += 1;
        let (expected, found) = (expected.to_string(), found.to_string());
        if expected != found {
            let mut finding = about.clone();
            finding.expected = expected;
            finding.found = found;
            self.findings.push(finding);
        }
    }

    /// Takes over what the looks at each workload find, which go on side by side, and tells all of it, by
    /// network and workload.
    ///
    /// # Errors
    /// That of the first look that failed.
    pub async fn report<F>(mut self, looks: impl IntoIterator<Item = F>) -> Result<VerifyReport>
    where
        F: Future<Output = Result<Self>>,
    {
        let looks: Vec<Result<Self>> = stream::iter(looks).buffer_unordered(AT_ONCE).collect().await;
        for look in looks {
            let Self { checked, findings } = look?;
            self.checked += checked;
            self.findings.extend(findings);
        }
        self.findings.sort_by(|a, b| (&a.network, &a.workload, &a.place).cmp(&(&b.network, &b.workload, &b.place)));
        Ok(VerifyReport::new(self.checked, self.findings))
    }

    /// Compares attachments of one running workload with what it sees itself. Of one that `whole` is not
    /// true of, only that it is there, up and has its MTU.
    ///
    /// # Errors
    /// As the exec. A workload without a shell is a finding: nothing can be seen in it.
    pub async fn inside(
        &mut self,
        connection: Arc<dyn Connection>,
        attachments: &[Attachment],
        whole: impl Fn(&Attachment) -> bool,
    ) -> Result<()> {
        let Some(first) = attachments.first() else { return Ok(()) };
        let mut os = Os::detect(connection.clone()).await;
        if again(&os) {
            os = Os::detect(connection).await;
        }
        let os = match os {
            Ok(os) => os,
            Err(e) => {
                // Without a shell nothing can be seen from inside, and that is not as it should be proven.
                self.same(&about(first, "from inside"), "something to look with", e.message());
                return Ok(());
            }
        };
        let routed = attachments.iter().any(|a| !a.routes.is_empty());
        let mut seen = look(&os, routed).await;
        if again(&seen) {
            seen = look(&os, routed).await;
        }
        let (interfaces, routes) = seen?;
        for a in attachments {
            let inside = interfaces.iter().find(|i| i.name == a.interface.as_str());
            self.same(&about(a, "from inside"), "there", if inside.is_some() { "there" } else { "missing" });
            let Some(inside) = inside else { continue };
            self.same(&about(a, "state"), "up", if inside.up { "up" } else { "down" });
            if let Some(mtu) = inside.mtu {
                self.same(&about(a, "MTU"), a.mtu, mtu);
            }
            if !whole(a) {
                continue;
            }
            if let Some(mac) = inside.mac {
                self.same(&about(a, "MAC address"), a.mac, mac);
            }
            let global: Vec<IpNet> = inside.addresses.iter().copied().filter(|n| !is_link_local(n)).collect();
            self.same(&about(a, "addresses"), list(&a.ips), list(&global));
            for route in &a.routes {
                let show = |via: Option<IpAddr>| via.map_or_else(|| "on-link".to_owned(), |v| format!("via {v}"));
                let is = routes
                    .iter()
                    .find(|r| r.to == route.to.trunc() && r.interface.as_deref() == Some(a.interface.as_str()))
                    .map_or_else(|| "nothing".to_owned(), |r| show(r.via));
                self.same(&about(a, &format!("route to {}", route.to)), show(route.via), is);
            }
        }
        Ok(())
    }
}

/// A place in an attachment, to compare at.
#[must_use]
pub fn about(a: &Attachment, part: &str) -> Finding {
    Finding::new(format!("interface {}, {part}", a.interface), "", "")
        .with_network(a.network.clone())
        .with_workload(a.workload.clone())
}

fn is_link_local(net: &IpNet) -> bool {
    match net {
        IpNet::V6(n) => n.addr().segments()[0] & 0xffc0 == 0xfe80,
        IpNet::V4(_) => false,
    }
}

/// Several things as one text, in an order of their own.
#[must_use]
pub fn list<T: ToString>(all: &[T]) -> String {
    if all.is_empty() {
        return "none".into();
    }
    let mut texts: Vec<_> = all.iter().map(ToString::to_string).collect();
    texts.sort_unstable();
    texts.join(", ")
}
