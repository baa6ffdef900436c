//! The keys that each CNI plugin reads. A plugin drops every other key without a word (Go's
//! `encoding/json`), which is why a definition that "worked" may do nothing of what it says.
//!
//! Sources: the `NetConf` types of containernetworking/plugins 1.7.1, the documents of sriov-cni,
//! whereabouts and ovs-cni, and `PluginConf` of containernetworking/cni 1.3.0.

use serde_json::Value;

/// What a key's value has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Text,
    Bool,
    /// A whole number from, to.
    Whole(u64, u64),
    Object,
    List,
    /// A text or a number: some plugins take either.
    TextOrWhole,
}

impl Shape {
    pub(crate) fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Bool => value.is_boolean(),
            Self::Whole(..) => value.is_u64() || value.is_i64(),
            Self::Object => value.is_object(),
            Self::List => value.is_array(),
            Self::TextOrWhole => value.is_string() || value.is_u64(),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Bool => "true or false",
            Self::Whole(..) => "a whole number",
            Self::Object => "an object",
            Self::List => "a list",
            Self::TextOrWhole => "a text or a whole number",
        }
    }
}

/// A key and what it holds.
pub(crate) type Key = (&'static str, Shape);

/// What is known of a plugin.
#[derive(Debug)]
pub(crate) struct Plugin {
    pub(crate) name: &'static str,
    pub(crate) keys: &'static [Key],
    /// The capabilities it acts on, besides those of its address plugin.
    pub(crate) capabilities: &'static [&'static str],
    /// Whether it makes an interface, or only changes the one that another made.
    pub(crate) makes: bool,
    /// Whether it refuses to work without `ipam`.
    pub(crate) needs_ipam: bool,
}

const ANY: Shape = Shape::Whole(0, u64::MAX);
/// 0 leaves it to the plugin; else RFC 791's smallest to what 16 bits hold.
const MTU: Key = ("mtu", Shape::Whole(0, 65535));

/// The keys that every plugin takes. `dns` is one of them, and no runtime acts on it.
pub(crate) const COMMON: &[Key] = &[
    ("cniVersion", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("capabilities", Shape::Object),
    ("ipam", Shape::Object),
    ("dns", Shape::Object),
    ("args", Shape::Object),
];

/// The keys of a list of plugins.
pub(crate) const LIST: &[Key] = &[
    ("cniVersion", Shape::Text),
    ("cniVersions", Shape::List),
    ("name", Shape::Text),
    ("disableCheck", Shape::Bool),
    ("disableGC", Shape::Bool),
    ("loadOnlyInlinedPlugins", Shape::Bool),
    ("plugins", Shape::List),
];

/// The capabilities that Multus and the container runtimes can pass on.
pub(crate) const CAPABILITIES: &[&str] = &[
    "portMappings",
    "ips",
    "mac",
    "bandwidth",
    "ipRanges",
    "dns",
    "infinibandGUID",
    "deviceID",
    "aliases",
    "cgroupPath",
    "CNIDeviceInfoFile",
];

/// The plugins that make an interface or change one.
pub(crate) const PLUGINS: &[Plugin] = &[
    Plugin {
        name: "macvlan",
        keys: &[
            ("master", Shape::Text),
            ("mode", Shape::Text),
            MTU,
            ("mac", Shape::Text),
            ("linkInContainer", Shape::Bool),
            ("bcqueuelen", ANY),
        ],
        capabilities: &["mac"],
        makes: true,
        needs_ipam: false,
    },
    Plugin {
        name: "ipvlan",
        keys: &[("master", Shape::Text), ("mode", Shape::Text), MTU, ("linkInContainer", Shape::Bool)],
        capabilities: &[],
        makes: true,
        needs_ipam: true,
    },
    Plugin {
        name: "vlan",
        keys: &[("master", Shape::Text), ("vlanId", ANY), MTU, ("linkInContainer", Shape::Bool)],
        capabilities: &[],
        makes: true,
        needs_ipam: true,
    },
    Plugin {
        name: "bridge",
        keys: &[
            ("bridge", Shape::Text),
            ("isGateway", Shape::Bool),
            ("isDefaultGateway", Shape::Bool),
            ("forceAddress", Shape::Bool),
            ("ipMasq", Shape::Bool),
            ("ipMasqBackend", Shape::Text),
            MTU,
            ("hairpinMode", Shape::Bool),
            ("promiscMode", Shape::Bool),
            ("vlan", ANY),
            ("vlanTrunk", Shape::List),
            ("preserveDefaultVlan", Shape::Bool),
            ("macspoofchk", Shape::Bool),
            ("enabledad", Shape::Bool),
            ("disableContainerInterface", Shape::Bool),
            ("portIsolation", Shape::Bool),
        ],
        capabilities: &["mac"],
        makes: true,
        needs_ipam: false,
    },
    Plugin {
        name: "sriov",
        keys: &[
            ("deviceID", Shape::Text),
            ("vlan", ANY),
            ("vlanQoS", Shape::Whole(0, 7)),
            ("vlanProto", Shape::Text),
            ("mac", Shape::Text),
            ("spoofchk", Shape::Text),
            ("trust", Shape::Text),
            ("link_state", Shape::Text),
            ("min_tx_rate", ANY),
            ("max_tx_rate", ANY),
            ("logLevel", Shape::Text),
            ("logFile", Shape::Text),
        ],
        capabilities: &["mac", "deviceID", "CNIDeviceInfoFile"],
        makes: true,
        needs_ipam: false,
    },
    Plugin {
        name: "host-device",
        keys: &[
            ("device", Shape::Text),
            ("hwaddr", Shape::Text),
            ("kernelpath", Shape::Text),
            ("pciBusID", Shape::Text),
        ],
        capabilities: &["deviceID"],
        makes: true,
        needs_ipam: false,
    },
    Plugin {
        name: "ptp",
        keys: &[("ipMasq", Shape::Bool), ("ipMasqBackend", Shape::Text), MTU],
        capabilities: &[],
        makes: true,
        needs_ipam: true,
    },
    Plugin {
        name: "tap",
        keys: &[
            ("multiQueue", Shape::Bool),
            MTU,
            ("mac", Shape::Text),
            ("owner", ANY),
            ("group", ANY),
            ("selinuxContext", Shape::Text),
            ("bridge", Shape::Text),
        ],
        capabilities: &["mac"],
        makes: true,
        needs_ipam: false,
    },
    Plugin { name: "dummy", keys: &[], capabilities: &[], makes: true, needs_ipam: true },
    Plugin {
        name: "ovs",
        keys: &[
            ("bridge", Shape::Text),
            ("vlan", ANY),
            MTU,
            ("trunk", Shape::List),
            ("interface_type", Shape::Text),
            ("deviceID", Shape::Text),
            ("ofport_request", ANY),
            ("configuration_path", Shape::Text),
            ("socket_file", Shape::Text),
            ("link_state_check_retries", ANY),
            ("link_state_check_interval", ANY),
        ],
        capabilities: &["mac", "deviceID"],
        makes: true,
        needs_ipam: false,
    },
    Plugin {
        name: "tuning",
        keys: &[
            ("dataDir", Shape::Text),
            ("sysctl", Shape::Object),
            ("mac", Shape::Text),
            ("promisc", Shape::Bool),
            MTU,
            ("txQLen", ANY),
            ("allmulti", Shape::Bool),
        ],
        capabilities: &["mac"],
        makes: false,
        needs_ipam: false,
    },
    Plugin {
        name: "bandwidth",
        keys: &[
            ("ingressRate", ANY),
            ("ingressBurst", ANY),
            ("egressRate", ANY),
            ("egressBurst", ANY),
            ("unshapedSubnets", Shape::List),
            ("shapedSubnets", Shape::List),
        ],
        capabilities: &["bandwidth"],
        makes: false,
        needs_ipam: false,
    },
    Plugin {
        name: "portmap",
        keys: &[
            ("backend", Shape::Text),
            ("snat", Shape::Bool),
            ("conditionsV4", Shape::List),
            ("conditionsV6", Shape::List),
            ("masqAll", Shape::Bool),
            ("markMasqBit", ANY),
            ("externalSetMarkChain", Shape::Text),
        ],
        capabilities: &["portMappings"],
        makes: false,
        needs_ipam: false,
    },
    Plugin {
        name: "firewall",
        keys: &[
            ("backend", Shape::Text),
            ("iptablesAdminChainName", Shape::Text),
            ("firewalldZone", Shape::Text),
            ("ingressPolicy", Shape::Text),
        ],
        capabilities: &[],
        makes: false,
        needs_ipam: false,
    },
    Plugin { name: "sbr", keys: &[("table", ANY)], capabilities: &[], makes: false, needs_ipam: false },
    Plugin {
        name: "vrf",
        keys: &[("vrfname", Shape::Text), ("table", ANY)],
        capabilities: &[],
        makes: false,
        needs_ipam: false,
    },
];

/// What is known of an address plugin.
#[derive(Debug)]
pub(crate) struct Ipam {
    pub(crate) name: &'static str,
    pub(crate) keys: &'static [Key],
    pub(crate) capabilities: &'static [&'static str],
}

