//! The routes of the main table.

use crate::Result;
use crate::os::Os;
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

/// What a route does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteKind {
    /// Sends it on.
    #[default]
    Unicast,
    /// Drops it without a word.
    Blackhole,
    /// Drops it and answers that the host can't be reached.
    Unreachable,
    /// Drops it and answers that it is forbidden.
    Prohibit,
    /// Looks in the next table.
    Throw,
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unicast => "unicast",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
            Self::Throw => "throw",
        })
    }
}

/// A route of the main table. One with several next hops is one of these for each.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct RouteEntry {
    /// The destination; `0.0.0.0/0` or `::/0` is the default route.
    pub to: IpNet,
    /// The next hop; `None` is on-link.
    pub via: Option<IpAddr>,
    /// The interface.
    pub interface: Option<String>,
    /// The source address of packets that the host itself sends this way.
    pub source: Option<IpAddr>,
    /// The metric: of two routes to one destination the lower one wins.
    pub metric: u32,
    /// What it does.
    pub kind: RouteKind,
}

impl RouteEntry {
    /// A route to this destination.
    pub(crate) fn to(to: IpNet) -> Self {
        Self { to, via: None, interface: None, source: None, metric: 0, kind: RouteKind::Unicast }
    }

    /// Whether this is a default route.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.to.prefix_len() == 0 && self.kind == RouteKind::Unicast
    }
}

impl Os {
    /// The routes of the main table, IPv4 first.
    ///
    /// # Errors
    /// As [`Os::execute`].
    pub async fn routes(&self) -> Result<Vec<RouteEntry>> {
        self.execute(self.dialect().routes(), "os.routes").await
    }
}
