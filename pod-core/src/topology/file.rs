//! The YAML of a topology file, as it stands: names still unchecked, every value with its place.

use crate::{Limits, Mount, Route};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// A value and where it stands.
pub(super) type At<T> = serde_saphyr::Spanned<T>;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) name: Option<At<String>>,
    pub(super) backend: Option<At<String>>,
    #[serde(default)]
    pub(super) networks: Named<NetworkFile>,
    #[serde(default)]
    pub(super) defaults: CommonFile,
    #[serde(default)]
    pub(super) workloads: Named<WorkloadFile>,
    #[serde(default)]
    pub(super) reach: Vec<At<ReachFile>>,
}

/// A network.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkFile {
    pub(super) vlan: Option<At<i64>>,
    pub(super) subnet: Option<At<String>>,
    #[serde(default)]
    pub(super) subnets: Vec<At<String>>,
    #[serde(default)]
    pub(super) reserved: Vec<At<String>>,
    pub(super) uplink: Option<At<UplinkFile>>,
    pub(super) mtu: Option<At<u32>>,
    #[serde(default)]
    pub(super) isolated: bool,
    #[serde(default)]
    pub(super) labels: Named<At<String>>,
}

/// Where a network leaves its hosts: by an interface of the same name everywhere, or by one for each platform.
#[derive(Debug)]
pub(super) enum UplinkFile {
    All(String),
    Each(Named<At<String>>),
}

impl<'de> Deserialize<'de> for UplinkFile {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = UplinkFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an interface, such as eth1, or one for each platform, such as { local: eth1, k8s: eth2 }")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(UplinkFile::All(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                NamedVisitor(PhantomData).visit_map(map).map(UplinkFile::Each)
            }
        }

        d.deserialize_any(Either)
    }
}

/// The defaults of all workloads.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommonFile {
    pub(super) image: Option<At<String>>,
    pub(super) backend: Option<At<String>>,
    pub(super) command: Option<Vec<String>>,
    #[serde(default)]
    pub(super) env: Named<At<String>>,
    pub(super) cwd: Option<String>,
    pub(super) user: Option<String>,
    #[serde(default)]
    pub(super) labels: Named<At<String>>,
    #[serde(default)]
    pub(super) limits: Limits,
    pub(super) keep_alive: Option<bool>,
    pub(super) tty: Option<bool>,
    #[serde(default)]
    pub(super) mounts: Vec<At<Mount>>,
    pub(super) restart: Option<At<String>>,
}

/// A workload: what the defaults hold, and what is its own. `flatten` would lose the places.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkloadFile {
    pub(super) image: Option<At<String>>,
    pub(super) backend: Option<At<String>>,
    pub(super) count: Option<At<u32>>,
    pub(super) command: Option<Vec<String>>,
    #[serde(default)]
    pub(super) env: Named<At<String>>,
    pub(super) cwd: Option<String>,
    pub(super) user: Option<String>,
    #[serde(default)]
    pub(super) labels: Named<At<String>>,
    #[serde(default)]
    pub(super) limits: Limits,
    pub(super) keep_alive: Option<bool>,
    pub(super) tty: Option<bool>,
    #[serde(default)]
    pub(super) mounts: Vec<At<Mount>>,
    #[serde(default)]
    pub(super) ports: Vec<At<String>>,
    pub(super) restart: Option<At<String>>,
    #[serde(default)]
    pub(super) networks: Attachments,
}

/// One attachment of a workload.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AttachmentFile {
    pub(super) ip: Option<At<String>>,
    #[serde(default)]
    pub(super) ips: Vec<At<String>>,
    pub(super) mac: Option<At<String>>,
    pub(super) mtu: Option<At<u32>>,
    pub(super) interface: Option<At<String>>,
    #[serde(default)]
    pub(super) routes: Vec<At<Route>>,
    #[serde(default)]
    pub(super) dns: Vec<At<String>>,
    pub(super) trunk: Option<Vec<At<i64>>>,
}

/// An expectation that differs from the rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReachFile {
    pub(super) from: At<String>,
    pub(super) to: At<String>,
    pub(super) expect: super::Expect,
}

/// A mapping from names to things, in the order of the file. A name with nothing after it has the
/// defaults.
#[derive(Debug)]
pub(super) struct Named<T>(pub(super) Vec<(At<String>, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// What a name may stand before.
pub(super) trait Value: Sized {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error>;
}

macro_rules! or_default {
    ($($ty:ty),*) => {$(
        impl Value for $ty {
            fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error> {
                Ok(map.next_value::<Option<Self>>()?.unwrap_or_default())
            }
        }
    )*};
}

or_default!(NetworkFile, WorkloadFile, AttachmentFile);

impl Value for At<String> {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error> {
        map.next_value()
    }
}

struct NamedVisitor<T>(PhantomData<T>);

impl<'de, T: Value> Visitor<'de> for NamedVisitor<T> {
    type Value = Named<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping from names to what they are")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(name) = map.next_key()? {
            all.push((name, T::read(&mut map)?));
        }
        Ok(Named(all))
    }
}

impl<'de, T: Value> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(NamedVisitor(PhantomData))
    }
}

/// A workload's networks: a list of names, or a mapping from names to particulars.
#[derive(Debug, Default)]
pub(super) struct Attachments(pub(super) Vec<(At<String>, AttachmentFile)>);

impl<'de> Deserialize<'de> for Attachments {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Attachments;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of networks, such as [blue], or a mapping, such as { blue: { ip: 10.0.0.5 } }")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(name) = seq.next_element()? {
                    all.push((name, AttachmentFile::default()));
                }
                Ok(Attachments(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                NamedVisitor(PhantomData).visit_map(map).map(|named| Attachments(named.0))
            }
        }

        d.deserialize_any(Either)
    }
}