/// The address plugins.
pub(crate) const IPAM: &[Ipam] = &[
    Ipam {
        name: "static",
        keys: &[("routes", Shape::List), ("addresses", Shape::List), ("dns", Shape::Object)],
        capabilities: &["ips"],
    },
    Ipam {
        name: "host-local",
        keys: &[
            ("routes", Shape::List),
            ("dataDir", Shape::Text),
            ("resolvConf", Shape::Text),
            ("ranges", Shape::List),
            ("subnet", Shape::Text),
            ("rangeStart", Shape::Text),
            ("rangeEnd", Shape::Text),
            ("gateway", Shape::Text),
        ],
        capabilities: &["ips", "ipRanges"],
    },
    Ipam {
        name: "dhcp",
        keys: &[
            ("daemonSocketPath", Shape::Text),
            ("provide", Shape::List),
            ("request", Shape::List),
            ("priority", ANY),
        ],
        capabilities: &[],
    },
    Ipam {
        name: "whereabouts",
        keys: &[
            ("range", Shape::Text),
            ("range_start", Shape::Text),
            ("range_end", Shape::Text),
            ("exclude", Shape::List),
            ("gateway", Shape::Text),
            ("routes", Shape::List),
            ("addresses", Shape::List),
            ("ipRanges", Shape::List),
            ("dns", Shape::Object),
            ("datastore", Shape::Text),
            ("kubernetes", Shape::Object),
            ("network_name", Shape::Text),
            ("node_slice_size", Shape::TextOrWhole),
            ("enable_overlapping_ranges", Shape::Bool),
            ("sleep_for_race", ANY),
            ("reconciler_cron_expression", Shape::Text),
            ("configuration_path", Shape::Text),
            ("leader_lease_duration", ANY),
            ("leader_renew_deadline", ANY),
            ("leader_retry_period", ANY),
            ("log_file", Shape::Text),
            ("log_level", Shape::Text),
        ],
        capabilities: &[],
    },
];

/// What is known of the plugin of this name.
pub(crate) fn plugin(name: &str) -> Option<&'static Plugin> {
    PLUGINS.iter().find(|p| p.name == name)
}

/// What is known of the address plugin of this name.
pub(crate) fn ipam(name: &str) -> Option<&'static Ipam> {
    IPAM.iter().find(|p| p.name == name)
}
