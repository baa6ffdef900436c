//! Link-layer values: VLAN ids, VNIs and MAC addresses.

use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// An IEEE 802.1Q VLAN id, 1 to 4094. 0 is a priority tag and 4095 is reserved (IEEE 802.1Q, table
/// 9-2); untagged is the absence of an id, `Option<VlanId>::None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct VlanId(u16);

impl VlanId {
    /// The id as a number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }

    /// An id from user input in which 0 means untagged.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) above 4094.
    pub fn from_tag(id: u16) -> Result<Option<Self>> {
        if id == 0 { Ok(None) } else { Self::try_from(id).map(Some) }
    }
}

impl TryFrom<u16> for VlanId {
    type Error = Error;
    fn try_from(id: u16) -> Result<Self> {
        match id {
            1..=4094 => Ok(Self(id)),
            0 => Err(Error::invalid("VLAN id 0 is no VLAN: it marks an untagged frame")
                .with_hint("use 1 to 4094, or leave the id out for an untagged network")),
            _ => Err(Error::invalid(format!("VLAN id {id} is out of range"))
                .with_hint("use 1 to 4094; IEEE 802.1Q reserves 4095")),
        }
    }
}

impl From<VlanId> for u16 {
    fn from(v: VlanId) -> u16 {
        v.0
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for VlanId {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        s.parse::<u16>()
            .map_err(|e| Error::invalid("a VLAN id is a number from 1 to 4094").with_context("given", s).with_source(e))
            .and_then(Self::try_from)
    }
}

/// A VXLAN network identifier, 1 to 16,777,215 (24 bits, RFC 7348 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Vni(u32);

impl Vni {
    /// The identifier as a number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Vni {
    type Error = Error;
    fn try_from(id: u32) -> Result<Self> {
        match id {
            1..=0x00ff_ffff => Ok(Self(id)),
            _ => Err(Error::invalid(format!("VNI {id} is out of range")).with_hint("use 1 to 16777215")),
        }
    }
}

impl From<Vni> for u32 {
    fn from(v: Vni) -> u32 {
        v.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A unicast MAC address (EUI-48): never all zero, never multicast.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// Checks and takes six octets.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a multicast or all-zero address.
    pub fn new(octets: [u8; 6]) -> Result<Self> {
        if octets == [0; 6] {
            return Err(Error::invalid("the MAC address is all zero"));
        }
        if octets[0] & 1 == 1 {
            return Err(Error::invalid("a multicast MAC address can't be an interface's own")
                .with_hint("clear the lowest bit of the first octet"));
        }
        Ok(Self(octets))
    }

    /// The octets.
    #[must_use]
    pub fn octets(self) -> [u8; 6] {
        self.0
    }

    /// A locally administered address that is a function of `seed`: the same seed gives the same
    /// address, so that a re-made attachment keeps its neighbours' caches true.
    #[must_use]
    pub fn derived(seed: &[u8]) -> Self {
        use sha2::Digest;
        let d = sha2::Sha256::digest(seed);
        Self([0x02, d[0], d[1], d[2], d[3], d[4]])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let o = self.0;
        write!(f, "{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", o[0], o[1], o[2], o[3], o[4], o[5])
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let bad = || {
            Error::invalid("a MAC address is six hexadecimal octets, such as 02:00:00:00:00:01")
                .with_context("given", s)
        };
        let mut octets = [0u8; 6];
        let mut parts = s.split(['-', ':']);
        for octet in &mut octets {
            let part = parts.next().ok_or_else(bad)?;
            if part.len() != 2 {
                return Err(bad());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() {
            return Err(bad());
        }
        Self::new(octets)
    }
}

impl serde::Serialize for MacAddr {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for MacAddr {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vlan_ids_are_1_to_4094() {
        assert!(VlanId::try_from(0).is_err());
        assert!(VlanId::try_from(4095).is_err());
        assert_eq!(VlanId::try_from(4094).map(VlanId::get).ok(), Some(4094));
        assert_eq!(VlanId::from_tag(0).ok(), Some(None));
    }

    #[test]
    fn mac_addresses_are_unicast() {
        assert!("01:00:00:00:00:01".parse::<MacAddr>().is_err());
        assert!("00:00:00:00:00:00".parse::<MacAddr>().is_err());
        assert!("2:0:0:0:0:1".parse::<MacAddr>().is_err());
        assert_eq!(
            "02-AA-00-00-00-01".parse::<MacAddr>().map(|m| m.to_string()).ok().as_deref(),
            Some("02:aa:00:00:00:01")
        );
        assert_eq!(MacAddr::derived(b"x"), MacAddr::derived(b"x"));
    }
}
